/* amx.c - AMX: tiles of 16 rows by 64 bytes; tdpbsud multiplies s8 activations with u8 weights,
 * packed as vpdpbusd wants them. For many rows; few, and all else, are avx512vnni's.
 *
 * amxplain.c compiles this file once more over tiles in plain C, so that its loops are tested where
 * there are no tiles. */
#include <string.h>

#include "model/kernels/sets.h"
#include "model/kernels/vec_avx512.h"

#define INLINE static inline __attribute__((always_inline))

#ifndef AMX_NAME
#define AMX_NAME "amx"
#define AMX_TABLE kernels_amx
#define TILE_CONFIG(config) _tile_loadconfig(config)
#define TILE_END() _tile_release()
#define TILE_ZERO(t) _tile_zero(t)
#define TILE_LOAD(t, from, stride) _tile_loadd(t, from, stride)
#define TILE_STORE(t, to, stride) _tile_stored(t, to, stride)
#define TILE_DOT(sum, s8, u8) _tile_dpbsud(sum, s8, u8)
#endif

/* Tiles: sums of the upper rows 0 and 1, of the lower 2 and 3 (columns 0-15 and 16-31);
 * activations 4 and 5; weights 6 and 7. */
enum { TILES = 8, TILE_ROWS = 16, BLOCK_ROWS = 2 * TILE_ROWS, STEP_MAX = 64 };
/* From here on a tile's fixed costs are less than vpdpbusd's work, by the peak model. */
enum { LEAST_ROWS = 8 };

/* What ldtilecfg reads (Intel SDM vol. 1, 18.3). */
struct tile_config {
    uint8_t palette, start_row, zero[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
};
_Static_assert(sizeof(struct tile_config) == 64, "as the hardware has it");

/* Rows of a product that are in the tiles at once: upper[0 .. upper) and the rest below. */
struct block {
    size_t r0, rows, upper;
    size_t step; /* inputs a tile of activations holds: 64, or 32 where groups ask for it */
};

/* Tiles belong to the thread, and forget everything here. */
static void configure(const struct block *b)
{
    struct tile_config c = {.palette = 1};
    const size_t lower = b->rows - b->upper;

    for (size_t t = 0; t < 4; t++) {
        c.rows[t] = (uint8_t)(t < 2 ? b->upper : lower);
        c.row_bytes[t] = c.rows[t] ? 64 : 0;
    }
    for (size_t t = 4; t < 6; t++) {
        c.rows[t] = (uint8_t)(t == 4 ? b->upper : lower);
        c.row_bytes[t] = c.rows[t] ? (uint16_t)b->step : 0;
    }
    for (size_t t = 6; t < TILES; t++) {
        c.rows[t] = (uint8_t)(b->step / 4);
        c.row_bytes[t] = 64;
    }
    __asm__ volatile("" : : "r"(&c) : "memory"); /* gcc 12 believes that 8 bytes of it are read */
    TILE_CONFIG(&c);
}

/* One group of a panel: its bytes w times the block's rows of x. */
INLINE void group_sums(const uint8_t *w, const int8_t *x, size_t k_row, size_t group,
                       const struct block *b, int32_t (*sum)[PANEL])
{
    const bool two = b->rows > b->upper;
    const int8_t *below = x + b->upper * k_row;

    TILE_ZERO(0);
    TILE_ZERO(1);
    if (two) {
        TILE_ZERO(2);
        TILE_ZERO(3);
    }
    for (size_t k = 0; k < group; k += b->step, w += b->step * PANEL) {
        TILE_LOAD(6, w, 4 * PANEL);
        TILE_LOAD(7, w + 64, 4 * PANEL);
        TILE_LOAD(4, x + k, k_row);
        TILE_DOT(0, 4, 6);
        TILE_DOT(1, 4, 7);
        if (two) {
            TILE_LOAD(5, below + k, k_row);
            TILE_DOT(2, 5, 6);
            TILE_DOT(3, 5, 7);
        }
    }
    TILE_STORE(0, sum[0], sizeof(*sum));
    TILE_STORE(1, sum[0] + 16, sizeof(*sum));
    if (two) {
        TILE_STORE(2, sum[b->upper], sizeof(*sum));
        TILE_STORE(3, sum[b->upper] + 16, sizeof(*sum));
    }
}

/* f += (sums + correction) * (the columns' scales * the row's). */
static void add_group(const int32_t (*sum)[PANEL], const uint8_t *scales,
                      const struct quant_rows *a, const struct block *b, size_t g,
                      float (*f)[PANEL])
{
    const size_t n_groups = a->k / a->group;
    const uint16_t *half = (const uint16_t *)(const void *)scales;
    const __m512 w[2] = {v16_load_half(half), v16_load_half(half + 16)};

    for (size_t i = 0; i < b->rows; i++) {
        const size_t at = (b->r0 + i) * n_groups + g;
        for (size_t v = 0; v < 2; v++) {
            __m512i n = _mm512_add_epi32(_mm512_load_si512(sum[i] + 16 * v),
                                         _mm512_set1_epi32(a->comp[at]));
            __m512 s = _mm512_mul_ps(w[v], _mm512_set1_ps(a->scale[at]));
            _mm512_store_ps(f[i] + 16 * v, _mm512_fmadd_ps(_mm512_cvtepi32_ps(n), s,
                                                           _mm512_load_ps(f[i] + 16 * v)));
        }
    }
}

static void gemm_block(const struct packed_i8 *w, const struct quant_rows *a, const struct block *b,
                       size_t p, const struct gemm_out *out)
{
    const uint8_t *panel = w->w + p * w->panel_bytes;
    const size_t left = w->n - p * PANEL;
    const __mmask16 mask[2] = {v16_mask(left), left > 16 ? v16_mask(left - 16) : 0};
    _Alignas(64) int32_t sum[BLOCK_ROWS][PANEL];
    _Alignas(64) float f[BLOCK_ROWS][PANEL];

    memset(f, 0, b->rows * sizeof(f[0]));
    for (size_t g = 0; g < w->k / w->group; g++) {
        group_sums(panel + 2 * PANEL, a->q + b->r0 * a->k + g * w->group, a->k, w->group, b, sum);
        add_group((const int32_t(*)[PANEL])sum, panel, a, b, g, f);
        panel += 2 * PANEL + w->group * PANEL;
    }
    for (size_t i = 0; i < b->rows; i++)
        for (size_t v = 0; v < 2; v++) {
            float *to = out->out + (b->r0 + i) * out->ld + p * PANEL + 16 * v;
            __m512 y = _mm512_load_ps(f[i] + 16 * v);
            if (out->add)
                y = _mm512_add_ps(_mm512_maskz_loadu_ps(mask[v], to), y);
            _mm512_mask_storeu_ps(to, mask[v], y);
        }
}

static void gemm_i8(const struct packed_i8 *w, const struct quant_rows *a, size_t rows, size_t p0,
                    size_t p1, const struct gemm_out *out)
{
    const size_t blocks = (rows + BLOCK_ROWS - 1) / BLOCK_ROWS;

    if (rows < LEAST_ROWS || w->nibbles || w->wide) {
        kernels_avx512vnni.gemm_i8(w, a, rows, p0, p1, out);
        return;
    }
    for (size_t i = 0; i < blocks; i++) {
        struct block b = {.r0 = rows * i / blocks, .step = w->group % STEP_MAX ? 32 : STEP_MAX};
        b.rows = rows * (i + 1) / blocks - b.r0;
        b.upper = b.rows > TILE_ROWS ? (b.rows + 1) / 2 : b.rows;
        configure(&b);
        for (size_t p = p0; p < p1; p++)
            gemm_block(w, a, &b, p, out);
    }
    TILE_END();
}

static double peak_i8(size_t turns)
{
    const struct block b = {.rows = BLOCK_ROWS, .upper = TILE_ROWS, .step = STEP_MAX};

    configure(&b);
    for (size_t t = 0; t < turns; t++) {
        TILE_DOT(0, 4, 6);
        TILE_DOT(1, 4, 7);
        TILE_DOT(2, 5, 6);
        TILE_DOT(3, 5, 7);
    }
    TILE_END();
    return (double)turns * BLOCK_ROWS * PANEL * STEP_MAX;
}

const struct kernels *AMX_TABLE(void)
{
    static struct kernels set;

    set = kernels_avx512vnni;
    set.name = AMX_NAME;
    set.gemm_i8 = gemm_i8;
    set.peak_i8 = peak_i8;
    return &set;
}
