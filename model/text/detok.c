#include "model/text/detok.h"

#include <stdlib.h>
#include <string.h>

#include "config/limits.h"
#include "model/text/utf8.h"

#define REPLACEMENT "\xef\xbf\xbd" /* U+FFFD */
#define REPLACEMENT_BYTES 3

/* One stop string and how much of it the text ends with: Knuth, Morris and Pratt's matcher, which
 * looks at each byte once however the text is cut into tokens. */
struct stop {
    char *text;
    uint16_t len;
    uint16_t matched;
    uint16_t *fallback; /* fallback[i]: longest proper border of the first i + 1 bytes */
};

struct detok {
    const struct tokenizer *t;
    struct stop stops[LIMIT_STOP_STRINGS];
    size_t n_stops;
    int stopped;        /* index of the stop string that has appeared, or -1 */
    char cut[UTF8_MAX]; /* bytes of a character that is not whole yet */
    size_t n_cut;
    char *text; /* n_out bytes handed out by the last call, then what is held back */
    size_t n_text, n_out;
};

_Static_assert(LIMIT_STOP_BYTES < UINT16_MAX, "struct stop counts in 16 bits");

static int stop_open(struct stop *s, const char *text)
{
    size_t len = strlen(text);

    if (len == 0 || len > LIMIT_STOP_BYTES || utf8_span(text, len) != len)
        return ST_INVALID;
    s->text = strdup(text);
    s->fallback = calloc(len, sizeof(*s->fallback));
    if (!s->text || !s->fallback)
        return ST_NOMEM;
    s->len = (uint16_t)len;
    for (uint16_t i = 1, k = 0; i < len; i++) {
        while (k > 0 && text[i] != text[k])
            k = s->fallback[k - 1];
        k = (uint16_t)(k + (text[i] == text[k]));
        s->fallback[i] = k;
    }
    return ST_OK;
}

/* One more byte of text. True: the stop string ends with it. */
static bool stop_feed(struct stop *s, char byte)
{
    if (s->matched == s->len)
        s->matched = s->fallback[s->len - 1];
    while (s->matched > 0 && byte != s->text[s->matched])
        s->matched = s->fallback[s->matched - 1];
    s->matched = (uint16_t)(s->matched + (byte == s->text[s->matched]));
    return s->matched == s->len;
}

int detok_new(const struct tokenizer *t, const char *const *stops, size_t n_stops,
              struct detok **ret_detok)
{
    int r = ST_NOMEM;
    size_t longest = 0;
    struct detok *d;

    if (n_stops > LIMIT_STOP_STRINGS)
        return ST_INVALID;
    d = calloc(1, sizeof(*d));
    if (!d)
        goto out;
    d->t = t;
    d->stopped = -1;
    for (size_t i = 0; i < n_stops; i++) {
        d->n_stops = i + 1;
        if ((r = stop_open(&d->stops[i], stops[i])))
            goto out;
        if (d->stops[i].len > longest)
            longest = d->stops[i].len;
    }
    r = ST_NOMEM;
    /* What may be held back, and a token whose every byte, and one cut character, is replaced. */
    d->text = malloc(longest + REPLACEMENT_BYTES * (tokenizer_longest(t) + UTF8_MAX));
    if (!d->text)
        goto out;
    *ret_detok = d;
    d = NULL;
    r = ST_OK;
out:
    detok_free(d);
    return r;
}

void detok_free(struct detok *d)
{
    if (!d)
        return;
    for (size_t i = 0; i < d->n_stops; i++) {
        free(d->stops[i].text);
        free(d->stops[i].fallback);
    }
    free(d->text);
    free(d);
}

static void append(struct detok *d, const char *text, size_t len)
{
    memcpy(d->text + d->n_text, text, len);
    d->n_text += len;
}

/* One more byte of a token: whole characters go to the text, broken ones as U+FFFD. */
static void take_byte(struct detok *d, char byte)
{
    size_t n;

    d->cut[d->n_cut++] = byte;
    switch (utf8_look(d->cut, d->n_cut, &n)) {
    case UTF8_CUT:
        return;
    case UTF8_WHOLE:
        append(d, d->cut, n);
        d->n_cut = 0;
        return;
    case UTF8_BAD:
        append(d, REPLACEMENT, REPLACEMENT_BYTES);
        /* A byte that broke what came before it may begin a character itself. */
        bool again = d->n_cut > 1;
        d->n_cut = 0;
        if (again)
            take_byte(d, byte);
        return;
    }
}

/* Forget what the last call handed out. Returns where the new text will begin. */
static size_t begin(struct detok *d)
{
    d->n_text -= d->n_out;
    memmove(d->text, d->text + d->n_out, d->n_text);
    d->n_out = 0;
    return d->n_text;
}

/* Look for stop strings in the text from `from` on and decide how much of it may be shown. */
static void release(struct detok *d, size_t from)
{
    size_t first = SIZE_MAX, held = 0;

    for (size_t at = from; at < d->n_text; at++) {
        for (size_t i = 0; i < d->n_stops; i++) {
            if (!stop_feed(&d->stops[i], d->text[at]) || at + 1 - d->stops[i].len >= first)
                continue;
            first = at + 1 - d->stops[i].len;
            d->stopped = (int)i;
        }
    }
    if (d->stopped >= 0) {
        d->n_text = d->n_out = first;
        d->n_cut = 0;
        return;
    }
    for (size_t i = 0; i < d->n_stops; i++) {
        if (d->stops[i].matched > held)
            held = d->stops[i].matched;
    }
    d->n_out = d->n_text - held;
}

int detok_push(struct detok *d, int32_t id, const char **ret_text, size_t *ret_len, int *ret_stop)
{
    const char *bytes;
    size_t len;
    int r = tokenizer_bytes(d->t, id, &bytes, &len);

    if (r)
        return r;
    size_t from = begin(d);
    if (d->stopped < 0 && !tokenizer_is_end(d->t, id)) {
        for (size_t i = 0; i < len; i++)
            take_byte(d, bytes[i]);
        release(d, from);
    }
    *ret_text = d->text;
    *ret_len = d->n_out;
    *ret_stop = d->stopped;
    return ST_OK;
}

int detok_finish(struct detok *d, const char **ret_text, size_t *ret_len)
{
    size_t from = begin(d);

    if (d->n_cut) {
        append(d, REPLACEMENT, REPLACEMENT_BYTES);
        d->n_cut = 0;
        release(d, from);
    }
    if (d->stopped < 0)
        d->n_out = d->n_text;
    *ret_text = d->text;
    *ret_len = d->n_out;
    return ST_OK;
}
