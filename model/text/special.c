#include "model/text/special.h"

#include <stdlib.h>
#include <string.h>

static bool is_special(const struct vocab *v, uint32_t id, bool control)
{
    if (v->names.at[id] == v->names.at[id + 1])
        return false;
    return v->kinds[id] == TOKEN_USER ||
           (control && (v->kinds[id] == TOKEN_CONTROL || v->kinds[id] == TOKEN_UNKNOWN));
}

static int by_name(const void *a, const void *b, void *arg)
{
    size_t n_a, n_b;
    const char *name_a = vocab_name(arg, *(const int32_t *)a, &n_a);
    const char *name_b = vocab_name(arg, *(const int32_t *)b, &n_b);
    int order = memcmp(name_a, name_b, n_a < n_b ? n_a : n_b);

    return order ? order : (n_a > n_b) - (n_a < n_b);
}

int special_open(const struct vocab *v, bool control, struct special *ret_special)
{
    struct special s = {0};

    for (uint32_t id = 0; id < v->n; id++)
        s.n += is_special(v, id, control);
    s.ids = calloc(s.n ? s.n : 1, sizeof(*s.ids));
    if (!s.ids)
        return ST_NOMEM;
    uint32_t n = 0;
    for (uint32_t id = 0; id < v->n; id++) {
        size_t len;

        if (!is_special(v, id, control))
            continue;
        uint8_t lead = (uint8_t)*vocab_name(v, (int32_t)id, &len);
        s.ids[n++] = (int32_t)id;
        s.first[lead + 1]++;
        if (len > s.longest)
            s.longest = len;
    }
    for (int b = 0; b < 256; b++)
        s.first[b + 1] += s.first[b];
    qsort_r(s.ids, s.n, sizeof(*s.ids), by_name, (void *)v);
    *ret_special = s;
    return ST_OK;
}

void special_done(struct special *s)
{
    free(s->ids);
    *s = (struct special){0};
}

/* The first of ids[low … high), whose names agree in their first at bytes, whose byte `at` is not
 * less than byte. A name that ends there is less than any. */
static uint32_t lower(const struct special *s, const struct vocab *v, uint32_t low, uint32_t high,
                      size_t at, unsigned byte)
{
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        size_t len;
        const char *name = vocab_name(v, s->ids[mid], &len);

        if (len <= at || (uint8_t)name[at] < byte)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

/* The longest name that text begins with, or -1. */
static int32_t longest_at(const struct special *s, const struct vocab *v, const char *text,
                          size_t len)
{
    uint32_t low = s->first[(uint8_t)text[0]], high = s->first[(uint8_t)text[0] + 1];
    int32_t found = -1;

    for (size_t at = 1; low < high; at++) {
        size_t n;

        /* Names that end here come first of those that agree so far; there is only one. */
        vocab_name(v, s->ids[low], &n);
        if (n == at)
            found = s->ids[low++];
        if (at == len)
            break;
        low = lower(s, v, low, high, at, (uint8_t)text[at]);
        high = lower(s, v, low, high, at, (uint8_t)text[at] + 1u);
    }
    return found;
}

int32_t special_find(const struct special *s, const struct vocab *v, const char *text, size_t len,
                     size_t from, size_t *ret_at)
{
    for (size_t at = from; s->n && at < len; at++) {
        uint8_t byte = (uint8_t)text[at];

        if (s->first[byte] == s->first[byte + 1])
            continue;
        int32_t id = longest_at(s, v, text + at, len - at);
        if (id >= 0) {
            *ret_at = at;
            return id;
        }
    }
    *ret_at = len;
    return -1;
}
