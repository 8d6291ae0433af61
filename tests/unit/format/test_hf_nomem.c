/* The n-th allocation fails while a directory is opened, for every n: a status, a sentence, no leak
 * (the sanitizer watches). jansson's own allocations are not among them. */
#include "hf_build.h"
#include "unit/nomem.h"

/* Opens what is at hf_path until all allocations succeed; returns how many there were. */
static int open_starved(void)
{
    int n_failed = 0, r;

    do {
        struct gguf *g = NULL;
        struct error err = {""};

        countdown = n_failed + 1;
        r = gguf_open(hf_path, NULL, &g, &err);
        bool ran_out = countdown == 0;
        countdown = 0;
        ck_assert_int_eq(r, ran_out ? ST_NOMEM : ST_OK);
        ck_assert_int_eq(ran_out, g == NULL);
        ck_assert_msg(!ran_out || strstr(err.text, "no memory"), "%s", err.text);
        gguf_close(g);
        n_failed += ran_out;
    } while (r);
    return n_failed;
}

START_TEST(opening)
{
    hf_make();
    hf_change("config.json", hf_config, "\"rope_scaling\":null",
              "\"rope_scaling\":{\"type\":\"llama3\",\"factor\":8.0,\"low_freq_factor\":1.0,"
              "\"high_freq_factor\":4.0,\"original_max_position_embeddings\":16}");
    ck_assert_int_ge(open_starved(), 25);
    hf_remove();
}
END_TEST

/* Rows of 8 are padded, those of q are turned, scales become f32. */
START_TEST(opening_integers)
{
    static const char quantization[] =
        "\"quantization_config\":{\"quant_method\":\"compressed-tensors\",\"format\":\"int-"
        "quantized\","
        "\"config_groups\":{\"a\":{\"weights\":{\"num_bits\":8,\"strategy\":\"channel\"},"
        "\"input_activations\":{\"num_bits\":8,\"dynamic\":true,\"strategy\":\"token\"}}}},"
        "\"rope_scaling\":null";
    struct hf_tensor list[HF_TENSORS + 1];

    hf_make();
    hf_change("config.json", hf_config, "\"rope_scaling\":null", quantization);
    memcpy(list, hf_tensors, sizeof(hf_tensors));
    list[3].dtype = "I8";
    list[HF_TENSORS] = (struct hf_tensor){HF_LAYER "self_attn.q_proj.weight_scale", "BF16", 8, 1};
    hf_weights("model.safetensors", list, HF_TENSORS + 1);
    ck_assert_int_ge(open_starved(), 25);
    hf_remove();
}
END_TEST

RUN_SUITE("hf_nomem", opening, opening_integers)
