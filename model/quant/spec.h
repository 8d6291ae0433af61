/* spec.h - how one weight matrix is stored and what its product's activations look like; and the
 * schemes that say so for a whole model.
 *
 * Owner:   plain values.  Memory, threads: none.
 * Errors:  the parsers alone: ST_INVALID, naming the word and what would be right.
 * Formulas: design.md section 5; the transform after QuaRot (Ashkboos et al. 2024, section 4), as
 * blocks. */
#ifndef OCTET_MODEL_QUANT_SPEC_H
#define OCTET_MODEL_QUANT_SPEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config/status.h"

/* All of one type, so that two specs are equal where their bytes are. */
struct quant_spec {
    uint32_t bits;       /* 8, 4: integers; 16, 32: floats, and the rest is 0; 0: others' blocks */
    uint32_t group;      /* weights along K that share a scale; the whole row: quant_padded(k) */
    uint32_t block_in;   /* Hadamard block folded along K; 0: none */
    uint32_t block_out;  /* folded along N, within heads (v only); 0: none */
    uint32_t act_group;  /* activations along K that share a scale; 0: as many as weights do */
    uint32_t scale_f32;  /* scales are f32, else f16 */
    uint32_t zero;       /* weights are affine: q - zero point, one a scale */
    uint32_t act_zero;   /* activations are */
    uint32_t act_static; /* enum quant_act: whence their scales */
};

enum quant_act {
    QUANT_DYNAMIC, /* found in each row */
    QUANT_STATIC,  /* one for all, from calibration */
    QUANT_CHANNEL  /* one a channel, from calibration: weights hold what they differ by */
};

/* Row i of a matrix as integers, in what its spec says. */
struct quant_row {
    int8_t *q;     /* [padded k]: -128 .. 127, or -8 .. 7 */
    float *scales; /* [padded k / group]; f16 values unless scale_f32 */
    int8_t *zeros; /* [padded k / group]: x' = scale * (q - zero); all 0 unless the spec has them */
};

/* What a matrix is for decides its transform. */
enum quant_role {
    QUANT_PLAIN, /* input rotated online */
    QUANT_V,     /* output rotated too, so that o's input arrives rotated */
    QUANT_O      /* input arrives rotated by v */
};

/* What is wanted of a kind of matrix; its K decides what it gets. */
struct quant_choice {
    uint32_t bits;      /* 8, 4; 16, 32: floats, and the rest is 0 */
    uint32_t group;     /* 32, 64, 128, 256, QUANT_ROW */
    uint32_t block;     /* 64, 32; 0: none */
    uint32_t act_group; /* 0: as the weights' */
    uint32_t act_static;
    bool scale_f32, zero, act_zero;
    bool tensor; /* one scale for all rows */
};
#define QUANT_ROW UINT32_MAX

struct quant_scheme {
    struct quant_choice body, head, embed; /* embed: of a file whose head is a matrix of its own */
};

/* The default, and what standard Q8_0 can hold. */
extern const struct quant_choice QUANT_INT8, QUANT_Q8_0;

/* A label as quant_scheme_label makes it; its first word alone ("int8", "int4", "fast", "q8_0",
 * "f16", "f32") stands for a whole scheme, and words after one of integers change it, the last of a
 * kind being the one that counts:
 *   int8|int4|fast|q8_0 [-h64|h32|h0] [-g32|g64|g128|g256|row|tensor]
 *   [-a32..a256|token|static|channel] [-f16|f32] [-affine] [-actaffine] [+head:...] [+embed:...]
 * NULL: "int8". */
int quant_scheme_parse(const char *text, struct quant_scheme *ret_scheme, struct error *err);
/* The same of one matrix: no '+'. */
int quant_choice_parse(const char *text, struct quant_choice *ret_choice, struct error *err);
/* "int8-h64-g64", "f16". Returns buf. */
const char *quant_choice_label(const struct quant_choice *choice, char *buf, size_t len);
bool quant_choice_same(const struct quant_choice *a, const struct quant_choice *b);
enum { QUANT_LABEL_MAX = 192 }; /* bytes that the longest of a scheme or plan takes */
/* "int8-h64-g64", "q8_0": what octet.scheme says. Returns buf. */
const char *quant_scheme_label(const struct quant_scheme *scheme, char *buf, size_t len);
/* Nothing in it that standard Q8_0 can't hold (K aside). */
bool quant_scheme_is_q8_0(const struct quant_scheme *scheme);
/* What matrix `name` ("output.weight") is to be under it; tied: the embedding is the head. */
const struct quant_choice *quant_scheme_choice(const struct quant_scheme *scheme, const char *name,
                                               bool tied);

/* The spec of a matrix with k inputs; head_block: hparams_head_block. A group that does not divide
 * k becomes the largest multiple of 32 that does, if that is at least half of it; else the largest
 * half, quarter, ... of it that pads k by less than an eighth, or 32. */
struct quant_spec quant_spec_for(const struct quant_choice *choice, enum quant_role role, size_t k,
                                 uint32_t head_block);
/* What quant_spec_for could not give as wanted, as words ("groups of 96 for 128"); empty: nothing. */
void quant_spec_differs(const struct quant_choice *choice, const struct quant_spec *spec, size_t k,
                        char *buf, size_t len);
bool quant_is_ints(const struct quant_spec *spec);
/* Does the spec's own arithmetic hold, and is it built? Which k it fits is not asked. */
bool quant_spec_is_built(const struct quant_spec *spec);
/* k rounded up to whole groups: what is stored and multiplied. */
size_t quant_padded(const struct quant_spec *spec, size_t k);
/* Activations that share a scale. */
uint32_t quant_act_group(const struct quant_spec *spec);
/* Bytes in a file of n rows of k: numbers, scales and zero points. */
uint64_t quant_stored_bytes(const struct quant_spec *spec, size_t n, size_t k);

/* How 4-bit weights lie in a file: input 2i of a row in the low half of byte i, 2i + 1 in the high
 * one, as q + 8. n is even; q and bytes do not overlap. */
void quant_put_nibbles(const int8_t *q, size_t n, uint8_t *bytes);

#endif
