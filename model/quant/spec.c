#include "model/quant/spec.h"

#include <string.h>

int quant_scheme_parse(const char *name, enum quant_scheme *ret_scheme, struct error *err)
{
    if (!name || strcmp(name, "int8") == 0)
        *ret_scheme = SCHEME_INT8;
    else if (strcmp(name, "q8_0") == 0)
        *ret_scheme = SCHEME_Q8_0;
    else
        return error_set(err, ST_INVALID, "scheme \"%.40s\" is not built; int8 and q8_0 are", name);
    return ST_OK;
}

const char *quant_scheme_label(enum quant_scheme scheme)
{
    return scheme == SCHEME_Q8_0 ? "q8_0" : "int8-h64-g64";
}

struct quant_spec quant_spec_for(enum quant_scheme scheme, enum quant_role role, size_t k,
                                 uint32_t head_block)
{
    struct quant_spec s = {.bits = 8, .group = 32};

    if (scheme == SCHEME_Q8_0)
        return s;
    /* Groups of 64 where they divide K; else 32, the last one padded with zeros. */
    s.group = k % 64 == 0 ? 64 : 32;
    s.block_in = k % 64 == 0 ? 64 : k % 32 == 0 ? 32 : 0;
    if (role == QUANT_O)
        s.block_in = head_block;
    if (role == QUANT_V)
        s.block_out = head_block;
    return s;
}

size_t quant_padded(const struct quant_spec *spec, size_t k)
{
    return spec->group ? (k + spec->group - 1) / spec->group * spec->group : k;
}
