#include "model/net/linear.h"

#include <stdio.h>
#include <string.h>

#include "model/kernels/half.h"
#include "model/net/pool.h"

static bool is_built(const struct linear_desc *d)
{
    if (d->w_bits == 32)
        return d->scale == SCALE_NONE && !d->w_zero && !d->a_zero && d->act == ACT_FLOAT &&
               d->block_in == 0;
    return d->w_bits == 8 && d->group && d->group % 32 == 0 && d->group <= GROUP_MAX &&
           d->k % d->group == 0 && d->scale == SCALE_F16 && !d->w_zero && !d->a_zero &&
           d->act == ACT_DYNAMIC_GROUP && (!d->block_in || d->group % d->block_in == 0);
}

static int refuse(const struct linear_desc *d, const char *name, struct error *err)
{
    static const char *const scales[] = {"no", "f16", "f32"};
    static const char *const acts[] = {"float", "dynamic per group", "dynamic per token", "static"};

    return error_set(err, ST_UNSUPPORTED,
                     "%s: %u-bit weights in groups of %u with %s scales%s, %s activations%s, "
                     "Hadamard blocks of %u: this "
                     "combination is not built",
                     name, d->w_bits, d->group, scales[d->scale],
                     d->w_zero ? " and zero points" : "", acts[d->act],
                     d->a_zero ? " with zero points" : "", d->block_in);
}

/* A multiple of 64, so that linears lie side by side in an arena. */
static size_t panel_bytes(const struct linear_desc *d)
{
    if (d->w_bits == 32)
        return d->k * PANEL * sizeof(float);
    return d->k / d->group * (PANEL * 2 + d->group * PANEL);
}

bool linear_room(const struct linear_desc *desc, size_t *ret_bytes)
{
    size_t panels = desc->n / PANEL + (desc->n % PANEL != 0), bytes;

    if (__builtin_mul_overflow(panels, panel_bytes(desc), &bytes))
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
    if (desc->w_bits == 8) {
        l->pack = kernels->pack;
        l->packed = (struct packed_i8){.w = l->map,
                                       .n = desc->n,
                                       .k = desc->k,
                                       .group = desc->group,
                                       .panel_bytes = panel_bytes(desc)};
    } else {
        l->floats = (struct packed_f32){.w = l->map, .n = desc->n, .k = desc->k};
    }
    return ST_OK;
}

size_t linear_bytes(const struct linear *l)
{
    return l->map_bytes;
}

/* Group g of output i's panel: PANEL scales, then bytes. */
static uint8_t *group_at(const struct linear *l, size_t i, size_t g)
{
    return (uint8_t *)l->map + i / PANEL * l->packed.panel_bytes +
           g * (PANEL * 2 + l->desc.group * PANEL);
}

/* Where in a group column c has input k; those up to the next multiple of 4 follow it. */
static size_t byte_at(const struct packing *p, size_t c, size_t k)
{
    size_t in_step = k & (p->step - 1);

    return PANEL * 2 + (k - in_step) * PANEL + c * p->step + in_step;
}

void linear_set_row_i8(struct linear *l, size_t i, const int8_t *q, const uint16_t *scales)
{
    size_t c = i % PANEL, group = l->desc.group;

    for (size_t g = 0; g < l->desc.k / group; g++) {
        uint8_t *at = group_at(l, i, g);
        memcpy(at + 2 * c, &scales[g], 2);
        for (size_t k = 0; k < group; k += 4, q += 4) {
            uint32_t four;
            memcpy(&four, q, sizeof(four));
            four ^= l->pack.bias * 0x01010101u; /* + 128 is a flipped sign, byte by byte */
            memcpy(at + byte_at(&l->pack, c, k), &four, sizeof(four));
        }
    }
}

/* Where output i's column begins; its next input is PANEL floats on. */
static float *column_at(const struct linear *l, size_t i)
{
    return (float *)l->map + i / PANEL * l->desc.k * PANEL + i % PANEL;
}

void linear_set_row_f32(struct linear *l, size_t i, const float *w)
{
    float *at = column_at(l, i);

    for (size_t k = 0; k < l->desc.k; k++)
        at[k * PANEL] = w[k];
}

void linear_get_row(const struct linear *l, size_t i, float *out)
{
    size_t c = i % PANEL, group = l->desc.group;

    if (l->desc.w_bits == 32) {
        const float *at = column_at(l, i);
        for (size_t k = 0; k < l->desc.k; k++)
            out[k] = at[k * PANEL];
        return;
    }
    for (size_t g = 0; g < l->desc.k / group; g++) {
        const uint8_t *at = group_at(l, i, g);
        uint16_t half;
        memcpy(&half, at + 2 * c, sizeof(half));
        float scale = half_to_float(half);
        for (size_t k = 0; k < group; k++)
            *out++ = scale * (float)(int8_t)(at[byte_at(&l->pack, c, k)] ^ l->pack.bias);
    }
}

float *linear_stage(const struct linear *l, const struct linear_input *in, float *scratch, size_t r,
                    size_t k0)
{
    return l->desc.act == ACT_FLOAT ? in->x + (r - in->base) * l->desc.k + k0 : scratch + k0;
}

void linear_quantize(const struct linear *l, const struct kernels *kernels, float *x,
                     const struct linear_input *in, size_t r, size_t k0, size_t n)
{
    const struct linear_desc *d = &l->desc;

    if (d->act == ACT_FLOAT)
        return;
    size_t at = (r - in->base) * d->k + k0, group = at / d->group;
    kernels->quantize(x, n, d->online ? d->block_in : 0, d->group, in->q.q + at,
                      in->q.scale + group, in->q.comp + group);
}

bool linear_part_is_apart(const struct linear *l, size_t n)
{
    return l->desc.act == ACT_FLOAT || n % l->desc.group == 0;
}

void linear_run_block(const struct linear *l, const struct kernels *kernels,
                      const struct linear_input *in, const struct linear_block *block,
                      const struct gemm_out *out)
{
    const size_t k = l->desc.k, at = (block->r0 - in->base) * k;
    const size_t panel = block->n0 / PANEL, n_panels = (block->n + PANEL - 1) / PANEL;

    if (l->desc.w_bits == 32) {
        struct packed_f32 w = l->floats;
        w.w += panel * PANEL * k;
        w.n = block->n;
        kernels->gemm_f32(&w, in->x + at, block->rows, 0, n_panels, out);
        return;
    }
    struct packed_i8 w = l->packed;
    const size_t group = at / w.group;
    struct quant_rows q = {.q = in->q.q + at,
                           .scale = in->q.scale + group,
                           .comp = in->q.comp + group,
                           .k = k,
                           .group = w.group};
    w.w += panel * w.panel_bytes;
    w.n = block->n;
    kernels->gemm_i8(&w, &q, block->rows, 0, n_panels, out);
}

const uint8_t *linear_weights(const struct linear *l, size_t n0, size_t n, size_t *ret_bytes)
{
    *ret_bytes = 0;
    if (l->desc.w_bits == 32)
        return NULL;
    *ret_bytes = (n + PANEL - 1) / PANEL * l->packed.panel_bytes;
    return l->packed.w + n0 / PANEL * l->packed.panel_bytes;
}

struct linear_cols linear_cols(const struct linear *l, const struct share *share, size_t unit)
{
    struct linear_cols c = {0};
    size_t begin, end;

    pool_share((l->desc.n + unit - 1) / unit, share->col, share->n_cols, &begin, &end);
    c.n0 = begin * unit;
    c.n = (end * unit < l->desc.n ? end * unit : l->desc.n) - c.n0;
    if (l->desc.w_bits == 8) {
        c.weights = l->packed.w + c.n0 / PANEL * l->packed.panel_bytes;
        c.bytes = (c.n + PANEL - 1) / PANEL * l->packed.panel_bytes;
    }
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
