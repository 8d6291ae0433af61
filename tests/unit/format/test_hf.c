/* A Hugging Face directory by the keys and tensors that it gives. */
#include <math.h>

#include "hf_build.h"

static struct gguf *open_it(void)
{
    struct gguf *g = NULL;
    struct error err = {""};

    ck_assert_msg(gguf_open(hf_path, NULL, &g, &err) == ST_OK, "%s", err.text);
    return g;
}

static uint32_t u32(const struct gguf *g, const char *key)
{
    uint32_t value = 0;

    ck_assert_msg(gguf_get_u32(g, key, &value, NULL) == ST_OK, "%s", key);
    return value;
}

static float f32(const struct gguf *g, const char *key)
{
    float value = 0;

    ck_assert_msg(gguf_get_f32(g, key, &value, NULL) == ST_OK, "%s", key);
    return value;
}

static bool str_is(struct gguf_str is, const char *text)
{
    return is.len == strlen(text) && memcmp(is.data, text, is.len) == 0;
}

static bool key_is(const struct gguf *g, const char *key, const char *text)
{
    struct gguf_str is;

    return gguf_get_str(g, key, &is, NULL) == ST_OK && str_is(is, text);
}

static float at(const struct gguf_tensor *t, size_t row, size_t column)
{
    float value;

    memcpy(&value, (const uint8_t *)t->data + 4 * (row * t->dims[0] + column), 4);
    return value;
}

/* Row i of the tensor is row rows[i] of the directory's. */
static void check_rows(const struct gguf *g, const char *name, const unsigned *rows, size_t n)
{
    const struct gguf_tensor *t = gguf_find(g, name);

    ck_assert_msg(t != NULL, "%s", name);
    ck_assert_uint_eq(t->dims[t->n_dims - 1], n);
    for (size_t i = 0; i < n; i++)
        for (size_t c = 0; t->n_dims == 2 && c < t->dims[0]; c++)
            ck_assert_float_eq(at(t, i, c), (float)rows[i] + (float)c / 16);
}

static const unsigned as_they_are[] = {0, 1, 2, 3, 4, 5, 6, 7}, turned[] = {0, 2, 1, 3, 4, 6, 5, 7};

START_TEST(keys_of_the_shape)
{
    hf_make();
    struct gguf *g = open_it();

    ck_assert(key_is(g, "general.architecture", "llama"));
    ck_assert(key_is(g, "general.name", hf_path + strlen("/tmp/")));
    ck_assert_uint_eq(u32(g, "llama.block_count"), 1);
    ck_assert_uint_eq(u32(g, "llama.embedding_length"), 8);
    ck_assert_uint_eq(u32(g, "llama.feed_forward_length"), 4);
    ck_assert_uint_eq(u32(g, "llama.attention.head_count"), 2);
    ck_assert_uint_eq(u32(g, "llama.attention.head_count_kv"), 1);
    ck_assert_uint_eq(u32(g, "llama.attention.key_length"), 4);
    ck_assert_uint_eq(u32(g, "llama.context_length"), 64);
    ck_assert_float_eq(f32(g, "llama.attention.layer_norm_rms_epsilon"), 1e-5f);
    ck_assert_float_eq(f32(g, "llama.rope.freq_base"), 20000.0f);
    ck_assert_ptr_null(gguf_key(g, "llama.rope.scaling.type"));
    ck_assert_str_eq(gguf_path(g), hf_path);
    gguf_close(g);
    hf_remove();
}
END_TEST

START_TEST(tensors_of_a_llama)
{
    hf_make();
    struct gguf *g = open_it();
    const struct gguf_tensor *t = gguf_find(g, "blk.0.ffn_down.weight");

    ck_assert_uint_eq(gguf_n_tensors(g), HF_TENSORS);
    ck_assert_uint_eq(t->type, GGUF_F32);
    ck_assert_uint_eq(t->dims[0], 4);
    ck_assert_uint_eq(t->dims[1], 8);
    ck_assert_uint_eq(t->n_elems, 32);
    ck_assert_uint_eq(t->n_bytes, 128);
    check_rows(g, "blk.0.attn_q.weight", turned, 8);
    check_rows(g, "blk.0.attn_k.weight", turned, 4);
    check_rows(g, "blk.0.attn_v.weight", as_they_are, 4);
    check_rows(g, "blk.0.attn_output.weight", as_they_are, 8);
    check_rows(g, "token_embd.weight", as_they_are, 7);
    ck_assert_ptr_nonnull(gguf_find(g, "output_norm.weight"));
    ck_assert_ptr_nonnull(gguf_find(g, "blk.0.ffn_norm.weight"));
    ck_assert_ptr_null(gguf_find(g, "output.weight"));
    gguf_close(g);
    hf_remove();
}
END_TEST

/* All of hf_tensors and n more. */
static void write_more(const struct hf_tensor *more, size_t n)
{
    struct hf_tensor all[HF_TENSORS + 4];

    memcpy(all, hf_tensors, sizeof(hf_tensors));
    memcpy(all + HF_TENSORS, more, n * sizeof(*more));
    hf_weights("model.safetensors", all, HF_TENSORS + n);
}

static const struct hf_tensor biases[] = {{HF_LAYER "self_attn.q_proj.bias", "F32", 8, 0},
                                          {HF_LAYER "self_attn.k_proj.bias", "F32", 4, 0},
                                          {HF_LAYER "self_attn.v_proj.bias", "F32", 4, 0}};

static void check_vector(const struct gguf *g, const char *name, const unsigned *values, size_t n)
{
    const struct gguf_tensor *t = gguf_find(g, name);

    ck_assert_msg(t && t->n_dims == 1 && t->dims[0] == n, "%s", name);
    for (size_t i = 0; i < n; i++)
        ck_assert_float_eq(at(t, 0, i), (float)values[i]);
}

START_TEST(tensors_of_a_qwen2)
{
    hf_make();
    hf_change("config.json", hf_config, "Llama", "Qwen2");
    write_more(biases, 3);
    struct gguf *g = open_it();

    ck_assert(key_is(g, "general.architecture", "qwen2"));
    ck_assert_uint_eq(u32(g, "qwen2.block_count"), 1);
    check_rows(g, "blk.0.attn_q.weight", as_they_are, 8);
    check_rows(g, "blk.0.attn_k.weight", as_they_are, 4);
    check_vector(g, "blk.0.attn_q.bias", as_they_are, 8);
    gguf_close(g);
    hf_remove();
}
END_TEST

START_TEST(biases_of_a_llama_turn_too)
{
    hf_make();
    write_more(biases, 3);
    struct gguf *g = open_it();

    check_vector(g, "blk.0.attn_q.bias", turned, 8);
    check_vector(g, "blk.0.attn_k.bias", turned, 4);
    check_vector(g, "blk.0.attn_v.bias", as_they_are, 4);
    gguf_close(g);
    hf_remove();
}
END_TEST

START_TEST(head_and_spare_tensors)
{
    const struct hf_tensor more[] = {{"lm_head.weight", "F16", 7, 8},
                                     {HF_LAYER "self_attn.rotary_emb.inv_freq", "F32", 2, 0}};
    hf_make();
    write_more(more, 2);
    struct gguf *g = open_it();
    ck_assert_uint_eq(gguf_n_tensors(g), HF_TENSORS); /* tied: the head is the embedding */
    gguf_close(g);
    hf_change("config.json", hf_config, "embeddings\":true", "embeddings\":false");
    g = open_it();
    ck_assert_uint_eq(gguf_find(g, "output.weight")->type, GGUF_F16);
    gguf_close(g);
    hf_remove();
}
END_TEST

START_TEST(shards)
{
    hf_make();
    struct gguf *g;
    char index[2048];
    size_t n = (size_t)snprintf(index, sizeof(index), "{\"weight_map\":{");

    hf_forget("model.safetensors");
    hf_weights("one.safetensors", hf_tensors, 4);
    hf_weights("two.safetensors", hf_tensors + 4, HF_TENSORS - 4);
    for (size_t i = 0; i < HF_TENSORS; i++)
        n += (size_t)snprintf(index + n, sizeof(index) - n, "%s\"%s\":\"%s.safetensors\"",
                              i ? "," : "", hf_tensors[i].name, i < 4 ? "one" : "two");
    snprintf(index + n, sizeof(index) - n, "}}");
    hf_text("model.safetensors.index.json", index);
    g = open_it();
    ck_assert_uint_eq(gguf_n_tensors(g), HF_TENSORS);
    ck_assert_uint_eq(gguf_file_bytes(g),
                      hf_bytes("one.safetensors") + hf_bytes("two.safetensors"));
    check_rows(g, "blk.0.attn_k.weight", turned, 4);
    gguf_close(g);
    hf_remove();
}
END_TEST

/* ---- RoPE ---- */

START_TEST(rope_linear)
{
    static const char *const spelled[] = {
        "\"rope_scaling\":{\"type\":\"linear\",\"factor\":2.5}",
        "\"rope_scaling\":{\"rope_type\":\"linear\",\"factor\":2.5}",
        "\"rope_parameters\":{\"rope_type\":\"linear\",\"factor\":2.5,\"rope_theta\":70000}"};

    hf_make();
    for (size_t i = 0; i < 3; i++) {
        hf_change("config.json", hf_config, "\"rope_scaling\":null", spelled[i]);
        struct gguf *g = open_it();
        ck_assert(key_is(g, "llama.rope.scaling.type", "linear"));
        ck_assert_float_eq(f32(g, "llama.rope.scaling.factor"), 2.5f);
        ck_assert_float_eq(f32(g, "llama.rope.freq_base"), i == 2 ? 70000.0f : 20000.0f);
        gguf_close(g);
    }
    hf_remove();
}
END_TEST

/* Llama 3.2's numbers. The ramp by transformers' own words: frequencies are mixed, not divisors. */
START_TEST(rope_llama3)
{
    hf_make();
    hf_change("config.json", hf_config, "\"rope_theta\":20000",
              "\"rope_theta\":500000.0,\"head_dim\":64,\"rope_parameters\":{\"rope_type\":"
              "\"llama3\",\"factor\":32.0,\"low_freq_factor\":1.0,\"high_freq_factor\":4.0,"
              "\"original_max_position_embeddings\":8192}");
    struct hf_tensor wide[HF_TENSORS];
    memcpy(wide, hf_tensors, sizeof(wide));
    wide[3].rows = 128;
    wide[4].rows = wide[5].rows = 64;
    hf_weights("model.safetensors", wide, HF_TENSORS);
    struct gguf *g = open_it();
    const struct gguf_tensor *t = gguf_find(g, "rope_freqs.weight");

    ck_assert_ptr_nonnull(t);
    ck_assert_uint_eq(t->n_elems, 32);
    for (size_t i = 0; i < 32; i++) {
        double freq = pow(500000.0, -(double)i / 32), wave = 6.283185307179586 / freq;
        double s = (8192 / wave - 1) / 3, mixed = (1 - s) * freq / 32 + s * freq;
        double want = wave < 2048 ? 1 : wave > 8192 ? 32 : freq / mixed;

        ck_assert_float_eq_tol(at(t, 0, i), (float)want, (float)want * 1e-6f);
    }
    ck_assert_float_eq(at(t, 0, 0), 1.0f);
    ck_assert_float_eq(at(t, 0, 31), 32.0f);
    ck_assert_float_gt(at(t, 0, 16), 1.5f); /* on the ramp */
    ck_assert_float_lt(at(t, 0, 16), 31.0f);
    gguf_close(g);
    hf_remove();
}
END_TEST

/* ---- the tokenizer ---- */

static void check_strs(const struct gguf *g, const char *key, const char *const *want, size_t n)
{
    struct gguf_array a;

    ck_assert_int_eq(gguf_get_strs(g, key, &a, NULL), ST_OK);
    ck_assert_uint_eq(a.n, n);
    for (size_t i = 0; i < n; i++)
        ck_assert_msg(str_is(a.strs[i], want[i]), "%s[%zu]", key, i);
}

START_TEST(vocabulary)
{
    static const char *const tokens[] = {"a", "b", "ab", "abb", "<e>", "<tool>", "[PAD6]"};
    static const char *const merges[] = {"a b", "ab b"};
    static const int types[] = {1, 1, 1, 1, 3, 4, 5};
    struct gguf_array a;
    bool add_bos = true;

    hf_make();
    struct gguf *g = open_it();
    ck_assert(key_is(g, "tokenizer.ggml.model", "gpt2"));
    ck_assert(key_is(g, "tokenizer.ggml.pre", "gpt-2"));
    check_strs(g, "tokenizer.ggml.tokens", tokens, 7);
    check_strs(g, "tokenizer.ggml.merges", merges, 2);
    ck_assert_int_eq(gguf_get_ints(g, "tokenizer.ggml.token_type", &a, NULL), ST_OK);
    for (size_t i = 0; i < 7; i++)
        ck_assert_int_eq(gguf_array_i32(&a, i), types[i]);
    ck_assert_uint_eq(u32(g, "tokenizer.ggml.bos_token_id"), 5); /* by config.json */
    ck_assert_uint_eq(u32(g, "tokenizer.ggml.eos_token_id"), 4);
    ck_assert_int_eq(gguf_get_bool(g, "tokenizer.ggml.add_bos_token", &add_bos, NULL), ST_OK);
    ck_assert(!add_bos);
    ck_assert_ptr_null(gguf_key(g, "tokenizer.chat_template"));
    gguf_close(g);
    hf_remove();
}
END_TEST

START_TEST(a_vocabulary_alone)
{
    const struct gguf_opts opts = {.vocab_only = true};
    struct gguf *g = NULL;

    hf_make();
    hf_forget("model.safetensors");
    hf_change("config.json", hf_config, "Llama", "Mamba");
    ck_assert_int_eq(gguf_open(hf_path, &opts, &g, NULL), ST_OK);
    ck_assert(key_is(g, "general.architecture", "unknown"));
    gguf_close(g);
    hf_forget("config.json");
    ck_assert_int_eq(gguf_open(hf_path, &opts, &g, NULL), ST_OK);
    ck_assert(key_is(g, "tokenizer.ggml.model", "gpt2"));
    gguf_close(g);
    hf_remove();
}
END_TEST

START_TEST(who_names_the_ends)
{
    hf_make();
    hf_text("generation_config.json", "{\"bos_token_id\":2,\"eos_token_id\":[3,1,3,0]}");
    struct gguf *g = open_it();
    ck_assert_uint_eq(u32(g, "tokenizer.ggml.bos_token_id"), 2);
    ck_assert_uint_eq(u32(g, "tokenizer.ggml.eos_token_id"), 3);
    ck_assert_uint_eq(u32(g, "tokenizer.ggml.eot_token_id"), 1);
    ck_assert_uint_eq(u32(g, "tokenizer.ggml.eom_token_id"), 0);
    gguf_close(g);

    hf_text("special_tokens_map.json", "{\"bos_token\":\"ab\",\"unk_token\":\"<e>\"}");
    hf_text("tokenizer_config.json", "{\"eos_token\":{\"content\":\"<tool>\"},\"bos_token\":null,"
                                     "\"pad_token\":\"nowhere\",\"chat_template\":\"{{ x }}\"}");
    g = open_it();
    ck_assert_uint_eq(u32(g, "tokenizer.ggml.bos_token_id"), 2);
    ck_assert_uint_eq(u32(g, "tokenizer.ggml.eos_token_id"), 5);
    ck_assert_uint_eq(u32(g, "tokenizer.ggml.eot_token_id"), 3);
    ck_assert_uint_eq(u32(g, "tokenizer.ggml.unknown_token_id"), 4);
    ck_assert_ptr_null(gguf_key(g, "tokenizer.ggml.padding_token_id"));
    ck_assert(key_is(g, "tokenizer.chat_template", "{{ x }}"));
    gguf_close(g);
    hf_remove();
}
END_TEST

START_TEST(chat_templates)
{
    hf_make();
    hf_text("chat_template.jinja", "{{ file }}");
    struct gguf *g = open_it();
    ck_assert(key_is(g, "tokenizer.chat_template", "{{ file }}"));
    gguf_close(g);
    hf_text("tokenizer_config.json",
            "{\"chat_template\":[{\"name\":\"tool_use\",\"template\":\"t\"},"
            "{\"name\":\"default\",\"template\":\"d\"}]}");
    g = open_it();
    ck_assert(key_is(g, "tokenizer.chat_template", "d"));
    gguf_close(g);
    hf_remove();
}
END_TEST

START_TEST(who_adds_bos)
{
#define TEMPLATE(token)                                                                            \
    "{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"" token              \
    "\"}},{\"Sequence\":{\"id\":\"A\"}}]}"
    static const struct {
        const char *post, *config;
        bool want;
    } list[] = {
        {"null", "{\"add_bos_token\":true}", true},
        {"null", "{\"add_bos_token\":null}", false},
        {TEMPLATE("<tool>"), "{}", true},
        {TEMPLATE("<e>"), "{}", false},
        {TEMPLATE("<tool>"), "{\"add_bos_token\":false}", false},
        {"{\"type\":\"Sequence\",\"processors\":[{\"type\":\"ByteLevel\"}," TEMPLATE("<tool>") "]}",
         "{}", true},
        {"{\"type\":\"ByteLevel\"}", "{}", false},
    };

    hf_make();
    for (size_t i = 0; i < sizeof(list) / sizeof(*list); i++) {
        char post[512];
        bool is = !list[i].want;

        snprintf(post, sizeof(post), "\"post_processor\":%s", list[i].post);
        hf_change("tokenizer.json", hf_tokenizer, "\"post_processor\":null", post);
        hf_text("tokenizer_config.json", list[i].config);
        struct gguf *g = open_it();
        ck_assert_int_eq(gguf_get_bool(g, "tokenizer.ggml.add_bos_token", &is, NULL), ST_OK);
        ck_assert_msg(is == list[i].want, "case %zu", i);
        gguf_close(g);
    }
    hf_remove();
}
END_TEST

RUN_SUITE("hf", keys_of_the_shape, tensors_of_a_llama, tensors_of_a_qwen2,
          biases_of_a_llama_turn_too, head_and_spare_tensors, shards, rope_linear, rope_llama3,
          vocabulary, a_vocabulary_alone, who_names_the_ends, chat_templates, who_adds_bos)
