/* Bad Hugging Face directories: each is refused with one sentence naming the file and the field. */
#include "hf_build.h"

static void refuse(int status, const char *part)
{
    struct gguf *g = (struct gguf *)0x1;
    struct error err = {""};
    int r = gguf_open(hf_path, NULL, &g, &err);

    ck_assert_msg(r == status, "status %d, not %d: %s", r, status, err.text);
    ck_assert_ptr_eq(g, (struct gguf *)0x1);
    ck_assert_msg(strstr(err.text, hf_path) && strstr(err.text, part), "no '%s' in: %s", part,
                  err.text);
}

struct change {
    const char *from, *to;
    int status;
    const char *part;
};

static void refuse_all(const char *name, const char *text, const struct change *list, size_t n)
{
    hf_make();
    for (size_t i = 0; i < n; i++) {
        hf_change(name, text, list[i].from, list[i].to);
        refuse(list[i].status, list[i].part);
    }
    hf_remove();
}
#define REFUSE_ALL(name, text, list) refuse_all(name, text, list, sizeof(list) / sizeof(*(list)))

START_TEST(bad_config)
{
    static const struct change list[] = {
        {"{\"arch", "[\"arch", ST_FORMAT, "config.json: line 1"},
        {"\"LlamaForCausalLM\"", "\"GemmaForCausalLM\"", ST_UNSUPPORTED,
         "config.json: architecture 'GemmaForCausalLM' is not built"},
        {"[\"LlamaForCausalLM\"]", "[]", ST_FORMAT, "architectures must be"},
        {"[\"LlamaForCausalLM\"]", "7", ST_FORMAT, "architectures must be"},
        {"\"hidden_size\":8,", "", ST_FORMAT, "config.json: hidden_size is missing"},
        {"\"hidden_size\":8", "\"hidden_size\":0", ST_FORMAT, "hidden_size is 0"},
        {"\"hidden_size\":8", "\"hidden_size\":-8", ST_FORMAT, "hidden_size must be an integer"},
        {"\"hidden_size\":8", "\"hidden_size\":8.0", ST_FORMAT, "hidden_size must be an integer"},
        {"\"hidden_size\":8", "\"hidden_size\":4294967296", ST_FORMAT, "hidden_size must be"},
        {"\"hidden_size\":8", "\"hidden_size\":9", ST_FORMAT,
         "hidden_size 9 does not divide into num_attention_heads 2"},
        {"\"hidden_size\":8", "\"hidden_size\":8,\"head_dim\":3", ST_FORMAT, "heads have 3"},
        {"\"hidden_size\":8", "\"hidden_size\":8,\"head_dim\":4000000000", ST_FORMAT, "heads have"},
        {"\"hidden_size\":8", "\"hidden_size\":8,\"head_dim\":8", ST_FORMAT,
         "q_proj.weight' has 8 rows; 2 heads of 8 need 16"},
        {"\"num_attention_heads\":2", "\"num_attention_heads\":0", ST_FORMAT,
         "num_attention_heads is 0"},
        {"\"num_key_value_heads\":1", "\"num_key_value_heads\":2", ST_FORMAT,
         "k_proj.weight' has 4 rows; 2 heads of 4 need 8"},
        {"\"num_hidden_layers\":1,", "", ST_FORMAT, "num_hidden_layers is missing"},
        {"\"intermediate_size\":4,", "", ST_FORMAT, "intermediate_size is missing"},
        {"\"max_position_embeddings\":64,", "", ST_FORMAT, "max_position_embeddings is missing"},
        {"1e-05", "0", ST_FORMAT, "rms_norm_eps is 0"},
        {"1e-05", "\"1e-05\"", ST_FORMAT, "rms_norm_eps must be a number"},
        {"20000", "1e300", ST_FORMAT, "rope_theta must be a number that 32 bits hold"},
        {"20000", "-1", ST_FORMAT, "rope_theta is -1"},
        {"\"vocab_size\":7", "\"vocab_size\":1048577", ST_FORMAT, "vocab_size is 1048577"},
        {"embeddings\":true", "embeddings\":1", ST_FORMAT, "tie_word_embeddings must be true or"},
        {"embeddings\":true", "embeddings\":false", ST_FORMAT, "lm_head.weight is missing"},
        {"\"silu\"", "\"gelu\"", ST_UNSUPPORTED, "hidden_act is 'gelu'"},
        {"\"silu\"", "3", ST_FORMAT, "hidden_act must be a string"},
        {"\"silu\"", "\"silu\",\"use_sliding_window\":true", ST_UNSUPPORTED, "use_sliding_window"},
        {"\"silu\"", "\"silu\",\"mlp_bias\":true", ST_UNSUPPORTED, "mlp_bias is true"},
        {"\"silu\"", "\"silu\",\"quantization_config\":{\"quant_method\":\"awq\"}", ST_UNSUPPORTED,
         "quant_method is awq, which is not read; compressed-tensors is"},
    };
    REFUSE_ALL("config.json", hf_config, list);
}
END_TEST

START_TEST(bad_rope)
{
    static const struct change list[] = {
        {"null", "{\"rope_type\":\"yarn\",\"factor\":4.0}", ST_UNSUPPORTED,
         "is 'yarn', which is not built; default, linear and llama3 are"},
        {"null", "{\"type\":5}", ST_FORMAT, "rope_scaling.type must be a string"},
        {"null", "{\"type\":\"linear\"}", ST_FORMAT, "rope_scaling.factor is missing"},
        {"null", "{\"type\":\"linear\",\"factor\":0}", ST_FORMAT, "rope_scaling.factor is 0"},
        {"null", "{\"type\":\"llama3\",\"factor\":8.0}", ST_FORMAT,
         "rope_scaling.low_freq_factor is missing"},
        {"null",
         "{\"type\":\"llama3\",\"factor\":8.0,\"low_freq_factor\":4.0,\"high_freq_factor\":4.0,"
         "\"original_max_position_embeddings\":8192}",
         ST_FORMAT, "high_freq_factor 4 must be above"},
    };
    REFUSE_ALL("config.json", hf_config, list);
}
END_TEST

START_TEST(bad_tokenizer)
{
    static const struct change list[] = {
        {"\"BPE\"", "\"Unigram\"", ST_UNSUPPORTED, "tokenizer.json: model.type is 'Unigram'"},
        {"\"BPE\"", "\"BPE\",\"end_of_word_suffix\":\"</w>\"", ST_UNSUPPORTED,
         "model.end_of_word_suffix is '</w>'"},
        {"\"BPE\"", "\"BPE\",\"byte_fallback\":true", ST_UNSUPPORTED, "byte_fallback is true"},
        {"{\"a\":0,\"b\":1,\"ab\":2,\"abb\":3}", "{}", ST_FORMAT, "model.vocab must be an object"},
        {"{\"a\":0,\"b\":1,\"ab\":2,\"abb\":3}", "[]", ST_FORMAT, "model.vocab must be an object"},
        {"\"b\":1", "\"b\":-1", ST_FORMAT, "model.vocab of 'b' must be an id"},
        {"\"b\":1", "\"b\":1048576", ST_FORMAT, "model.vocab of 'b' must be an id"},
        {"\"b\":1", "\"b\":\"1\"", ST_FORMAT, "model.vocab of 'b' must be an id"},
        {"\"b\":1", "\"b\":0", ST_FORMAT, "tokens 'a' and 'b' both have id 0"},
        {"\"b\":1", "\"a\":1", ST_FORMAT, "duplicate"},
        {"\"id\":4", "\"id\":0", ST_FORMAT, "tokens 'a' and '<e>' both have id 0"},
        {"\"id\":4", "\"id\":null", ST_FORMAT, "added_tokens[0] must have"},
        {"\"content\":\"<e>\",", "", ST_FORMAT, "added_tokens[0] must have"},
        {"[{\"id\":4", "{\"x\":[{\"id\":4", ST_FORMAT, "line 1"},
        {"[\"a b\",[\"ab\",\"b\"]]", "7", ST_FORMAT, "model.merges must be an array"},
        {"[\"ab\",\"b\"]", "[\"ab\"]", ST_FORMAT, "model.merges[1] must be two tokens"},
        {"[\"ab\",\"b\"]", "[\"ab\",\"\"]", ST_FORMAT, "model.merges[1] must be two tokens"},
        {"[\"ab\",\"b\"]", "[\"a b\",\"b\"]", ST_FORMAT, "model.merges[1] must be two tokens"},
        {"[\"ab\",\"b\"]", "[\"ab\",3]", ST_FORMAT, "model.merges[1] must be two tokens"},
        {"\"normalizer\":null", "\"normalizer\":{\"type\":\"Lowercase\"}", ST_UNSUPPORTED,
         "normalizer is {\"type\":\"Lowercase\"}"},
    };
    REFUSE_ALL("tokenizer.json", hf_tokenizer, list);
}
END_TEST

START_TEST(bad_pre_tokenizer)
{
#define PRE "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":true}"
#define SPLIT(members)                                                                             \
    "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\"," members "}," PRE "]}"
    static const struct change list[] = {
        {PRE, "null", ST_UNSUPPORTED, "pre_tokenizer is missing"},
        {PRE, "{\"type\":\"Whitespace\"}", ST_UNSUPPORTED,
         "pre_tokenizer is {\"type\":\"Whitespace\"}, which is not built"},
        {PRE, "{\"type\":\"ByteLevel\",\"add_prefix_space\":true}", ST_UNSUPPORTED,
         "pre_tokenizer"},
        {PRE, "{\"type\":\"ByteLevel\",\"use_regex\":true}", ST_UNSUPPORTED, "pre_tokenizer"},
        {PRE, "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":false}",
         ST_UNSUPPORTED, "pre_tokenizer"},
        {PRE, "{\"type\":\"Sequence\",\"pretokenizers\":[]}", ST_UNSUPPORTED, "pre_tokenizer"},
        {PRE, "{\"type\":\"Sequence\",\"pretokenizers\":[" PRE "," PRE "]}", ST_UNSUPPORTED,
         "pre_tokenizer"},
        {PRE, "{\"type\":\"Digits\",\"individual_digits\":true}", ST_UNSUPPORTED, "pre_tokenizer"},
        {PRE, "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Digits\"}," PRE "]}",
         ST_UNSUPPORTED, "pre_tokenizer"},
        {PRE, SPLIT("\"pattern\":{\"Regex\":\"x\"},\"behavior\":\"Isolated\""), ST_UNSUPPORTED,
         "pre_tokenizer"},
        {PRE, SPLIT("\"pattern\":{\"Regex\":\"\\\\p{N}\"},\"behavior\":\"Removed\""),
         ST_UNSUPPORTED, "pre_tokenizer"},
        {PRE,
         SPLIT("\"pattern\":{\"Regex\":\"\\\\p{N}\"},\"behavior\":\"Isolated\",\"invert\":true"),
         ST_UNSUPPORTED, "pre_tokenizer"},
        {"\"ignore_merges\":false", "\"ignore_merges\":true", ST_UNSUPPORTED,
         "ignore_merges is true beside the pre-tokenizer 'gpt-2'"},
    };
    REFUSE_ALL("tokenizer.json", hf_tokenizer, list);
}
END_TEST

/* hf_tensors with number i changed. */
static void write_with(size_t i, struct hf_tensor changed)
{
    struct hf_tensor all[HF_TENSORS];

    memcpy(all, hf_tensors, sizeof(all));
    all[i] = changed;
    hf_weights("model.safetensors", all, HF_TENSORS);
}

START_TEST(bad_tensors)
{
    static const char *const names[] = {"x",
                                        "model.layers.0.weight",
                                        "model.layers.00.mlp.up_proj.weight",
                                        "model.layers.-1.mlp.up_proj.weight",
                                        "model.layers.1024.mlp.up_proj.weight",
                                        "model.layers.99999999999.mlp.up_proj.weight",
                                        "model.layers..mlp.up_proj.weight",
                                        "model.layers.0.self_attn.o_proj.bias"};

    hf_make();
    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
        write_with(9, (struct hf_tensor){names[i], "F32", 4, 8});
        refuse(ST_UNSUPPORTED, names[i]);
    }
    write_with(9, (struct hf_tensor){HF_LAYER "mlp.up_proj.weight", "I8", 4, 8});
    refuse(ST_UNSUPPORTED, "'model.layers.0.mlp.up_proj.weight' is of dtype I8, which is not read");
    write_with(3, (struct hf_tensor){HF_LAYER "self_attn.q_proj.weight", "F32", 7, 8});
    refuse(ST_FORMAT, "has 7 rows; 2 heads of 4 need 8");
    hf_text("model.safetensors", "short");
    refuse(ST_FORMAT, "model.safetensors has only 5 bytes");
    hf_remove();
}
END_TEST

START_TEST(bad_index)
{
    static const struct {
        const char *text, *part;
    } list[] = {
        {"{}", "index.json: weight_map must be an object"},
        {"{\"weight_map\":{}}", "weight_map must be an object"},
        {"{\"weight_map\":{\"w\":3}}", "weight_map of 'w' must name a file"},
        {"{\"weight_map\":{\"w\":\"\"}}", "weight_map of 'w' must name a file"},
        {"{\"weight_map\":{\"w\":\"../x\"}}", "must name a file of the directory, it is '../x'"},
        {"{\"weight_map\":{\"w\":\"/etc/passwd\"}}", "must name a file"},
        {"{\"weight_map\":{\"w\":\"gone\"}}", "gone: No such file"},
        {"{\"weight_map\":{\"w\":\"s\"}}", "puts 'model.norm.weight' into '', but s holds it"},
        {"{\"weight_map\":{\"model.norm.weight\":\"s\",\"w\":\"s\"}}",
         "weight_map has 2 tensors, the files that it names hold 1"},
    };

    hf_make();
    hf_forget("model.safetensors");
    refuse(ST_IO, "holds neither model.safetensors nor model.safetensors.index.json");
    hf_weights("s", &hf_tensors[1], 1);
    for (size_t i = 0; i < sizeof(list) / sizeof(*list); i++) {
        hf_text("model.safetensors.index.json", list[i].text);
        refuse(strstr(list[i].text, "gone") ? ST_IO : ST_FORMAT, list[i].part);
    }
    hf_remove();
}
END_TEST

START_TEST(missing_and_broken_files)
{
    static const char *const names[] = {"config.json", "tokenizer.json", "tokenizer_config.json",
                                        "special_tokens_map.json", "generation_config.json"};
    char path[128];

    for (size_t i = 0; i < 5; i++) {
        hf_make();
        hf_text(names[i], "");
        snprintf(path, sizeof(path), "%s is empty", names[i]);
        refuse(ST_FORMAT, path);
        hf_forget(names[i]);
        if (i < 2)
            refuse(ST_IO, "a Hugging Face directory is expected");
        snprintf(path, sizeof(path), "%s/%s", hf_path, names[i]);
        ck_assert_int_eq(mkfifo(path, 0600), 0);
        refuse(ST_IO, "is not a regular file; a JSON file is expected");
        hf_remove();
    }
    hf_make();
    hf_text("tokenizer_config.json", "{\"add_bos_token\":\"yes\"}");
    refuse(ST_FORMAT, "tokenizer_config.json: add_bos_token must be true or false");
    hf_text("tokenizer_config.json", "{\"a\":\"\\ud800\"}");
    refuse(ST_FORMAT, "tokenizer_config.json: line 1");
    hf_remove();
}
END_TEST

RUN_SUITE("hf_bad", bad_config, bad_rope, bad_tokenizer, bad_pre_tokenizer, bad_tensors, bad_index,
          missing_and_broken_files)
