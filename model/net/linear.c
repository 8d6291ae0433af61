#include "model/net/linear.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "model/format/dequant.h"
#include "model/kernels/half.h"
#include "model/net/pool.h"

static uint32_t act_group(const struct linear_desc *d)
{
    return d->act_group ? d->act_group : d->group;
}

static uint32_t divisor(uint32_t a, uint32_t b)
{
    while (b) {
        uint32_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

uint32_t linear_group(const struct linear_desc *d)
{
    return divisor(divisor(d->group, act_group(d)), d->in_group);
}

static bool is_float(const struct linear_desc *d)
{
    return d->w_bits == 32 || d->w_bits == 16;
}

static bool is_wide(const struct linear_desc *d)
{
    return d->scale == SCALE_F32 || d->w_zero || d->a_zero;
}

static bool is_built(const struct linear_desc *d)
{
    const struct quant_spec spec = {.bits = d->w_bits,
                                    .group = d->group,
                                    .block_in = d->block_in,
                                    .act_group = d->act_group,
                                    .act_static = d->act == ACT_STATIC,
                                    .zero = d->w_zero,
                                    .act_zero = d->a_zero};

    if (is_float(d))
        return d->scale == SCALE_NONE && !d->w_zero && !d->a_zero && d->act == ACT_FLOAT &&
               d->block_in == 0;
    return quant_spec_is_built(&spec) && d->scale != SCALE_NONE && d->k % d->group == 0 &&
           d->k % act_group(d) == 0 && (!d->block_in || d->k % d->block_in == 0) &&
           d->act != ACT_FLOAT;
}

static int refuse(const struct linear_desc *d, const char *name, struct error *err)
{
    static const char *const scales[] = {"no", "f16", "f32"};
    static const char *const acts[] = {"float", "dynamic per group", "dynamic per token", "static"};

    return error_set(
        err, ST_UNSUPPORTED,
        "%s: %u-bit weights in groups of %u with %s scales%s, %s activations in groups "
        "of %u%s, Hadamard blocks of %u, in rows of %zu: this combination is not built",
        name, d->w_bits, d->group, scales[d->scale], d->w_zero ? " and zero points" : "",
        acts[d->act], act_group(d), d->a_zero ? " with zero points" : "", d->block_in, d->k);
}

/* A multiple of 64, so that linears lie side by side in an arena. */
static size_t panel_bytes(const struct linear_desc *d)
{
    if (is_float(d))
        return d->k * PANEL * (d->w_bits / 8);
    const size_t group = linear_group(d);
    return d->k / group * packed_group_bytes(group, d->w_bits == 4, is_wide(d));
}

/* Of inv and zero, behind the panels. */
static size_t steps_bytes(const struct linear_desc *d)
{
    return d->act == ACT_STATIC ? 2 * d->k * sizeof(float) : 0;
}

bool linear_room(const struct linear_desc *desc, size_t *ret_bytes)
{
    size_t panels = desc->n / PANEL + (desc->n % PANEL != 0), bytes;

    if (__builtin_mul_overflow(panels, panel_bytes(desc), &bytes) ||
        __builtin_add_overflow(bytes, steps_bytes(desc), &bytes))
        return false;
    *ret_bytes = bytes;
    return true;
}

int linear_open(struct linear *l, const struct linear_desc *desc, const struct kernels *kernels,
                struct arena *arena, const char *name, struct error *err)
{
    *l = (struct linear){.desc = *desc};
    if (!is_built(desc))
        return refuse(desc, name, err);
    if (!linear_room(desc, &l->map_bytes))
        return error_set(err, ST_NOMEM, "%s is too large", name);
    l->map = arena_take(arena, l->map_bytes);
    if (!l->map)
        return error_set(err, ST_NOMEM, "out of memory for %s (%zu bytes)", name, l->map_bytes);
    if (!is_float(desc)) {
        l->pack = kernels->pack;
        l->packed = (struct packed_i8){.w = l->map,
                                       .n = desc->n,
                                       .k = desc->k,
                                       .group = linear_group(desc),
                                       .panel_bytes = panel_bytes(desc),
                                       .nibbles = desc->w_bits == 4,
                                       .wide = is_wide(desc)};
        l->inv = (float *)((char *)l->map + l->map_bytes - steps_bytes(desc));
        l->zero = l->inv + desc->k;
    } else {
        l->floats = (struct packed_f32){
            .w = l->map, .n = desc->n, .k = desc->k, .half = desc->w_bits == 16};
    }
    return ST_OK;
}

void linear_join(struct linear *l, struct linear_part *parts, size_t n_parts, size_t n)
{
    bool floats = false;

    *l = (struct linear){.desc = parts[0].linear.desc, .parts = parts, .n_parts = n_parts};
    for (size_t i = 0; i < n_parts; i++) {
        const struct linear *part = &parts[i].linear;
        l->map_bytes += part->map_bytes;
        if (is_float(&part->desc)) {
            floats = true;
            continue;
        }
        l->desc = part->desc;
        l->desc.act_group = act_group(&part->desc);
        l->packed.group = part->packed.group;
        l->inv = part->inv;
        l->zero = part->zero;
        l->step = part->step;
    }
    l->desc.n = n;
    l->desc.w_bits = 0;
    l->both = floats && l->desc.act != ACT_FLOAT;
}

size_t linear_bytes(const struct linear *l)
{
    return l->map_bytes;
}

void linear_set_steps(struct linear *l, const float *steps, const float *zeros, size_t n)
{
    for (size_t k = 0; k < l->desc.k; k++) {
        const size_t at = n == 1 ? 0 : k;
        l->inv[k] = at < n ? 1.0f / steps[at] : 0.0f;
        l->zero[k] = at < n && zeros ? -zeros[at] : 0.0f;
        if (at < n && steps[at] > l->step)
            l->step = steps[at];
    }
}

/* Group g of output i's panel: its head, then bytes. */
static uint8_t *group_at(const struct linear *l, size_t i, size_t g)
{
    const struct packed_i8 *p = &l->packed;

    return (uint8_t *)l->map + i / PANEL * p->panel_bytes +
           g * packed_group_bytes(p->group, p->nibbles, p->wide);
}

/* Where in a group's bytes column c has input k; those up to the next multiple of 4 follow it.
 * Nibbles: those up to the next multiple of 8, low ones first. */
static size_t byte_at(const struct linear *l, size_t c, size_t k)
{
    size_t in_step = k & (l->pack.step - 1);

    if (l->packed.nibbles)
        return k / 8 * 4 * PANEL + 4 * c;
    return (k - in_step) * PANEL + c * l->pack.step + in_step;
}

/* What a byte that the product multiplies is above the signed number. */
static int32_t bias_of(const struct linear *l)
{
    return !l->pack.bias ? 0 : l->packed.nibbles ? 8 : 128;
}

/* Column c's part of a group's head. q: the group's; inputs: their zero points, or NULL: those that a
 * row brings, the sum's factor. */
static void set_head(const struct linear *l, uint8_t *head, size_t c, float scale, int32_t zero,
                     const int8_t *q, const float *inputs)
{
    const int32_t z = zero + bias_of(l);
    int32_t sum = 0;

    if (!l->packed.wide) {
        uint16_t half = f32_to_f16(scale);
        memcpy(head + 2 * c, &half, sizeof(half));
        return;
    }
    for (size_t k = 0; k < l->packed.group; k++)
        sum += (q[k] - zero) * (inputs ? (int32_t)inputs[k] : 1);
    memcpy(head + 4 * c, &scale, sizeof(scale));
    memcpy(head + 4 * (PANEL + c), &z, sizeof(z));
    memcpy(head + 4 * (2 * PANEL + c), &sum, sizeof(sum));
}

static void set_bytes(const struct linear *l, uint8_t *bytes, size_t c, const int8_t *q)
{
    for (size_t k = 0; k < l->packed.group; k += 4) {
        uint32_t four;
        memcpy(&four, q + k, sizeof(four));
        four ^= l->pack.bias * 0x01010101u; /* + 128 is a flipped sign, byte by byte */
        memcpy(bytes + byte_at(l, c, k), &four, sizeof(four));
    }
}

static void set_nibbles(const struct linear *l, uint8_t *bytes, size_t c, const int8_t *q)
{
    for (size_t k = 0; k < l->packed.group; k += 8)
        for (size_t e = 0; e < 4; e++)
            bytes[byte_at(l, c, k) + e] =
                (uint8_t)((q[k + e] + 8) | (unsigned)(q[k + 4 + e] + 8) << 4);
}

void linear_set_row(struct linear *l, size_t i, const struct quant_row *row)
{
    const size_t c = i % PANEL, group = l->packed.group;
    const int8_t *q = row->q;

    for (size_t g = 0; g < l->desc.k / group; g++, q += group) {
        uint8_t *head = group_at(l, i, g), *bytes = head + packed_head_bytes(l->packed.wide);
        size_t at = g * group / l->desc.group;
        set_head(l, head, c, row->scales[at], l->desc.w_zero ? row->zeros[at] : 0, q,
                 l->desc.act == ACT_STATIC ? l->zero + g * group : NULL);
        if (l->packed.nibbles)
            set_nibbles(l, bytes, c, q);
        else
            set_bytes(l, bytes, c, q);
    }
}

/* Where output i's column begins; its next input is PANEL floats on. */
static size_t column_at(const struct linear *l, size_t i)
{
    return i / PANEL * l->desc.k * PANEL + i % PANEL;
}

void linear_set_row_f32(struct linear *l, size_t i, const float *w)
{
    const size_t at = column_at(l, i);

    for (size_t k = 0; k < l->desc.k; k++)
        if (l->floats.half)
            ((uint16_t *)l->map)[at + k * PANEL] = f32_to_f16(w[k]);
        else
            ((float *)l->map)[at + k * PANEL] = w[k];
}

/* What input k of a group's column c is, less its zero point. */
static int32_t weight_at(const struct linear *l, const uint8_t *bytes, size_t c, size_t k)
{
    if (l->packed.nibbles)
        return (bytes[byte_at(l, c, k) + k % 4] >> (k % 8 < 4 ? 0 : 4) & 15) - 8;
    return (int8_t)(bytes[byte_at(l, c, k)] ^ l->pack.bias);
}

static void get_row_f32(const struct linear *l, size_t i, float *out)
{
    const size_t at = column_at(l, i);

    for (size_t k = 0; k < l->desc.k; k++)
        out[k] = l->floats.half ? half_to_float(((const uint16_t *)l->map)[at + k * PANEL])
                                : ((const float *)l->map)[at + k * PANEL];
}

void linear_get_row(const struct linear *l, size_t i, float *out)
{
    size_t c = i % PANEL, group = l->packed.group;

    if (is_float(&l->desc)) {
        get_row_f32(l, i, out);
        return;
    }
    for (size_t g = 0; g < l->desc.k / group; g++) {
        const uint8_t *head = group_at(l, i, g), *bytes = head + packed_head_bytes(l->packed.wide);
        int32_t zero = bias_of(l);
        uint16_t half;
        float scale;
        memcpy(&half, head + 2 * c, sizeof(half));
        memcpy(&scale, head + 4 * c, sizeof(scale));
        if (l->packed.wide)
            memcpy(&zero, head + 4 * (PANEL + c), sizeof(zero));
        else
            scale = half_to_float(half);
        zero -= bias_of(l);
        for (size_t k = 0; k < group; k++)
            *out++ = scale * (float)(weight_at(l, bytes, c, k) - zero);
    }
}

float *linear_stage(const struct linear *l, const struct linear_input *in, float *scratch, size_t r,
                    size_t k0)
{
    return l->desc.act == ACT_FLOAT ? in->x + (r - in->base) * l->desc.k + k0 : scratch + k0;
}

/* n inputs were quantized in groups of `from`, a multiple of the product's: to those. Backwards, so
 * that nothing is overwritten before it is read. */
static void spread_groups(size_t n, size_t from, size_t to, const struct quant_rows *q, bool zeros)
{
    for (size_t g = n / to; g-- > 0;) {
        int32_t sum = 0;
        for (size_t k = 0; k < to; k++)
            sum += q->q[g * to + k];
        q->comp[g] = -128 * sum;
        q->scale[g] = q->scale[g * to / from];
        if (zeros)
            q->zero[g] = q->zero[g * to / from];
    }
}

/* Zero points are in the sums of the weights' heads already, which a row's factor 1 adds. */
static void quantize_static(const struct linear *l, const struct kernels *kernels, float *x,
                            size_t k0, size_t n, const struct quant_rows *to)
{
    const struct linear_desc *d = &l->desc;
    const struct quant_steps by = {l->inv + k0, l->zero + k0, d->a_zero ? -128.0f : -127.0f,
                                   l->step};

    kernels->quantize_static(x, n, d->online ? d->block_in : 0, l->packed.group, &by, to);
    for (size_t g = 0; to->zero && g < n / l->packed.group; g++)
        to->zero[g] = 1;
}

void linear_quantize(const struct linear *l, const struct kernels *kernels, float *x,
                     const struct linear_input *in, size_t r, size_t k0, size_t n)
{
    const struct linear_desc *d = &l->desc;

    if (d->act == ACT_FLOAT)
        return;
    const size_t at = (r - in->base) * d->k + k0, to = l->packed.group, block = d->block_in;
    if (l->both)
        memcpy(in->x + at, x, n * sizeof(*x));
    const struct quant_rows q = {.q = in->q.q + at,
                                 .scale = in->q.scale + at / to,
                                 .comp = in->q.comp + at / to,
                                 .zero = d->a_zero ? in->q.zero + at / to : NULL};

    if (d->act == ACT_STATIC) {
        quantize_static(l, kernels, x, k0, n, &q);
        return;
    }
    if (d->a_zero)
        kernels->quantize_affine(x, n, d->online ? block : 0, act_group(d), &q);
    else
        kernels->quantize(x, n, d->online ? block : 0, act_group(d), q.q, q.scale, q.comp);
    if (act_group(d) != to)
        spread_groups(n, act_group(d), to, &q, d->a_zero);
}

bool linear_part_is_apart(const struct linear *l, size_t n)
{
    const struct linear_desc *d = &l->desc;

    return d->act == ACT_FLOAT ||
           (n % act_group(d) == 0 && (!d->online || !d->block_in || n % d->block_in == 0));
}

/* The part that output n of the whole lies in, which of its own it is, and how many follow there. */
static const struct linear *part_at(const struct linear *l, size_t n, size_t *ret_own,
                                    size_t *ret_run)
{
    for (const struct linear_part *p = l->parts;; p++) {
        assert(p < l->parts + l->n_parts);
        const size_t in = n < p->at ? p->unit : (n - p->at) % p->step;
        if (in >= p->unit || (n - p->at) / p->step * p->unit >= p->linear.desc.n)
            continue;
        *ret_own = (n - p->at) / p->step * p->unit + in;
        *ret_run = p->unit - in;
        return &p->linear;
    }
}

static void run_parts(const struct linear *l, const struct kernels *kernels,
                      const struct linear_input *in, const struct linear_block *block,
                      const struct gemm_out *out)
{
    struct gemm_out to = *out;

    for (size_t done = 0, run; done < block->n; done += run) {
        struct linear_block b = *block;
        const struct linear *part = part_at(l, block->n0 + done, &b.n0, &run);
        run = run < block->n - done ? run : block->n - done;
        b.n = run;
        to.out = out->out + done;
        to.next = done + run == block->n ? out->next : NULL;
        linear_run_block(part, kernels, in, &b, &to);
        to.prefetch.n = 0; /* beside the first */
    }
}

void linear_run_block(const struct linear *l, const struct kernels *kernels,
                      const struct linear_input *in, const struct linear_block *block,
                      const struct gemm_out *out)
{
    if (l->parts) {
        run_parts(l, kernels, in, block, out);
        return;
    }
    const size_t k = l->desc.k, at = (block->r0 - in->base) * k;
    const size_t panel = block->n0 / PANEL, n_panels = packed_panels(block->n);

    if (is_float(&l->desc)) {
        struct packed_f32 w = l->floats;
        w.w = (const char *)w.w + panel * panel_bytes(&l->desc);
        w.n = block->n;
        kernels->gemm_f32(&w, in->x + at, block->rows, 0, n_panels, out);
        return;
    }
    struct packed_i8 w = l->packed;
    const size_t group = at / w.group;
    struct quant_rows q = {.q = in->q.q + at,
                           .scale = in->q.scale + group,
                           .comp = in->q.comp + group,
                           .zero = l->desc.a_zero ? in->q.zero + group : NULL,
                           .k = k,
                           .group = w.group};
    w.w += panel * w.panel_bytes;
    w.n = block->n;
    kernels->gemm_i8(&w, &q, block->rows, 0, n_panels, out);
}

struct linear_cols linear_cols(const struct linear *l, const struct share *share, size_t unit)
{
    struct linear_cols c = {0};
    size_t begin, end, at, run;

    pool_share((l->desc.n + unit - 1) / unit, share->col, share->n_cols, &begin, &end);
    c.n0 = begin * unit;
    c.n = (end * unit < l->desc.n ? end * unit : l->desc.n) - c.n0;
    at = c.n0;
    if (l->parts && c.n)
        l = part_at(l, c.n0, &at, &run);
    if (!l->parts && !is_float(&l->desc))
        c.weights = l->packed.w + at / PANEL * l->packed.panel_bytes;
    return c;
}

void linear_run(const struct linear *l, const struct kernels *kernels,
                const struct linear_input *in, const struct share *share,
                const struct gemm_out *out)
{
    const struct linear_cols c = linear_cols(l, share, PANEL);
    const struct linear_block block = {
        .r0 = share->begin, .rows = share->end - share->begin, .n0 = c.n0, .n = c.n};
    struct gemm_out to = *out;

    if (!c.n)
        return;
    to.out += share->begin * out->ld + c.n0;
    linear_run_block(l, kernels, in, &block, &to);
}
