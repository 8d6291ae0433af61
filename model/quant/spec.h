/* spec.h - how one weight matrix is stored: bits, groups, and which Hadamard blocks are folded in.
 *
 * Owner: plain values.  Memory, threads: none.
 * Formulas: design.md section 5; the transform after QuaRot (Ashkboos et al. 2024, section 4), as
 * blocks. */
#ifndef OCTET_MODEL_QUANT_SPEC_H
#define OCTET_MODEL_QUANT_SPEC_H

#include <stddef.h>
#include <stdint.h>

#include "config/status.h"

struct quant_spec {
    uint32_t bits;      /* 8; 0: floats, not quantized */
    uint32_t group;     /* weights along K that share an f16 scale */
    uint32_t block_in;  /* Hadamard block folded along K; 0: none */
    uint32_t block_out; /* folded along N, within heads (v only); 0: none */
};

/* What a matrix is for decides its transform. */
enum quant_role {
    QUANT_PLAIN, /* input rotated online */
    QUANT_V,     /* output rotated too, so that o's input arrives rotated */
    QUANT_O      /* input arrives rotated by v */
};

enum quant_scheme { SCHEME_INT8, SCHEME_Q8_0 };

/* NULL or "int8", "q8_0"; else ST_INVALID naming the choices. */
int quant_scheme_parse(const char *name, enum quant_scheme *ret_scheme, struct error *err);
const char *
quant_scheme_label(enum quant_scheme scheme); /* "int8-h64-g64", "q8_0": what octet.scheme says */

/* The spec of a matrix with k inputs under a scheme; head_block: hparams_head_block. */
struct quant_spec quant_spec_for(enum quant_scheme scheme, enum quant_role role, size_t k,
                                 uint32_t head_block);
/* k rounded up to whole groups: what is stored and multiplied. */
size_t quant_padded(const struct quant_spec *spec, size_t k);

#endif
