/* fake_text.c - the text half of the fake model: bytes are tokens. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "unit/server/fake_model.h"

struct detok {
    const struct model *model;
    char **stops;
    size_t n_stops;
    char *text; /* held back, then what was handed out last */
    size_t len, cap;
    char *out;
    bool stopped;
};

int model_tokenize(const struct model *model, const char *text, size_t len, unsigned flags,
                   int32_t **ret_ids, size_t *ret_n, struct error *err)
{
    static const char eos[] = "<|eos|>";
    int32_t *ids = malloc((len + 1) * sizeof(*ids));
    size_t n = 0;

    (void)err;
    assert(ids);
    sleep_us(model->tokenize_ms * 1000);
    if (flags & MODEL_TEXT_BOS)
        ids[n++] = BOS;
    for (size_t i = 0; i < len;) {
        if ((flags & MODEL_TEXT_SPECIAL) && len - i >= sizeof(eos) - 1 &&
            memcmp(text + i, eos, sizeof(eos) - 1) == 0) {
            ids[n++] = EOS;
            i += sizeof(eos) - 1;
        } else {
            ids[n++] = (unsigned char)text[i++];
        }
    }
    *ret_ids = ids;
    *ret_n = n;
    return ST_OK;
}

size_t model_max_text_bytes(const struct model *model, size_t n_tokens)
{
    (void)model;
    return n_tokens * 7; /* the longest name, <|eos|>, is one token */
}

bool model_is_end(const struct model *model, int32_t id)
{
    (void)model;
    return id == EOS;
}

int detok_open(const struct model *model, const char *const *stops, size_t n_stops,
               struct detok **ret_detok)
{
    struct detok *detok = calloc(1, sizeof(*detok));

    assert(detok);
    detok->model = model;
    detok->n_stops = n_stops;
    detok->cap = 2 * MAX_PIECE;
    detok->text = malloc(detok->cap);
    detok->out = malloc(detok->cap);
    detok->stops = calloc(n_stops + 1, sizeof(*detok->stops));
    assert(detok->text && detok->out && detok->stops);
    for (size_t i = 0; i < n_stops; i++)
        detok->stops[i] = strdup(stops[i]);
    *ret_detok = detok;
    return ST_OK;
}

void detok_free(struct detok *detok)
{
    if (!detok)
        return;
    for (size_t i = 0; i < detok->n_stops; i++)
        free(detok->stops[i]);
    free(detok->stops);
    free(detok->text);
    free(detok->out);
    free(detok);
}

/* Hand out the first n held bytes. */
static void hand_out(struct detok *detok, size_t n, const char **ret_text, size_t *ret_len)
{
    memcpy(detok->out, detok->text, n);
    memmove(detok->text, detok->text + n, detok->len - n);
    detok->len -= n;
    *ret_text = detok->out;
    *ret_len = n;
}

int detok_push(struct detok *detok, int32_t id, const char **ret_text, size_t *ret_len,
               int *ret_stop)
{
    size_t hold = 0, first = detok->len;

    *ret_stop = -1;
    assert(!detok->stopped && detok->len + detok->model->token_bytes <= detok->cap);
    memcpy(detok->text + detok->len, detok->model->piece, detok->model->token_bytes);
    detok->text[detok->len] = id < 128 ? (char)id : '?';
    detok->len += detok->model->token_bytes;
    for (size_t i = 0; i < detok->n_stops; i++) {
        size_t n = strlen(detok->stops[i]);
        char *at = memmem(detok->text, detok->len, detok->stops[i], n);
        if (at && (*ret_stop < 0 || (size_t)(at - detok->text) < first)) {
            *ret_stop = (int)i;
            first = (size_t)(at - detok->text);
        }
        for (size_t k = n - 1; k > hold && *ret_stop < 0; k--)
            if (k <= detok->len && memcmp(detok->text + detok->len - k, detok->stops[i], k) == 0)
                hold = k;
    }
    if (*ret_stop >= 0) {
        hand_out(detok, first, ret_text, ret_len);
        detok->len = 0;
        detok->stopped = true;
    } else {
        hand_out(detok, detok->len - hold, ret_text, ret_len);
    }
    return ST_OK;
}

int detok_finish(struct detok *detok, const char **ret_text, size_t *ret_len)
{
    hand_out(detok, detok->len, ret_text, ret_len);
    return ST_OK;
}
