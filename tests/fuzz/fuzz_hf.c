/* fuzz_hf.c - any bytes as the JSON of a Hugging Face directory: config.json, tokenizer.json and
 * tokenizer_config.json, a NUL after each. Opened for its vocabulary and as a model, whose weights
 * are a small embedding and, where it is not the head, a head in integers. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "model/format/gguf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const names[] = {"config.json", "tokenizer.json", "tokenizer_config.json",
                                    "model.safetensors"};
enum { N_NAMES = sizeof(names) / sizeof(*names) };
static char dir[] = "/tmp/octet-fuzz-XXXXXX";

static void path_of(const char *name, char path[static 128])
{
    snprintf(path, 128, "%s/%s", dir, name);
}

static void leave(void)
{
    char path[128];

    for (size_t i = 0; i < N_NAMES; i++) {
        path_of(names[i], path);
        unlink(path);
    }
    rmdir(dir);
}

static void write_file(const char *name, const void *bytes, size_t n)
{
    char path[128];

    path_of(name, path);
    FILE *f = fopen(path, "wb");
    if (!f || fwrite(bytes, 1, n, f) != n || fclose(f))
        abort();
}

static void begin(void)
{
    static const char header[] =
        "{\"model.embed_tokens.weight\":{\"dtype\":\"F16\",\"shape\":[1,1],\"data_offsets\":[0,2]},"
        "\"lm_head.weight\":{\"dtype\":\"I8\",\"shape\":[2,1],\"data_offsets\":[2,4]},"
        "\"lm_head.weight_scale\":{\"dtype\":\"BF16\",\"shape\":[2,1],\"data_offsets\":[4,8]}}";
    const uint64_t len = sizeof(header) - 1;
    uint8_t file[8 + sizeof(header) - 1 + 8] = {0};

    if (!mkdtemp(dir))
        abort();
    atexit(leave);
    memcpy(file, &len, sizeof(len));
    memcpy(file + 8, header, len);
    write_file("model.safetensors", file, sizeof(file));
}

static void open_it(bool vocab_only)
{
    struct gguf *g;
    struct error err = {""};
    int r = gguf_open(dir, &(struct gguf_opts){vocab_only}, &g, &err);

    if (r == ST_OK)
        gguf_close(g);
    else if (!strstr(err.text, dir)) /* a sentence names the place */
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static bool begun;

    if (!begun)
        begin();
    begun = true;
    for (size_t i = 0; i < 3; i++) {
        const uint8_t *end = size ? memchr(data, 0, size) : NULL;
        size_t n = end ? (size_t)(end - data) : size;

        write_file(names[i], data, n);
        data += end ? n + 1 : n;
        size -= end ? n + 1 : n;
    }
    open_it(true);
    open_it(false);
    return 0;
}
