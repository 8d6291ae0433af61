#include "model/requantize.h"

#include <stdio.h>
#include <string.h>

#include "model/format/map.h"
#include "model/net/weights.h"
#include "model/quant/source.h"

bool requantize_keeps(const struct model_quantize_opts *opts, const struct gguf *g)
{
    return map_is_folder(opts->in) && gguf_key(g, "octet.scheme") && !opts->scheme && !opts->plan &&
           !opts->observations;
}

bool requantize_drops(struct gguf_str key, bool kept)
{
    static const char *const old[] = {"octet.", "general.file_type",
                                      "general.quantization_version"};

    for (size_t i = 0; !kept && i < sizeof(old) / sizeof(*old); i++)
        if (key.len >= strlen(old[i]) && memcmp(key.data, old[i], strlen(old[i])) == 0)
            return true;
    return kept && key.len > 13 && memcmp(key.data, "octet.linear.", 13) == 0;
}

/* What the matrix is quantized as; NULL: it holds floats, or isn't there. */
static const char *kind_of(const struct gguf *g, const char *name)
{
    const struct gguf_tensor *t = gguf_find(g, name);

    if (!t)
        return source_exists(g, name) ? "octet" : NULL;
    if (t->type == GGUF_F32 || t->type == GGUF_F16 || t->type == GGUF_BF16)
        return NULL;
    return gguf_type_name(t->type);
}

/* The kind of the first matrix that is quantized; lost: whose integers are not what the plan wants. */
static const char *find_kind(const struct gguf *g, const struct quant_plan *plan, bool lost)
{
    const bool tied = !source_exists(g, "output.weight");
    struct quant_spec stored, want;
    struct tensor_role t;
    struct hparams hp;

    if (weights_read_shape(g, &hp, NULL) != ST_OK)
        return NULL;
    for (size_t i = 0; weights_tensor_at(&hp, i, &t); i++) {
        const char *kind = t.k ? kind_of(g, t.name) : NULL;

        if (!kind || source_stored_spec(g, t.name, &stored, NULL) != ST_OK)
            continue;
        want = quant_plan_spec(plan, t.name, (enum quant_role)t.role, t.k, hparams_head_block(&hp),
                               tied);
        if (!lost || memcmp(&stored, &want, sizeof(want)) != 0)
            return kind;
    }
    return NULL;
}

void requantize_warn(const struct gguf *g, const struct quant_plan *plan, char text[static 256])
{
    const char *any = find_kind(g, plan, false), *lost = find_kind(g, plan, true);

    if (lost)
        snprintf(
            text, 256,
            "the source is quantized already (%s): what its numbers mean is quantized again, and "
            "both losses add up",
            lost);
    else if (any)
        snprintf(text, 256, "the source is quantized already (%s), as it is wanted: it was copied",
                 any);
}
