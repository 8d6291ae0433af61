#include "model/text/bpe.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "model/text/alphabet.h"
#include "model/text/merge.h"
#include "model/text/pretoken.h"
#include "model/text/utf8.h"

#define KEY_PRE "tokenizer.ggml.pre"
#define KEY_MERGES "tokenizer.ggml.merges"

struct pair {
    int32_t left, right;
    uint32_t rank; /* MERGE_NEVER: a free slot */
    int32_t joined;
};

struct bpe {
    const struct vocab *vocab;
    struct pretoken *pretoken;
    struct pair *pairs; /* hash of (left, right) */
    uint32_t mask;
    int32_t byte_ids[256]; /* -1: no token */
};

struct bpe_scratch {
    struct pretoken_scratch *pretoken;
    struct merge merge;
    char *name; /* room for the longest name */
};

/* ---- pairs ---- */

static struct pair *find_pair(const struct bpe *b, int32_t left, int32_t right)
{
    uint64_t h = ((uint64_t)(uint32_t)left << 32 | (uint32_t)right) * 0x9e3779b97f4a7c15u;

    for (uint32_t i = (uint32_t)(h >> 32) & b->mask;; i = (i + 1) & b->mask) {
        struct pair *p = &b->pairs[i];

        if (p->rank == MERGE_NEVER || (p->left == left && p->right == right))
            return p;
    }
}

static void look_pair(const void *arg, struct symbol *left, const struct symbol *right)
{
    const struct pair *p = find_pair(arg, left->id, right->id);

    left->order = p->rank;
    left->joined = p->joined;
}

/* "left right" → the pair of that rank, unless an earlier rank has it or a token is missing. */
static void add_pair(struct bpe *b, struct gguf_str text, uint32_t rank)
{
    const struct vocab *v = b->vocab;
    char joined[VOCAB_NAME_BYTES];
    const char *space = text.len > 1 ? memchr(text.data + 1, ' ', text.len - 1) : NULL;

    if (!space || text.len - 1 > sizeof(joined))
        return;
    size_t n_left = (size_t)(space - text.data), n_right = text.len - n_left - 1;
    int32_t left = vocab_find_plain(v, text.data, n_left);
    int32_t right = vocab_find_plain(v, space + 1, n_right);
    memcpy(joined, text.data, n_left);
    memcpy(joined + n_left, space + 1, n_right);
    int32_t id = vocab_find_plain(v, joined, n_left + n_right);

    if (left < 0 || right < 0 || id < 0)
        return;
    struct pair *p = find_pair(b, left, right);
    if (p->rank == MERGE_NEVER)
        *p = (struct pair){left, right, rank, id};
}

static int read_pairs(const struct gguf *g, struct bpe *b, struct error *err)
{
    struct gguf_array a;
    uint32_t n_slots = 4;
    int r = gguf_get_strs(g, KEY_MERGES, &a, err);

    if (r)
        return r == ST_NOTFOUND ? ST_FORMAT : r;
    if (a.n > UINT32_MAX / 4)
        return error_set(err, ST_FORMAT, "%s: %s holds %" PRIu64 " merges; at most %u are possible",
                         gguf_path(g), KEY_MERGES, a.n, UINT32_MAX / 4);
    while (n_slots < a.n + a.n / 2)
        n_slots *= 2;
    b->mask = n_slots - 1;
    b->pairs = malloc(n_slots * sizeof(*b->pairs));
    if (!b->pairs)
        return error_set(err, ST_NOMEM, "%s: no memory for %" PRIu64 " merges", gguf_path(g), a.n);
    for (uint32_t i = 0; i < n_slots; i++)
        b->pairs[i] = (struct pair){-1, -1, MERGE_NEVER, -1};
    for (uint32_t i = 0; i < a.n; i++)
        add_pair(b, a.strs[i], i);
    return ST_OK;
}

/* ---- opening ---- */

static void find_bytes(struct bpe *b)
{
    for (int i = 0; i < 256; i++) {
        char byte = (char)i, name[2];

        b->byte_ids[i] = vocab_find_plain(b->vocab, name, alphabet_write(&byte, 1, name));
    }
}

int bpe_open(const struct gguf *g, const struct vocab *v, struct bpe **ret_bpe, struct error *err)
{
    /* Files older than the key were made for what is called default today. */
    struct gguf_str pre = {"default", 7};
    struct bpe *b = calloc(1, sizeof(*b));
    int r = ST_NOMEM;

    if (!b) {
        error_set(err, r, "%s: no memory for the merges", gguf_path(g));
        goto out;
    }
    b->vocab = v;
    if (gguf_key(g, KEY_PRE) && (r = gguf_get_str(g, KEY_PRE, &pre, err)))
        goto out;
    if ((r = pretoken_open(gguf_path(g), pre, &b->pretoken, err)))
        goto out;
    if ((r = read_pairs(g, b, err)))
        goto out;
    find_bytes(b);
    *ret_bpe = b;
    b = NULL;
out:
    bpe_free(b);
    return r;
}

void bpe_free(struct bpe *b)
{
    if (!b)
        return;
    pretoken_free(b->pretoken);
    free(b->pairs);
    free(b);
}

bool bpe_add_bos(const struct bpe *b)
{
    return pretoken_add_bos(b->pretoken);
}

/* ---- encoding ---- */

int bpe_scratch_new(const struct bpe *b, struct bpe_scratch **ret_scratch)
{
    struct bpe_scratch *s = calloc(1, sizeof(*s));

    if (!s)
        return ST_NOMEM;
    s->name = malloc((size_t)b->vocab->longest + 2);
    if (!s->name || pretoken_scratch_new(&s->pretoken)) {
        bpe_scratch_free(s);
        return ST_NOMEM;
    }
    *ret_scratch = s;
    return ST_OK;
}

void bpe_scratch_free(struct bpe_scratch *s)
{
    if (!s)
        return;
    pretoken_scratch_free(s->pretoken);
    merge_done(&s->merge);
    free(s->name);
    free(s);
}

struct encoding {
    const struct bpe *bpe;
    struct bpe_scratch *scratch;
    struct id_list *ids;
};

/* The token that is the whole piece, or -1. */
static int32_t find_whole(const struct encoding *e, const char *text, size_t len)
{
    /* A name has at least as many bytes as what it stands for, at most twice as many. */
    if (len > e->bpe->vocab->longest)
        return -1;
    size_t at = 0, n = 0;
    for (; at < len && n <= e->bpe->vocab->longest; at++)
        n += alphabet_write(text + at, 1, e->scratch->name + n);
    return at < len ? -1 : vocab_find_plain(e->bpe->vocab, e->scratch->name, n);
}

static int encode_piece(void *arg, const char *text, size_t len)
{
    struct encoding *e = arg;
    struct merge *m = &e->scratch->merge;
    size_t n = 0;
    int r;

    if (pretoken_whole_first(e->bpe->pretoken)) {
        int32_t id = find_whole(e, text, len);

        if (id >= 0)
            return id_list_push(e->ids, id);
    }
    if ((r = merge_reserve(m, len)))
        return r;
    for (size_t i = 0; i < len; i++) {
        int32_t id = e->bpe->byte_ids[(uint8_t)text[i]];

        if (id >= 0)
            m->symbols[n++] = (struct symbol){.id = id};
    }
    if (n == 0)
        return ST_OK;
    merge_run(m, n, look_pair, e->bpe);
    for (uint32_t i = 0; i != MERGE_END && r == ST_OK; i = m->symbols[i].next)
        r = id_list_push(e->ids, m->symbols[i].id);
    return r;
}

int bpe_encode(const struct bpe *b, struct bpe_scratch *s, const char *text, size_t len,
               struct id_list *ids)
{
    struct encoding e = {b, s, ids};
    int r = ST_OK;

    for (size_t at = 0; at < len && r == ST_OK;) {
        size_t n = utf8_span(text + at, len - at);

        if (n) {
            r = pretoken_split(b->pretoken, s->pretoken, text + at, n, encode_piece, &e);
        } else {
            n = 1;
            r = encode_piece(&e, text + at, n);
        }
        at += n;
    }
    return r;
}
