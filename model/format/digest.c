#include "model/format/digest.h"

#include <assert.h>
#include <string.h>

#include "model/format/gguf_priv.h"

static bool begins(struct gguf_str name, const char *with)
{
    size_t len = strlen(with);

    return name.len >= len && memcmp(name.data, with, len) == 0;
}

static bool is_description(struct gguf_str name)
{
    if (begins(name, "general."))
        return !(name.len == strlen("general.architecture") &&
                 begins(name, "general.architecture"));
    return begins(name, "octet.quality.") || begins(name, "tokenizer.chat_template");
}

static void add_tensor(struct sha256 *sha, const struct gguf_tensor *t)
{
    uint64_t len = t->name.len;
    uint8_t data[SHA256_BYTES];
    struct sha256 own;

    sha256_init(&own);
    sha256_add(&own, t->data, (size_t)t->n_bytes);
    sha256_end(&own, data);
    sha256_add(sha, &len, sizeof(len));
    sha256_add(sha, t->name.data, t->name.len);
    sha256_add(sha, &t->type, sizeof(t->type));
    sha256_add(sha, &t->n_dims, sizeof(t->n_dims));
    sha256_add(sha, t->dims, sizeof(t->dims));
    sha256_add(sha, data, sizeof(data));
}

void gguf_digest(const struct gguf *g, void (*fn)(void *arg, uint64_t done, uint64_t total),
                 void *arg, char hex[static SHA256_HEX])
{
    struct sha256 sha;
    uint8_t digest[SHA256_BYTES];
    uint64_t done = 0, total = 0;

    assert(!g->vocab_only);
    sha256_init(&sha);
    for (size_t i = 0; i < g->key_index.n; i++) {
        const struct gguf_kv *kv = (const void *)g->key_index.names[i];
        if (!is_description(kv->name))
            sha256_add(&sha, kv->entry, kv->entry_bytes);
    }
    for (size_t i = 0; i < g->n_tensors; i++)
        total += g->tensors[i].n_bytes;
    for (size_t i = 0; i < g->tensor_index.n; i++) {
        const struct gguf_tensor *t = (const void *)g->tensor_index.names[i];
        add_tensor(&sha, t);
        gguf_release(g, t);
        done += t->n_bytes;
        if (fn)
            fn(arg, done, total);
    }
    sha256_end(&sha, digest);
    sha256_hex(digest, hex);
}
