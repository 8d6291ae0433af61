/* linear.h - a linear layer: one descriptor decides how its weights are packed and which product
 * runs.
 *
 * y = x W^T. Whatever the descriptor says beyond what is built is refused by name at linear_open.
 *
 * Owner:   immutable once filled; any thread may run it.
 * Memory:  weights are packed once into the caller's arena.
 * Errors:  ST_UNSUPPORTED naming the layer and the combination; ST_NOMEM. */
#ifndef OCTET_MODEL_NET_LINEAR_H
#define OCTET_MODEL_NET_LINEAR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config/status.h"
#include "model/kernels/kernels.h"
#include "model/net/memory.h"
#include "model/quant/spec.h"

enum scale_type { SCALE_NONE, SCALE_F16, SCALE_F32 };
enum act_mode {
    ACT_FLOAT,         /* f32 activations as they are */
    ACT_DYNAMIC_GROUP, /* s8, a scale a token and group, found on the fly */
    ACT_DYNAMIC_TOKEN, /* the same where the group is the whole row */
    ACT_STATIC         /* s8, by steps that linear_set_steps was told */
};

struct linear_desc {
    size_t n, k;           /* outputs, inputs; k padded to whole groups */
    uint32_t w_bits;       /* 32, 16: floats; 8, 4; 0: of several, see parts */
    uint32_t group;        /* along K; k for whole rows; 0 for floats */
    enum scale_type scale; /* of the weights */
    bool w_zero, a_zero;   /* zero points of either side */
    enum act_mode act;
    uint32_t act_group; /* inputs that share a scale; 0: as many as weights do */
    uint32_t
        in_group; /* others read the inputs too: the product's group divides this; 0: none do */
    uint32_t block_in; /* Hadamard block folded into the weights along K */
    bool online;       /* the input must still be rotated (o's arrives rotated by v) */
};

struct linear {
    struct linear_desc desc;
    struct packed_i8 packed;  /* w_bits 8 and 4; its group divides the weights' and the inputs' */
    struct packing pack;      /* of the set that it was opened for */
    struct packed_f32 floats; /* w_bits 32 and 16 */
    float *inv, *zero;        /* ACT_STATIC: [k], as struct quant_steps has them */
    float step;               /* ACT_STATIC: the largest, which is the scale of all rows */
    void *map;
    size_t map_bytes;
    struct linear_part *parts; /* [n_parts] whose weights are unlike; NULL: it is one itself */
    size_t n_parts;
    bool both; /* of parts: integers and floats are read */
};

/* Its outputs are those of the whole from `at` on: runs of `unit`, `step` apart, whole panels. */
struct linear_part {
    struct linear linear;
    size_t at, unit, step;
};

/* Inputs that a product of integers sums at once: the largest group inside one of either side. */
uint32_t linear_group(const struct linear_desc *desc);
/* What linear_open takes of the arena; false: more than can be counted. */
bool linear_room(const struct linear_desc *desc, size_t *ret_bytes);
/* kernels: the set that will run it. */
int linear_open(struct linear *l, const struct linear_desc *desc, const struct kernels *kernels,
                struct arena *arena, const char *name, struct error *err);

/* ACT_STATIC, before anything is filled: x_j' = steps[j] * (q - zeros[j]), for all j or, n being 1, one
 * for all; zeros: NULL for none. What is filled then are weights times steps[j] / the largest. Inputs
 * from n on, where there are some, are zeros. */
void linear_set_steps(struct linear *l, const float *steps, const float *zeros, size_t n);
/* Parts that were opened and filled become one layer of n outputs: those read the same inputs (k,
 * act_group, block_in, in_group, zero points, steps). The caller keeps parts as long as l, and frees
 * them. */
void linear_join(struct linear *l, struct linear_part *parts, size_t n_parts, size_t n);

/* Fill output i: integers with their scales, or floats. Every output once, in any order, before the
 * first run. */
void linear_set_row(struct linear *l, size_t i, const struct quant_row *row);
void linear_set_row_f32(struct linear *l, size_t i, const float *w);
/* Output i back as floats in the stored (rotated) space: an embedding looked up. out[k]. */
void linear_get_row(const struct linear *l, size_t i, float *out);

size_t linear_bytes(const struct linear *l);

/* What a worker runs of a product: rows [begin, end), and of their outputs one of n_cols shares. */
struct share {
    size_t begin, end;
    unsigned col, n_cols;
};

/* What a product reads: rows quantized, or the floats themselves, or both. */
struct linear_input {
    float *x; /* [rows][k], only where l, or a part of it, wants floats */
    struct quant_rows q;
    size_t base; /* the row of the step that is the first here */
};
/* Where inputs from k0 on of row r are to be put as floats: their place in the row, or scratch [k]
 * on their way to linear_quantize. */
float *linear_stage(const struct linear *l, const struct linear_input *in, float *scratch, size_t r,
                    size_t k0);
/* Inputs [k0, k0 + n) of row r, staged at x → in, as l wants them: rotation if online,
 * quantization. The whole row, or whole groups of it. x may be changed. Floats: nothing to do. */
void linear_quantize(const struct linear *l, const struct kernels *kernels, float *x,
                     const struct linear_input *in, size_t r, size_t k0, size_t n);
/* Are n inputs at a multiple of n whole groups, and whole Hadamard blocks? Floats: yes. */
bool linear_part_is_apart(const struct linear *l, size_t n);
/* Rows [r0, r0 + rows) and whole panels from output n0 on, n of them: out of kernels.h, of row r0
 * and output n0. */
struct linear_block {
    size_t r0, rows, n0, n;
};
void linear_run_block(const struct linear *l, const struct kernels *kernels,
                      const struct linear_input *in, const struct linear_block *block,
                      const struct gemm_out *out);
/* A share's outputs, whole `unit`s (each of whole panels), and where their weights begin; floats:
 * NULL. */
struct linear_cols {
    size_t n0, n;
    const uint8_t *weights;
};
struct linear_cols linear_cols(const struct linear *l, const struct share *share, size_t unit);
/* That share of it. out as in kernels.h, of row 0. */
void linear_run(const struct linear *l, const struct kernels *kernels,
                const struct linear_input *in, const struct share *share,
                const struct gemm_out *out);

#endif
