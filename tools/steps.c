#include "tools/steps.h"

#include <string.h>

#include "tools/cli.h"

static const char *const NAMES[STEPS] = {"prepare", "observe", "convert", "report"};

/* What the model says it does: the step, and what it counts (NULL: bytes). */
static const struct {
    const char *what;
    enum step step;
    const char *unit;
} KNOWN[] = {{"drawing text", STEP_OBSERVE, "tokens"}, {"observing", STEP_OBSERVE, "tokens"},
             {"loading", STEP_OBSERVE, NULL},          {"sweeping", STEP_PREPARE, "tokens"},
             {"preparing", STEP_PREPARE, "inputs"},    {"quantizing", STEP_CONVERT, NULL}};

void steps_init(struct steps *s)
{
    memset(s, 0, sizeof(*s));
    progress_init(&s->line);
    s->since_s = cli_now_s();
}

void steps_begin(struct steps *s, enum step step)
{
    const double now = cli_now_s();

    s->seconds[s->at] += now - s->since_s;
    s->since_s = now;
    s->at = step;
}

void steps_progress(void *arg, const char *what, uint64_t done, uint64_t total)
{
    struct steps *s = arg;

    for (size_t i = 0; i < sizeof(KNOWN) / sizeof(KNOWN[0]); i++)
        if (strcmp(what, KNOWN[i].what) == 0) {
            if (s->at != KNOWN[i].step)
                steps_begin(s, KNOWN[i].step);
            s->line.unit = KNOWN[i].unit;
        }
    progress_update(&s->line, what, done, total);
}

double steps_total(struct steps *s)
{
    double sum = 0.0;

    steps_begin(s, s->at);
    for (size_t i = 0; i < STEPS; i++)
        sum += s->seconds[i];
    return sum;
}

json_t *steps_json(struct steps *s)
{
    json_t *doc = json_object();

    steps_begin(s, s->at);
    for (size_t i = 0; i < STEPS; i++)
        json_object_set_new(doc, NAMES[i], json_real(s->seconds[i]));
    return doc;
}

void steps_print(struct steps *s, FILE *f)
{
    fputs("  steps  ", f);
    steps_begin(s, s->at);
    for (size_t i = 0; i < STEPS; i++)
        fprintf(f, "%s%s %.1f s", i ? ", " : "", NAMES[i], s->seconds[i]);
    fputc('\n', f);
}
