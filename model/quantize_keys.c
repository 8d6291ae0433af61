/* quantize_keys.c - the metadata of a file that `octet quantize` writes. */
#include <stdlib.h>
#include <string.h>

#include "model/quantize_priv.h"
#include "model/requantize.h"

static int write_plan(struct job *j)
{
    char *json = quant_plan_json(j->plan);
    int r = json ? gguf_write_str(j->out, "octet.plan", json, strlen(json)) : ST_NOMEM;

    free(json);
    return r;
}

/* Keys that say how the old file was quantized do not carry over. */
int quantize_write_keys(struct job *j)
{
    int r = ST_OK;

    for (size_t i = 0; i < gguf_n_keys(j->g) && r == ST_OK; i++) {
        const struct gguf_kv *kv = gguf_kv_at(j->g, i);
        if (!requantize_drops(gguf_kv_name(kv), j->as_stored))
            r = gguf_write_copy(j->out, kv);
    }
    if (j->as_stored)
        return r; /* which scheme, plan and text it was is said already */
    if (r == ST_OK && j->opts->observations)
        r = observations_write_keys(j->opts->observations, j->out);
    if (r == ST_OK && j->prepared)
        r = prepare_write_keys(j->prepared, j->out);
    if (r == ST_OK && j->q8_0) {
        r = gguf_write_u32(j->out, "general.file_type", 7); /* "mostly Q8_0" in GGUF's own list */
        return r == ST_OK ? gguf_write_u32(j->out, "general.quantization_version", 2) : r;
    }
    char by[32];
    observer_label(&j->observer, by, sizeof(by));
    if (r == ST_OK && quant_plan_is_static(j->plan))
        r = gguf_write_str(j->out, "octet.calibration.observer", by, strlen(by));
    if (r == ST_OK)
        r = gguf_write_u32(j->out, "octet.version", 1);
    if (r == ST_OK)
        r = gguf_write_str(j->out, "octet.scheme", j->label, strlen(j->label));
    return r == ST_OK && quant_plan_pattern(j->plan, 0) ? write_plan(j) : r;
}

/* octet.linear.*: parallel arrays, one element a matrix of integers. Keys that hold nothing but
 * zeros and may be left out are. */
int quantize_write_specs(struct job *j)
{
    struct tensor_role t;
    size_t n = 0;
    struct gguf_str *names = calloc(j->n_roles, sizeof(*names));
    char(*text)[64] = calloc(j->n_roles, sizeof(*text));
    uint32_t *nums = calloc(j->n_roles * SOURCE_LINEAR_KEYS, sizeof(*nums));
    uint32_t any[SOURCE_LINEAR_KEYS] = {1, 1, 1, 1};
    int r = names && text && nums ? ST_OK : ST_NOMEM;

    for (size_t i = 0; r == ST_OK && weights_tensor_at(&j->hp, i, &t); i++) {
        struct quant_spec s = {0};
        if (quantize_is_matrix(j, &t))
            s = quantize_spec(j, i, &t);
        if (!quant_is_ints(&s))
            continue;
        uint32_t v[SOURCE_LINEAR_KEYS];
        size_t len = strlen(t.name) - strlen(".weight");
        memcpy(text[n], t.name, len);
        names[n] = (struct gguf_str){text[n], len};
        memcpy(v, &s, sizeof(v));
        for (size_t k = 0; k < SOURCE_LINEAR_KEYS; k++) {
            nums[k * j->n_roles + n] = v[k];
            any[k] |= v[k];
        }
        n++;
    }
    if (r == ST_OK)
        r = gguf_write_strs(j->out, "octet.linear.names", names, n);
    for (size_t k = 0; k < SOURCE_LINEAR_KEYS && r == ST_OK; k++)
        if (any[k])
            r = gguf_write_u32s(j->out, source_linear_keys[k], nums + k * j->n_roles, n);
    free(names);
    free(text);
    free(nums);
    return r;
}
