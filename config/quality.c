#include "config/quality.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "config/escape.h"

#define NUMBER(field, most)                                                                        \
    {                                                                                              \
        .name = #field, .offset = offsetof(struct quality, field), .max = most                     \
    }
#define TEXT(field, is_sha)                                                                        \
    {                                                                                              \
        .name = #field, .offset = offsetof(struct quality, field),                                 \
        .size = sizeof(((struct quality *)0)->field), .sha = is_sha                                \
    }

const struct quality_number QUALITY_NUMBER[QUALITY_NUMBERS] = {
    NUMBER(ppl, HUGE_VAL),      NUMBER(ppl_se, HUGE_VAL),     NUMBER(ppl_ratio, HUGE_VAL),
    NUMBER(kld_mean, HUGE_VAL), NUMBER(kld_median, HUGE_VAL), NUMBER(kld_p99, HUGE_VAL),
    NUMBER(kld_max, HUGE_VAL),  NUMBER(same_top, 1),          NUMBER(rms_dp, 1),
};

const struct quality_text QUALITY_TEXT[QUALITY_TEXTS] = {
    TEXT(precision, false),  TEXT(kv, false),           TEXT(scheme, false), TEXT(version, false),
    TEXT(text_sha256, true), TEXT(source_sha256, true), TEXT(digest, true)};

/* The texts may come from a file: escaped. Six bytes a byte is the most, and all of them fit. */
static size_t put_text(char *out, size_t at, const char *name, const char *text)
{
    const char *end = text + strlen(text);
    char step[ESCAPE_MAX];

    at += (size_t)snprintf(out + at, QUALITY_JSON_MAX - at, ",\"%s\":\"", name);
    while (text < end) {
        size_t n = escape_step(&text, end, step);
        assert(at + n + 2 < QUALITY_JSON_MAX);
        memcpy(out + at, step, n);
        at += n;
    }
    out[at++] = '"';
    out[at] = '\0';
    return at;
}

void quality_json(const struct quality *q, char out[static QUALITY_JSON_MAX])
{
    size_t at = (size_t)snprintf(out, QUALITY_JSON_MAX,
                                 "{\"tokens\":%" PRIu64 ",\"chunks\":%" PRIu64 ",\"ctx\":%" PRIu32,
                                 q->tokens, q->chunks, q->ctx);

    for (size_t i = 0; i < QUALITY_NUMBERS; i++) {
        double value;
        memcpy(&value, (const char *)q + QUALITY_NUMBER[i].offset, sizeof(value));
        at += (size_t)snprintf(out + at, QUALITY_JSON_MAX - at, ",\"%s\":%.9g",
                               QUALITY_NUMBER[i].name, value);
    }
    for (size_t i = 0; i < QUALITY_TEXTS; i++)
        at = put_text(out, at, QUALITY_TEXT[i].name, (const char *)q + QUALITY_TEXT[i].offset);
    assert(at + 2 <= QUALITY_JSON_MAX);
    memcpy(out + at, "}", 2);
}

/* ---- the gate ---- */

bool quality_asked(const struct quality_bounds *bounds)
{
    return bounds->max_kld >= 0 || bounds->min_same_top >= 0 || bounds->max_ppl_ratio >= 0;
}

/* The flags that make octet eval run what octetd runs; its defaults need none. */
static int refuse(const struct quality_run *run, const char *why, struct error *err)
{
    bool fp32 = strcmp(run->precision, "fp32") == 0;
    bool usual = strcmp(run->kv, fp32 ? "f32" : "int8") == 0;

    return error_set(err, ST_INVALID,
                     "%.200s: %s; this measures and records it: octet eval --model FILE "
                     "--reference SOURCE --text TEXT%s%s%s --record",
                     run->path, why, fp32 ? " --precision fp32" : "", usual ? "" : " --kv ",
                     usual ? "" : run->kv);
}

/* A record of another run says nothing of this one. */
static int check_run(const struct quality_run *run, struct error *err)
{
    const struct quality *q = run->quality;
    const char *const pairs[][3] = {{"scheme", q->scheme, run->scheme},
                                    {"precision", q->precision, run->precision},
                                    {"kv", q->kv, run->kv}};
    char why[192];

    if (run->changed)
        return refuse(run, "the file was changed after its quality was recorded", err);
    for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++)
        if (strcmp(pairs[i][1], pairs[i][2]) != 0) {
            snprintf(why, sizeof(why),
                     "its quality was measured with %s %.48s, but %.48s would run", pairs[i][0],
                     pairs[i][1], pairs[i][2]);
            return refuse(run, why, err);
        }
    return ST_OK;
}

int quality_require(const struct quality_bounds *bounds, const struct quality_run *run,
                    struct error *err)
{
    const struct quality *q = run->quality, none = {0};
    const struct {
        const char *flag, *what;
        double wanted, found;
        bool least;
    } all[] = {
        {"kld", "mean KL divergence", bounds->max_kld, (q ? q : &none)->kld_mean, false},
        {"same-top", "same top share", bounds->min_same_top, (q ? q : &none)->same_top, true},
        {"ppl-ratio", "perplexity ratio", bounds->max_ppl_ratio, (q ? q : &none)->ppl_ratio, false},
    };
    char why[192];

    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        if (all[i].wanted < 0)
            continue;
        if (!q) {
            snprintf(why, sizeof(why), "--require-%s %g, but the file has no record of its quality",
                     all[i].flag, all[i].wanted);
            return refuse(run, why, err);
        }
        int r = check_run(run, err);
        if (r != ST_OK)
            return r;
        if (all[i].least ? all[i].found >= all[i].wanted : all[i].found <= all[i].wanted)
            continue;
        snprintf(why, sizeof(why), "--require-%s %g, but the recorded %s is %.6g", all[i].flag,
                 all[i].wanted, all[i].what, all[i].found);
        return refuse(run, why, err);
    }
    return ST_OK;
}
