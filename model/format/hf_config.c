/* hf_config.c - config.json → the keys of architecture and shape. */
#include <stdio.h>
#include <string.h>

#include "config/limits.h"
#include "model/format/hf_priv.h"

static const struct {
    const char *name, *arch;
} archs[] = {{"LlamaForCausalLM", "llama"}, {"Qwen2ForCausalLM", "qwen2"}};

static int refuse(const struct hf *hf, const char *field, const char *is, const char *read)
{
    return error_set(hf->err, ST_UNSUPPORTED, "%s: %s is %s, which is not built; %s",
                     hf->config.path, field, is, read);
}

static int missing(const struct hf *hf, const char *field)
{
    return error_set(hf->err, ST_FORMAT, "%s: %s is missing", hf->config.path, field);
}

/* ---- values ---- */

/* An absent field has the value *value already has; 0: it must be there. */
static int read_count(const struct hf *hf, const char *field, uint32_t *value)
{
    int r = json_file_u32(&hf->config, field, value, hf->err);

    if (r && r != ST_NOTFOUND)
        return r;
    if (r == ST_NOTFOUND && *value == 0)
        return missing(hf, field);
    if (*value == 0)
        return error_set(hf->err, ST_FORMAT, "%s: %s is 0; it must be 1 or more", hf->config.path,
                         field);
    return ST_OK;
}

/* The same for a number above 0. */
static int read_positive(const struct hf *hf, const char *field, float *value)
{
    int r = json_file_f32(&hf->config, field, value, hf->err);

    if (r && r != ST_NOTFOUND)
        return r;
    if (r == ST_NOTFOUND && !(*value > 0.0f))
        return missing(hf, field);
    if (!(*value > 0.0f))
        return error_set(hf->err, ST_FORMAT, "%s: %s is %g; it must be above 0", hf->config.path,
                         field, (double)*value);
    return ST_OK;
}

static const char *key_of(const struct hf *hf, const char *name, char key[static 128])
{
    snprintf(key, 128, "%s.%s", hf->arch, name);
    return key;
}

static int put_u32(struct hf *hf, const char *name, uint32_t value)
{
    char key[128];

    return gguf_write_u32(hf->keys, key_of(hf, name, key), value);
}

static int put_f32(struct hf *hf, const char *name, float value)
{
    char key[128];

    return gguf_write_f32(hf->keys, key_of(hf, name, key), value);
}

/* ---- what is not built ---- */

static int check_flag(const struct hf *hf, const char *field)
{
    bool on = false;
    int r = json_file_bool(&hf->config, field, &on, hf->err);

    if (r && r != ST_NOTFOUND)
        return r;
    return on ? refuse(hf, field, "true", "false is") : ST_OK;
}

static int check_built(const struct hf *hf)
{
    const char *act = "silu";
    int r;

    if ((r = json_file_str(&hf->config, "hidden_act", &act, hf->err)) && r != ST_NOTFOUND)
        return r;
    if (strcmp(act, "silu") != 0)
        return error_set(hf->err, ST_UNSUPPORTED,
                         "%s: hidden_act is '%s', which is not built; silu is", hf->config.path,
                         gguf_show((struct gguf_str){act, strlen(act)}).text);
    if ((r = check_flag(hf, "use_sliding_window")))
        return r;
    return check_flag(hf, "mlp_bias");
}

/* ---- RoPE ---- */

/* Newer files keep all of it in rope_parameters, older ones in rope_scaling and rope_theta. */
static const char *rope_field(const struct hf *hf, const char *name, char field[static 128])
{
    snprintf(field, 128, "%s.%s",
             json_file_at(&hf->config, "rope_parameters") ? "rope_parameters" : "rope_scaling",
             name);
    return field;
}

static int read_llama3(struct hf *hf)
{
    const struct {
        const char *name;
        float *to;
    } list[] = {{"factor", &hf->rope_factor},
                {"low_freq_factor", &hf->rope_low},
                {"high_freq_factor", &hf->rope_high},
                {"original_max_position_embeddings", &hf->rope_n_ctx}};
    char field[128];
    int r;

    for (size_t i = 0; i < sizeof(list) / sizeof(*list); i++) {
        if ((r = read_positive(hf, rope_field(hf, list[i].name, field), list[i].to)))
            return r;
    }
    if (!(hf->rope_high > hf->rope_low))
        return error_set(hf->err, ST_FORMAT,
                         "%s: high_freq_factor %g must be above low_freq_factor %g",
                         hf->config.path, (double)hf->rope_high, (double)hf->rope_low);
    hf->rope_llama3 = true;
    return ST_OK;
}

static int write_linear(struct hf *hf)
{
    char field[128], key[128];
    float factor = 0.0f;
    int r = read_positive(hf, rope_field(hf, "factor", field), &factor);

    if (r)
        return r;
    r = gguf_write_str(hf->keys, key_of(hf, "rope.scaling.type", key), "linear", 6);
    return r ? r : put_f32(hf, "rope.scaling.factor", factor);
}

static int write_rope(struct hf *hf)
{
    char field[128];
    const char *type = "default";
    int r;

    hf->rope_base = 10000.0f; /* transformers' own default for both architectures */
    if ((r = read_positive(hf, "rope_theta", &hf->rope_base)) ||
        (r = read_positive(hf, "rope_parameters.rope_theta", &hf->rope_base)) ||
        (r = put_f32(hf, "rope.freq_base", hf->rope_base)))
        return r;
    r = json_file_str(&hf->config, rope_field(hf, "rope_type", field), &type, hf->err);
    if (r == ST_NOTFOUND)
        r = json_file_str(&hf->config, rope_field(hf, "type", field), &type, hf->err);
    if (r && r != ST_NOTFOUND)
        return r;
    if (strcmp(type, "default") == 0)
        return ST_OK;
    if (strcmp(type, "linear") == 0)
        return write_linear(hf);
    if (strcmp(type, "llama3") == 0)
        return read_llama3(hf);
    return error_set(hf->err, ST_UNSUPPORTED,
                     "%s: %s is '%s', which is not built; default, linear and llama3 are",
                     hf->config.path, field, gguf_show((struct gguf_str){type, strlen(type)}).text);
}

/* ---- architecture and shape ---- */

static int read_arch(struct hf *hf)
{
    const json_t *list = json_file_at(&hf->config, "architectures");
    const json_t *name = json_array_get(list, 0);

    if (!json_is_string(name))
        return error_set(hf->err, ST_FORMAT,
                         "%s: architectures must be an array that begins with a name",
                         hf->config.path);
    for (size_t i = 0; i < sizeof(archs) / sizeof(*archs); i++) {
        if (json_is(name, archs[i].name)) {
            snprintf(hf->arch, sizeof(hf->arch), "%s", archs[i].arch);
            return ST_OK;
        }
    }
    return error_set(
        hf->vocab_only ? NULL : hf->err, ST_UNSUPPORTED,
        "%s: architecture '%s' is not built; LlamaForCausalLM and Qwen2ForCausalLM are",
        hf->config.path, json_shown(name).text);
}

static int read_shape(struct hf *hf, uint32_t *ret_width)
{
    uint32_t width = 0;
    int r;

    if ((r = read_count(hf, "hidden_size", &width)) ||
        (r = read_count(hf, "num_attention_heads", &hf->n_head)))
        return r;
    hf->n_kv = hf->n_head;
    if ((r = read_count(hf, "num_key_value_heads", &hf->n_kv)))
        return r;
    hf->head_dim = width / hf->n_head;
    if (!json_file_at(&hf->config, "head_dim") && width % hf->n_head)
        return error_set(hf->err, ST_FORMAT,
                         "%s: hidden_size %u does not divide into num_attention_heads %u",
                         hf->config.path, width, hf->n_head);
    if ((r = read_count(hf, "head_dim", &hf->head_dim)) ||
        (r = json_file_bool(&hf->config, "tie_word_embeddings", &hf->tied, hf->err)) == ST_FORMAT)
        return r;
    if (hf->head_dim % 2 || hf->head_dim > LIMIT_WIDTH)
        return error_set(hf->err, ST_FORMAT,
                         "%s: heads have %u numbers; even sizes up to %u are read", hf->config.path,
                         hf->head_dim, LIMIT_WIDTH);
    *ret_width = width;
    return ST_OK;
}

static int write_shape(struct hf *hf)
{
    uint32_t width = 0, n_layer = 0, n_ctx = 0, d_ff = 0;
    float eps = 1e-6f; /* transformers' own default */
    int r;

    if ((r = read_shape(hf, &width)) || (r = read_count(hf, "num_hidden_layers", &n_layer)) ||
        (r = read_count(hf, "max_position_embeddings", &n_ctx)) ||
        (r = read_count(hf, "intermediate_size", &d_ff)) ||
        (r = read_positive(hf, "rms_norm_eps", &eps)))
        return r;
    if ((r = put_u32(hf, "block_count", n_layer)) || (r = put_u32(hf, "context_length", n_ctx)) ||
        (r = put_u32(hf, "embedding_length", width)) ||
        (r = put_u32(hf, "feed_forward_length", d_ff)) ||
        (r = put_u32(hf, "attention.head_count", hf->n_head)) ||
        (r = put_u32(hf, "attention.head_count_kv", hf->n_kv)) ||
        (r = put_u32(hf, "attention.key_length", hf->head_dim)) ||
        (r = put_u32(hf, "attention.value_length", hf->head_dim)) ||
        (r = put_u32(hf, "rope.dimension_count", hf->head_dim)) ||
        (r = put_f32(hf, "attention.layer_norm_rms_epsilon", eps)))
        return r;
    return write_rope(hf);
}

/* The directory's own name. */
static int write_name(struct hf *hf)
{
    size_t end = strlen(hf->dir), start;

    while (end > 1 && hf->dir[end - 1] == '/')
        end--;
    for (start = end; start > 0 && hf->dir[start - 1] != '/';)
        start--;
    return gguf_write_str(hf->keys, "general.name", hf->dir + start, end - start);
}

int hf_write_config(struct hf *hf)
{
    int r = ST_OK;

    snprintf(hf->arch, sizeof(hf->arch), "unknown");
    if (hf->config.root)
        r = read_arch(hf);
    if (r == ST_UNSUPPORTED && hf->vocab_only)
        r = ST_OK;
    if (r == ST_OK)
        r = gguf_write_str(hf->keys, "general.architecture", hf->arch, strlen(hf->arch));
    if (r == ST_OK)
        r = write_name(hf);
    if (r == ST_OK && json_file_at(&hf->config, "vocab_size"))
        r = read_count(hf, "vocab_size", &hf->n_vocab);
    if (r == ST_OK && hf->n_vocab > LIMIT_VOCAB)
        r = error_set(hf->err, ST_FORMAT, "%s: vocab_size is %u; at most %u are read",
                      hf->config.path, hf->n_vocab, LIMIT_VOCAB);
    if (r != ST_OK || hf->vocab_only)
        return r;
    if ((r = check_built(hf)) || (r = hf_read_quantized(hf)))
        return r;
    return write_shape(hf);
}
