/* hf_quantized.c - the checkpoints that llm-compressor quantizes to W8A8: quantization_config →
 * octet's own keys, by which their integers are run as they are.
 *
 * The format is compressed-tensors' (https://github.com/neuralmagic/compressed-tensors,
 * quantization/quant_args.py): w = scale * (q - zero point), q in I8, for the matrices that the recipe
 * took; those that it ignored are floats. Inputs get their scales a token while the model runs. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/limits.h"
#include "model/format/hf_priv.h"

#define CONFIG "quantization_config"

/* ---- reading ---- */

/* A value as a word. What is empty is as good as absent. */
static void show(const json_t *value, const char *absent, char *buf, size_t len)
{
    if (json_is_string(value))
        snprintf(buf, len, "%s", json_shown(value).text);
    else if (json_is_integer(value))
        snprintf(buf, len, "%lld", (long long)json_integer_value(value));
    else if (json_is_boolean(value))
        snprintf(buf, len, "%s", json_is_true(value) ? "true" : "false");
    else if (!value || (json_object_size(value) == 0 && json_array_size(value) == 0))
        snprintf(buf, len, "%s", absent);
    else
        snprintf(buf, len, "something else");
}

/* What a field may be, and what it is when absent. */
struct field {
    const char *name, *absent;
    const char *const words[5];
};

/* Which of the words it is. */
static int pick(const struct hf *hf, const struct json_file *in, const struct field *field,
                uint32_t *ret_i)
{
    char is[80], words[120] = "";
    size_t n = 0;

    show(json_file_at(in, field->name), field->absent, is, sizeof(is));
    for (; field->words[n]; n++) {
        const size_t len = strlen(words);

        if (strcmp(is, field->words[n]) == 0) {
            *ret_i = (uint32_t)n;
            return ST_OK;
        }
        snprintf(words + len, sizeof(words) - len, "%s%s", n ? " or " : "", field->words[n]);
    }
    return error_set(hf->err, ST_UNSUPPORTED,
                     "%s: " CONFIG ": %s is %s, which is not read; %s is (weights in F32, F16 or "
                     "BF16 are, too)",
                     hf->config.path, field->name, is, words);
}

static int pick_all(const struct hf *hf, const struct json_file *in, const struct field *fields,
                    size_t n)
{
    uint32_t unused;
    int r = ST_OK;

    for (size_t i = 0; r == ST_OK && i < n; i++)
        r = pick(hf, in, &fields[i], &unused);
    return r;
}

/* The one group of matrices, its fields as of a file of its own. */
static int read_group(struct hf *hf, const struct json_file *group)
{
    static const struct field fixed[] = {
        {"format", "int-quantized", {"int-quantized", "naive-quantized"}},
        {"weights.num_bits", "none", {"8"}},
        {"weights.type", "int", {"int"}},
        {"weights.dynamic", "false", {"false"}},
        {"weights.actorder", "none", {"none", "weight", "static"}},
        {"input_activations.num_bits", "none", {"8"}},
        {"input_activations.type", "int", {"int"}},
        {"input_activations.dynamic", "false", {"true"}},
        {"input_activations.strategy", "tensor", {"token"}},
        {"output_activations", "none", {"none"}}};
    static const struct field strategy = {"weights.strategy", "tensor", {"channel", "group"}};
    static const struct field size = {"weights.group_size", "none", {"32", "64", "128", "256"}};
    static const struct field zero = {"weights.symmetric", "true", {"true", "false"}};
    static const struct field act_zero = {"input_activations.symmetric", "true", {"true", "false"}};
    uint32_t grouped = 0, i = 0;
    int r = pick_all(hf, group, fixed, sizeof(fixed) / sizeof(*fixed));

    if (r || (r = pick(hf, group, &strategy, &grouped)) ||
        (grouped && (r = pick(hf, group, &size, &i))))
        return r;
    hf->quantized.group = grouped ? 32u << i : 0;
    if ((r = pick(hf, group, &zero, &i)))
        return r;
    hf->quantized.zero = i;
    if ((r = pick(hf, group, &act_zero, &i)))
        return r;
    hf->quantized.act_zero = i;
    return ST_OK;
}

int hf_read_quantized(struct hf *hf)
{
    static const struct field whole[] = {{"quant_method", "none", {"compressed-tensors"}},
                                         {"format", "dense", {"int-quantized", "naive-quantized"}},
                                         {"quantization_status", "compressed", {"compressed"}},
                                         {"kv_cache_scheme", "none", {"none"}},
                                         {"sparsity_config.format", "dense", {"dense"}},
                                         {"transform_config", "none", {"none"}}};
    struct json_file in = {hf->config.path, json_file_at(&hf->config, CONFIG)}, group = in;
    json_t *groups;
    int r;

    if (!in.root)
        return ST_OK;
    if ((r = pick_all(hf, &in, whole, sizeof(whole) / sizeof(*whole))))
        return r;
    groups = json_file_at(&in, "config_groups");
    if (json_object_size(groups) != 1)
        return error_set(hf->err, ST_UNSUPPORTED,
                         "%s: " CONFIG
                         ": config_groups has %zu groups; one for all matrices is read",
                         hf->config.path, json_object_size(groups));
    group.root = json_object_iter_value(json_object_iter(groups));
    hf->quantized.on = true;
    return read_group(hf, &group);
}

/* ---- writing ---- */

uint64_t hf_padded(const struct hf_quantized *quantized, uint64_t k)
{
    const uint64_t whole = quantized->group ? quantized->group : 32;

    return (k + whole - 1) / whole * whole;
}

/* As `octet quantize --scheme` would call it: no Hadamard, and what the recipe ignored stays float. */
static int write_scheme(struct hf *hf, const char *head, const char *embed)
{
    const struct hf_quantized *q = &hf->quantized;
    const bool alike = head && embed && strcmp(head, embed) == 0;
    char text[96], group[24] = "row";

    if (q->group)
        snprintf(group, sizeof(group), "g%u-token", q->group);
    if (alike)
        embed = NULL;
    snprintf(text, sizeof(text), "int8-h0-%s-f32%s%s%s%s%s%s", group, q->zero ? "-affine" : "",
             q->act_zero ? "-actaffine" : "", head ? "+head:" : "", head ? head : "",
             embed ? "+embed:" : "", embed ? embed : "");
    return gguf_write_str(hf->keys, "octet.scheme", text, strlen(text));
}

/* As quant/source.h numbers them. */
static const char *const keys[] = {"octet.linear.bits",      "octet.linear.group",
                                   "octet.linear.block_in",  "octet.linear.block_out",
                                   "octet.linear.act_group", "octet.linear.scale_f32",
                                   "octet.linear.zero",      "octet.linear.act_zero"};
enum { KEYS = sizeof(keys) / sizeof(*keys) };

/* The matrices in integers. */
struct found {
    struct gguf_str *names;
    char (*text)[64];
    uint32_t *nums; /* [KEYS][room] */
    size_t n, room;
    const char *head, *embed; /* what they are in, where it is floats */
};

static const char *floats_of(const struct safetensor *t)
{
    return strcmp(t->dtype, "I8") == 0 ? NULL : strcmp(t->dtype, "F16") == 0 ? "f16" : "f32";
}

static int add(const struct hf *hf, const struct safetensor *t, struct found *found)
{
    const struct hf_quantized *q = &hf->quantized;
    const uint64_t k = hf_padded(q, t->dims[1]);
    const uint32_t row = (uint32_t)k;
    const uint32_t nums[KEYS] = {
        8, q->group ? q->group : row, 0, 0, q->group ? row : 0, 1, q->zero, q->act_zero};
    char *name = found->text[found->n];

    if (strcmp(t->name, "model.embed_tokens.weight") == 0)
        *(hf->tied ? &found->head : &found->embed) = floats_of(t);
    if (!hf->tied && strcmp(t->name, "lm_head.weight") == 0)
        found->head = floats_of(t);
    if (!hf_name_ints(hf, t, name))
        return ST_OK;
    if (k > LIMIT_WIDTH)
        return error_set(hf->err, ST_FORMAT, "%s: tensor '%s' has rows of %llu; up to %u are read",
                         hf->dir, t->name, (unsigned long long)t->dims[1], LIMIT_WIDTH);
    for (size_t i = 0; i < KEYS; i++)
        found->nums[i * found->room + found->n] = nums[i];
    found->names[found->n++] = (struct gguf_str){name, strlen(name)};
    return ST_OK;
}

static int find_all(const struct hf *hf, const struct hf_parts *parts, struct found *found)
{
    int r;

    for (size_t s = 0; s < parts->n_shards; s++)
        for (size_t i = 0; i < safetensors_n(parts->shards[s]); i++)
            if ((r = add(hf, safetensors_at(parts->shards[s], i), found)))
                return r;
    if (found->n)
        return ST_OK;
    return error_set(hf->err, ST_FORMAT,
                     "%s: " CONFIG " says that matrices are I8, but no tensor of %s is",
                     hf->config.path, hf->dir);
}

static int write_all(struct hf *hf, const struct found *found)
{
    int r = gguf_write_u32(hf->keys, "octet.version", 1);

    if (r == ST_OK)
        r = write_scheme(hf, found->head, found->embed);
    if (r == ST_OK)
        r = gguf_write_strs(hf->keys, "octet.linear.names", found->names, found->n);
    for (size_t i = 0; r == ST_OK && i < KEYS; i++)
        r = gguf_write_u32s(hf->keys, keys[i], found->nums + i * found->room, found->n);
    return r;
}

int hf_write_quantized(struct hf *hf, const struct hf_parts *parts)
{
    struct found found = {.room = 1};
    int r = ST_NOMEM;

    for (size_t s = 0; s < parts->n_shards; s++)
        found.room += safetensors_n(parts->shards[s]);
    found.names = calloc(found.room, sizeof(*found.names));
    found.text = calloc(found.room, sizeof(*found.text));
    found.nums = calloc(found.room * KEYS, sizeof(*found.nums));
    if (found.names && found.text && found.nums)
        r = find_all(hf, parts, &found);
    if (r == ST_OK)
        r = write_all(hf, &found);
    free(found.names);
    free(found.text);
    free(found.nums);
    return r;
}
