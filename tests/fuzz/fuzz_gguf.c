/* fuzz_gguf.c - any bytes as a GGUF file: opened, asked everything, a few rows of each tensor
 * dequantized. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "config/limits.h"
#include "model/format/dequant.h"
#include "model/format/gguf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What is read ends up here, so that no read is optimized away. */
static volatile uint64_t sink;

static void eat(const void *bytes, size_t n)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < n; i++)
        sum += ((const uint8_t *)bytes)[i];
    sink += sum;
}

/* A name of the file as the getters take it. */
static const char *terminated(struct gguf_str name)
{
    static char text[LIMIT_GGUF_NAME + 1];

    memcpy(text, name.data, name.len);
    text[name.len] = '\0';
    return text;
}

static void ask_array(const struct gguf *g, const char *key)
{
    struct gguf_array a;

    if (gguf_get_strs(g, key, &a, NULL) == ST_OK) {
        for (uint64_t i = 0; i < a.n; i++)
            eat(a.strs[i].data, a.strs[i].len);
    }
    if (gguf_get_ints(g, key, &a, NULL) == ST_OK) {
        for (uint64_t i = 0; i < a.n; i++)
            sink += (uint32_t)gguf_array_i32(&a, i);
    }
    if (gguf_get_floats(g, key, &a, NULL) == ST_OK) {
        for (uint64_t i = 0; i < a.n; i++)
            sink += gguf_array_f32(&a, i) > 0;
    }
}

static void ask_key(const struct gguf *g, const struct gguf_kv *kv)
{
    const char *key = terminated(gguf_kv_name(kv));
    struct error err;
    struct gguf_str str;
    uint64_t u64;
    uint32_t u32;
    int64_t i64;
    float f32;
    bool flag;

    if (gguf_key(g, key) != kv)
        abort();
    if (gguf_get_u32(g, key, &u32, &err) == ST_OK &&
        (gguf_get_u64(g, key, &u64, &err) != ST_OK || u64 != u32))
        abort();
    gguf_get_i64(g, key, &i64, &err);
    gguf_get_f32(g, key, &f32, &err);
    gguf_get_bool(g, key, &flag, &err);
    if (gguf_get_str(g, key, &str, &err) == ST_OK)
        eat(str.data, str.len);
    sink += (uint64_t)gguf_value_name(gguf_kv_type(kv))[0];
    ask_array(g, key);
}

static void ask_tensor(const struct gguf *g, const struct gguf_tensor *t, bool vocab_only)
{
    static float row[4096];
    size_t block = gguf_type_block(t->type);

    if (gguf_find(g, terminated(t->name)) != t)
        abort();
    if (vocab_only)
        return;
    eat(t->data, t->n_bytes);
    size_t n = t->dims[0] < 4096 ? t->dims[0] : 4096,
           row_bytes = gguf_type_bytes(t->type, t->dims[0]);
    n -= n % block;
    dequant_row(t->type, t->data, row, n);
    dequant_row(t->type, (const uint8_t *)t->data + (t->n_bytes / row_bytes - 1) * row_bytes, row,
                n);
}

static void open_and_ask(const uint8_t *data, size_t size, bool vocab_only)
{
    struct gguf *g;
    struct error err = {""};
    int r = gguf_open_memory("fuzz", data, size, &(struct gguf_opts){vocab_only}, &g, &err);

    if (r) {
        if (strncmp(err.text, "fuzz", 4))
            abort();
        return;
    }
    for (size_t i = 0; i < gguf_n_keys(g); i++)
        ask_key(g, gguf_kv_at(g, i));
    for (size_t i = 0; i < gguf_n_tensors(g); i++)
        ask_tensor(g, gguf_tensor_at(g, i), vocab_only);
    gguf_close(g);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    open_and_ask(data, size, false);
    open_and_ask(data, size, true);
    return 0;
}
