/* tokenize_lines FILE.gguf [special] [bos] [detok] - many texts in one run, for comparisons with
 * others.
 *
 * stdin: texts, each after its length in 4 bytes, little-endian. stdout: a line of ids for each;
 * with "detok", the length and bytes of the ids' text instead. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/format/gguf.h"
#include "model/model.h"
#include "model/text/tokenizer.h"

static void print_bytes(const struct tokenizer *t, const int32_t *ids, size_t n)
{
    size_t total = 0;

    for (int pass = 0; pass < 2; pass++) {
        for (size_t i = 0; i < n; i++) {
            const char *bytes;
            size_t len;

            if (tokenizer_bytes(t, ids[i], &bytes, &len))
                abort();
            total += len;
            if (pass == 1)
                fwrite(bytes, 1, len, stdout);
        }
        if (pass == 0) {
            uint32_t head = (uint32_t)total;
            fwrite(&head, sizeof(head), 1, stdout);
        }
    }
}

static int run(const struct tokenizer *t, unsigned flags, bool detok)
{
    uint32_t len;
    struct error err;
    int r = ST_OK;

    while (r == ST_OK && fread(&len, sizeof(len), 1, stdin) == 1) {
        char *text = malloc(len ? len : 1);
        int32_t *ids = NULL;
        size_t n;

        if (!text || fread(text, 1, len, stdin) != len)
            abort();
        r = tokenizer_encode(t, text, len, flags, &ids, &n, &err);
        if (r)
            fprintf(stderr, "%s\n", err.text);
        else if (detok)
            print_bytes(t, ids, n);
        else {
            for (size_t i = 0; i < n; i++)
                printf(i ? " %d" : "%d", ids[i]);
            putchar('\n');
        }
        free(ids);
        free(text);
    }
    return r;
}

int main(int argc, char **argv)
{
    struct gguf *g = NULL;
    struct tokenizer *t = NULL;
    struct error err;
    unsigned flags = 0;
    bool detok = false;

    for (int i = 2; i < argc; i++) {
        if (strcmp(argv[i], "special") == 0)
            flags |= MODEL_TEXT_SPECIAL;
        else if (strcmp(argv[i], "bos") == 0)
            flags |= MODEL_TEXT_BOS_AUTO;
        else if (strcmp(argv[i], "detok") == 0)
            detok = true;
        else
            return 2;
    }
    if (argc < 2)
        return 2;
    if (gguf_open(argv[1], &(struct gguf_opts){.vocab_only = true}, &g, &err) ||
        tokenizer_open(g, &t, &err)) {
        fprintf(stderr, "%s\n", err.text);
        gguf_close(g);
        return 1;
    }
    gguf_close(g);
    int r = run(t, flags, detok);
    tokenizer_free(t);
    return r ? 1 : 0;
}
