/* The n-th allocation fails while a directory is opened, for every n: a status, a sentence, no leak
 * (the sanitizer watches). jansson's own allocations are not among them. */
#include "hf_build.h"
#include "unit/nomem.h"

START_TEST(opening)
{
    int n_failed = 0, r;

    hf_make();
    hf_change("config.json", hf_config, "\"rope_scaling\":null",
              "\"rope_scaling\":{\"type\":\"llama3\",\"factor\":8.0,\"low_freq_factor\":1.0,"
              "\"high_freq_factor\":4.0,\"original_max_position_embeddings\":16}");
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
    ck_assert_int_ge(n_failed, 25);
    hf_remove();
}
END_TEST

RUN_SUITE("hf_nomem", opening)
