#include "model/text/spm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/text/utf8.h"

#define WORD_MARK "\xe2\x96\x81" /* U+2581: how pieces write a space */
#define WORD_MARK_BYTES 3

void spm_find_bytes(const struct vocab *v, struct spm_bytes *ret_bytes)
{
    for (unsigned i = 0; i < 256; i++) {
        char name[8];
        int len = snprintf(name, sizeof(name), "<0x%02X>", i);
        int32_t id = vocab_find(v, name, (size_t)len);

        ret_bytes->ids[i] = id >= 0 && v->kinds[id] == TOKEN_BYTE ? id : -1;
    }
}

void spm_scratch_done(struct spm_scratch *s)
{
    merge_done(&s->merge);
    free(s->text);
    *s = (struct spm_scratch){0};
}

/* Room for len bytes that may all be spaces, and one before them. */
static int reserve_text(struct spm_scratch *s, size_t len)
{
    size_t cap = (len + 1) * WORD_MARK_BYTES;

    if (cap <= s->cap)
        return ST_OK;
    char *text = malloc(cap);
    if (!text)
        return ST_NOMEM;
    free(s->text);
    s->text = text;
    s->cap = cap;
    return ST_OK;
}

/* One symbol a character, or a byte that is no character's; spaces as U+2581. Returns how many. */
static size_t make_symbols(const struct vocab *v, struct spm_scratch *s, const char *text,
                           size_t len, bool space_first)
{
    size_t n = 0, end = 0;

    for (size_t at = 0; at < len || space_first;) {
        struct symbol *symbol = &s->merge.symbols[n++];
        const char *from = WORD_MARK;
        size_t n_bytes = WORD_MARK_BYTES, n_taken = !space_first;

        if (!space_first && text[at] != ' ') {
            from = text + at;
            if (utf8_look(from, len - at, &n_bytes) != UTF8_WHOLE)
                n_bytes = 1;
            n_taken = n_bytes;
        }
        memcpy(s->text + end, from, n_bytes);
        *symbol = (struct symbol){.at = (uint32_t)end,
                                  .len = (uint32_t)n_bytes,
                                  .id = vocab_find_plain(v, from, n_bytes)};
        end += n_bytes;
        at += n_taken;
        space_first = false;
    }
    return n;
}

struct looking {
    const struct vocab *vocab;
    const char *text;
};

static void look_piece(const void *arg, struct symbol *left, const struct symbol *right)
{
    const struct looking *l = arg;
    size_t len = (size_t)left->len + right->len;

    if (len > l->vocab->longest)
        return;
    left->joined = vocab_find_plain(l->vocab, l->text + left->at, len);
    if (left->joined >= 0)
        left->order = l->vocab->orders[left->joined];
}

static int push_bytes(const struct vocab *v, const struct spm_bytes *bytes, const char *text,
                      size_t len, struct id_list *ids)
{
    int r = ST_OK;

    for (size_t i = 0; i < len; i++) {
        if (bytes->ids[(uint8_t)text[i]] < 0)
            return v->unk >= 0 ? id_list_push(ids, v->unk) : ST_OK;
    }
    for (size_t i = 0; i < len && r == ST_OK; i++)
        r = id_list_push(ids, bytes->ids[(uint8_t)text[i]]);
    return r;
}

int spm_encode(const struct vocab *v, const struct spm_bytes *bytes, struct spm_scratch *s,
               const char *text, size_t len, bool space_first, struct id_list *ids)
{
    int r;

    if (len == 0)
        return ST_OK;
    if ((r = merge_reserve(&s->merge, len + 1)) || (r = reserve_text(s, len)))
        return r;
    size_t n = make_symbols(v, s, text, len, space_first);
    const struct looking looking = {v, s->text};
    merge_run(&s->merge, n, look_piece, &looking);
    for (uint32_t i = 0; i != MERGE_END && r == ST_OK; i = s->merge.symbols[i].next) {
        const struct symbol *symbol = &s->merge.symbols[i];

        if (symbol->id >= 0)
            r = id_list_push(ids, symbol->id);
        else
            r = push_bytes(v, bytes, s->text + symbol->at, symbol->len, ids);
    }
    return r;
}
