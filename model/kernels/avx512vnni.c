/* avx512vnni.c - AVX-512 with VNNI: vpdpbusd multiplies u8 weights with s8 activations, four at a
 * time, into int32. */
#include <string.h>

#include "model/kernels/rows.h"
#include "model/kernels/sets.h"
#include "model/kernels/vec_avx512.h"

enum { ATTN_TILE = 4, TILE_ROWS = 6 };

#define INLINE static inline __attribute__((always_inline))

INLINE __m512i four(const void *p)
{
    int32_t x;
    memcpy(&x, p, sizeof(x));
    return _mm512_set1_epi32(x);
}

INLINE void fetch(const void *p, ptrdiff_t ahead)
{
    _mm_prefetch((const char *)p + ahead, _MM_HINT_T1);
}

/* Positions [t0, t0 + 16 * vecs) of k. Each line of keys and values that is read fetches the one `ahead`
 * of it into the second cache: in between the products, as many at once as a burst of them would
 * wait for each other. */
INLINE void qk_columns(const uint8_t *k, size_t dk, ptrdiff_t ahead, const struct attn_query *q,
                       const size_t n, const size_t vecs, int32_t (*s)[KV_BLOCK], size_t t0)
{
    __m512i acc[ATTN_TILE][4];
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < vecs; j++)
            acc[i][j] = _mm512_set1_epi32(q[i].comp);
    for (size_t c = 0; c < dk; c += 4) {
        __m512i b[4];
        for (size_t j = 0; j < vecs; j++) {
            const uint8_t *at = k + t0 * dk + (j * dk + c) * 16;
            b[j] = _mm512_load_si512(at);
            fetch(at, ahead);
        }
        for (size_t i = 0; i < n; i++) {
            __m512i a = four(q[i].q8 + c);
            for (size_t j = 0; j < vecs; j++)
                acc[i][j] = _mm512_dpbusd_epi32(acc[i][j], b[j], a);
        }
    }
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < vecs; j++)
            _mm512_store_si512(s[i] + t0 + 16 * j, acc[i][j]);
}

INLINE void qk_rows(const uint8_t *k, size_t dk, ptrdiff_t ahead, size_t seen,
                    const struct attn_query *q, const size_t n, int32_t (*s)[KV_BLOCK])
{
    size_t t = 0;

    if (seen > KV_BLOCK - 16) {
        qk_columns(k, dk, ahead, q, n, 4, s, 0);
        return;
    }
    for (; t < seen; t += 16)
        qk_columns(k, dk, ahead, q, n, 1, s, t);
    for (t *= dk; t < KV_BLOCK * dk; t += 64)
        fetch(k + t, ahead);
}

INLINE void pv_columns(const int8_t *v, size_t dv, ptrdiff_t ahead, size_t seen,
                       const uint8_t (*u)[KV_BLOCK], const size_t n, const size_t vecs,
                       int32_t (*acc)[HEAD_MAX], size_t d0)
{
    __m512i sum[ATTN_TILE][4];
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < vecs; j++)
            sum[i][j] = _mm512_setzero_si512();
    for (size_t t = 0; t < seen; t += 4) {
        __m512i b[4];
        for (size_t j = 0; j < vecs; j++) {
            const int8_t *at = v + t * dv + 4 * (d0 + 16 * j);
            b[j] = _mm512_load_si512(at);
            fetch(at, ahead);
        }
        for (size_t i = 0; i < n; i++) {
            __m512i a = four(u[i] + t);
            for (size_t j = 0; j < vecs; j++)
                sum[i][j] = _mm512_dpbusd_epi32(sum[i][j], a, b[j]);
        }
    }
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < vecs; j++)
            _mm512_store_si512(acc[i] + d0 + 16 * j, sum[i][j]);
}

INLINE void pv_rows(const int8_t *v, size_t dv, ptrdiff_t ahead, size_t seen,
                    const uint8_t (*u)[KV_BLOCK], const size_t n, int32_t (*acc)[HEAD_MAX])
{
    size_t d = 0;
    for (; d + 64 <= dv; d += 64)
        pv_columns(v, dv, ahead, seen, u, n, 4, acc, d);
    for (; d < dv; d += 16)
        pv_columns(v, dv, ahead, seen, u, n, 1, acc, d);
    for (size_t t = (seen + 3) / 4 * 4 * dv; t < KV_BLOCK * dv; t += 64)
        fetch(v + t, ahead);
}

#include "model/kernels/attention_kernels.h"

/* What a tile fetches into the second cache meanwhile, from two places. */
struct ahead {
    const uint8_t *p[2];
    size_t each[2]; /* bytes a span */
};

/* How the weights of a panel lie; a constant where it is inlined. group: 0 for any. */
struct form {
    bool nibbles, wide;
    size_t group;
};

/* A group's products: acc[i][v] += vector v of the bytes at b times row i of x. Returns b's end. */
INLINE const uint8_t *add_bytes(const uint8_t *b, const int8_t *x, size_t k_row, size_t group,
                                const size_t rows, __m512i (*acc)[2])
{
    for (size_t k = 0; k < group; k += 4, b += 4 * PANEL) {
        __m512i b0 = _mm512_load_si512(b), b1 = _mm512_load_si512(b + 64);
        for (size_t i = 0; i < rows; i++) {
            __m512i q = four(x + i * k_row + k);
            acc[i][0] = _mm512_dpbusd_epi32(acc[i][0], b0, q);
            acc[i][1] = _mm512_dpbusd_epi32(acc[i][1], b1, q);
        }
    }
    return b;
}

/* The same of nibbles. Few rows have registers to add the high ones apart, and would wait else. */
INLINE const uint8_t *add_nibbles(const uint8_t *b, const int8_t *x, size_t k_row, size_t group,
                                  const size_t rows, __m512i (*acc)[2])
{
    const __m512i mask = _mm512_set1_epi8(15);
    const bool apart = rows <= 3;
    __m512i up[TILE_ROWS][2];

    for (size_t i = 0; i < rows; i++)
        up[i][0] = up[i][1] = _mm512_setzero_si512();
    for (size_t k = 0; k < group; k += 8, b += 4 * PANEL) {
        __m512i b0 = _mm512_load_si512(b), b1 = _mm512_load_si512(b + 64);
        __m512i lo0 = _mm512_and_si512(b0, mask), lo1 = _mm512_and_si512(b1, mask);
        __m512i hi0 = _mm512_and_si512(_mm512_srli_epi16(b0, 4), mask),
                hi1 = _mm512_and_si512(_mm512_srli_epi16(b1, 4), mask);
        for (size_t i = 0; i < rows; i++) {
            __m512i q = four(x + i * k_row + k), t = four(x + i * k_row + k + 4);
            __m512i *high = apart ? up[i] : acc[i];
            acc[i][0] = _mm512_dpbusd_epi32(acc[i][0], lo0, q);
            acc[i][1] = _mm512_dpbusd_epi32(acc[i][1], lo1, q);
            high[0] = _mm512_dpbusd_epi32(high[0], hi0, t);
            high[1] = _mm512_dpbusd_epi32(high[1], hi1, t);
        }
    }
    for (size_t i = 0; apart && i < rows; i++)
        for (size_t v = 0; v < 2; v++)
            acc[i][v] = _mm512_add_epi32(acc[i][v], up[i][v]);
    return b;
}

/* What the sums of rows from `at` on, n_groups apart, start from. */
INLINE void start_sums(const uint8_t *head, const struct quant_rows *a, size_t at, size_t n_groups,
                       const size_t rows, const struct form form, __m512i (*acc)[2])
{
    for (size_t i = 0; i < rows; i++) {
        const int32_t comp = a->comp[at + i * n_groups];
        if (!form.wide) {
            acc[i][0] = acc[i][1] = _mm512_set1_epi32(form.nibbles ? comp / 16 : comp);
            continue;
        }
        for (size_t v = 0; v < 2; v++) {
            const uint8_t *z = head + 4 * PANEL + 64 * v;
            acc[i][v] = _mm512_mullo_epi32(_mm512_load_si512(z), _mm512_set1_epi32(comp / 128));
            if (a->zero)
                acc[i][v] = _mm512_add_epi32(
                    acc[i][v], _mm512_mullo_epi32(_mm512_load_si512(z + 4 * PANEL),
                                                  _mm512_set1_epi32(a->zero[at + i * n_groups])));
        }
    }
}

/* Inputs between which lines are fetched: a long group's all at once would wait for each other. */
INLINE size_t span_of(const struct packed_i8 *w)
{
    return w->group % 64 ? 32 : 64;
}

/* `rows` rows from r0 times one panel of two vectors. Group's int32 sums become f32 once a group.
 */
INLINE void gemm_tile(const struct packed_i8 *w, const struct quant_rows *a, size_t r0,
                      const uint8_t *panel, const size_t rows, const struct form form,
                      struct ahead ahead, __m512 (*f)[2])
{
    const size_t group = form.group ? form.group : w->group, n_groups = w->k / group;
    const size_t span = form.group || rows == 1 ? group : span_of(w);
    const int8_t *x = a->q + r0 * a->k;
    const float *sa = a->scale + r0 * n_groups;

    for (size_t i = 0; i < rows; i++)
        f[i][0] = f[i][1] = _mm512_setzero_ps();
    for (size_t g = 0; g < n_groups; g++) {
        __m512i acc[TILE_ROWS][2];
        const uint8_t *b = panel + packed_head_bytes(form.wide);
        start_sums(panel, a, r0 * n_groups + g, n_groups, rows, form, acc);
        for (size_t k = 0; k < group; k += span, x += span) {
            for (size_t s = 0; s < 2; s++) {
                for (size_t i = 0; i < ahead.each[s]; i += 64)
                    fetch(ahead.p[s], (ptrdiff_t)i);
                ahead.p[s] += ahead.each[s];
            }
            if (form.nibbles)
                b = add_nibbles(b, x, a->k, span, rows, acc);
            else
                b = add_bytes(b, x, a->k, span, rows, acc);
        }
        const uint16_t *half = (const uint16_t *)(const void *)panel;
        __m512 s0 = form.wide ? _mm512_load_ps(panel) : v16_load_half(half);
        __m512 s1 = form.wide ? _mm512_load_ps(panel + 64) : v16_load_half(half + 16);
        for (size_t i = 0; i < rows; i++) {
            __m512 s = _mm512_set1_ps(sa[i * n_groups + g]);
            f[i][0] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(acc[i][0]), _mm512_mul_ps(s0, s), f[i][0]);
            f[i][1] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(acc[i][1]), _mm512_mul_ps(s1, s), f[i][1]);
        }
        panel = b;
    }
}

INLINE void gemm_rows(const struct packed_i8 *w, const struct quant_rows *a, size_t r0, size_t p,
                      struct ahead ahead, const size_t rows, const struct form form,
                      const struct gemm_out *out)
{
    __m512 f[TILE_ROWS][2];
    const size_t n = w->n - p * PANEL, n1 = n > 16 ? n - 16 : 0;

    gemm_tile(w, a, r0, w->w + p * w->panel_bytes, rows, form, ahead, f);
    for (size_t i = 0; i < rows; i++) {
        float *to = out->out + (r0 + i) * out->ld + p * PANEL;
        if (out->add) {
            f[i][0] = v16_add(v16_loadn(to, n), f[i][0]);
            f[i][1] = v16_add(v16_loadn(to + 16, n1), f[i][1]);
        }
        v16_storen(to, f[i][0], n);
        v16_storen(to + 16, f[i][1], n1);
    }
}

static size_t lines(size_t bytes)
{
    return (bytes + 63) / 64 * 64;
}

/* Tile i of n fetches a part of one of the caller's runs. */
static void fetch_part(const struct prefetch *to, size_t i, size_t n, size_t n_spans,
                       struct ahead *ahead)
{
    if (!to->n || i / to->n >= n / to->n)
        return;
    ahead->each[1] = lines(to->bytes / (n / to->n) / n_spans);
    ahead->p[1] = to->runs[i % to->n] + i / to->n * n_spans * ahead->each[1];
}

INLINE void gemm_panels(const struct packed_i8 *w, const struct quant_rows *a, size_t rows,
                        size_t p0, size_t p1, const struct form form, const struct gemm_out *out)
{
    /* Tiles of nearly equal height: 8 rows are 4 + 4, not 6 + 2. The panel stays in L1 from tile to
     * tile; several tiles also fetch the next panel, each its part (one tile has no time for that:
     * the hardware's own prefetching is quicker). */
    size_t tiles = (rows + TILE_ROWS - 1) / TILE_ROWS, n_spans = w->k / span_of(w);
    size_t each = tiles > 1 ? lines(w->panel_bytes / tiles / n_spans) : 0;

    for (size_t p = p0; p < p1; p++)
        for (size_t t = 0; t < tiles; t++) {
            size_t r = rows * t / tiles, n = rows * (t + 1) / tiles - r;
            const uint8_t *next =
                p + 1 == p1 && out->next ? out->next : w->w + (p + 1) * w->panel_bytes;
            struct ahead ahead = {{next + t * n_spans * each}, {each}};
            fetch_part(&out->prefetch, (p - p0) * tiles + t, (p1 - p0) * tiles, n_spans, &ahead);
            ROWS_TO_6(n, gemm_rows(w, a, r, p, ahead, ROWS, form, out))
        }
}

static void gemm_i8(const struct packed_i8 *w, const struct quant_rows *a, size_t rows, size_t p0,
                    size_t p1, const struct gemm_out *out)
{
    if (!w->nibbles && !w->wide && w->group == 64)
        gemm_panels(w, a, rows, p0, p1, (struct form){false, false, 64}, out);
    else if (!w->nibbles && !w->wide)
        gemm_panels(w, a, rows, p0, p1, (struct form){false, false, 0}, out);
    else if (!w->wide)
        gemm_panels(w, a, rows, p0, p1, (struct form){true, false, 0}, out);
    else if (!w->nibbles)
        gemm_panels(w, a, rows, p0, p1, (struct form){false, true, 0}, out);
    else
        gemm_panels(w, a, rows, p0, p1, (struct form){true, true, 0}, out);
}

enum { PEAK_CHAINS = 12, DOT_MACS = 64 };

INLINE i16 dot_step(i16 sum, i16 a, i16 b)
{
    return _mm512_dpbusd_epi32(sum, a, b);
}

#include "model/kernels/peak_kernels.h"

const struct kernels kernels_avx512vnni = {
    .name = "avx512vnni", .pack = {4, 128}, .gemm_i8 = gemm_i8, KERNELS_SHARED, KERNELS_PEAK};
