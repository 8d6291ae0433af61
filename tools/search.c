#include "tools/search.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/budget.h"
#include "tools/outfile.h"
#include "tools/sweep_file.h"

#define BEST_BITS 9.5 /* --best: a weight */

/* Without --choices. The best may be slower: zero points of activations cost no bytes, but some speed. */
#define CHOICES "int4,int8,int8-g32,f16"
#define BEST_CHOICES "int8,int8-g32-actaffine,f16"

enum {
    CHOICES_MAX = 32,
    TRIES = 4, /* files made for one --max-kld */
};

/* --max-kld is met where no more than this share of it is left unused. */
#define SLACK 0.04

struct unit {
    char modules[3][64];
    bool ends; /* the head or an embedding: a default scheme may say otherwise of them */
};

struct searching {
    const struct search *s;
    const struct model_quantize_opts *opts;
    struct error *err;
    struct sweep *sweep;
    struct sweep_file file;
    char *list; /* what choices point into */
    const char *choices[CHOICES_MAX];
    char labels[CHOICES_MAX][64]; /* the same in full */
    size_t n_choices;
    struct unit *units;
    struct budget_option *options; /* [n_units][n_choices] */
    size_t n_units, n_options;     /* so far */
    double kv;
    struct budget *budget;
    size_t *choice; /* [n_units] at hand */
    char *temp;     /* the file of a plan not known to be good */
    struct model_quantize_report report;
    struct search_result result;
    /* Of OUT as it is: the cheapest so far that keeps --max-kld. */
    struct model_quantize_report found_report;
    struct search_result found;
};

bool search_wanted(const struct search *s)
{
    return s->max_kld > 0.0 || s->max_bytes || s->best;
}

static const char *choices_of(const struct search *s)
{
    return s->choices ? s->choices : s->best ? BEST_CHOICES : CHOICES;
}

/* Minutes before they would be read. */
static int check_choices(const struct search *s, struct error *err)
{
    char *list = strdup(choices_of(s)), *rest = list, *one;
    int r = list ? ST_OK : error_set(err, ST_NOMEM, "out of memory");

    while (r == ST_OK && (one = strsep(&rest, ","))) {
        struct error why;
        /* One scale for a whole matrix, and ranges known beforehand, are not what a sweep tries. */
        bool no_choice = strchr(one, '+') || strstr(one, "-tensor") || model_scheme_is_static(one);
        r = no_choice ? ST_INVALID : model_check_scheme(one, &why);
        if (r != ST_OK)
            error_set(err, r,
                      "--choices: \"%s\" is none: labels of --scheme without +, -tensor, -static "
                      "and -channel, and f16 and f32, with commas between them",
                      one);
    }
    free(list);
    return r;
}

int search_check(const struct search *s, struct error *err)
{
    if ((s->max_kld > 0.0) + (s->max_bytes != 0) + s->best > 1)
        return error_set(err, ST_INVALID, "--max-kld, --max-bytes and --best: one of them");
    if (s->sweep && !search_wanted(s))
        return error_set(err, ST_INVALID, "--sweep: goes with --max-kld, --max-bytes or --best");
    if (search_wanted(s) && s->plan && access(s->plan, F_OK) == 0)
        return error_set(err, ST_INVALID,
                         "--plan %s: is there already, and the one that is found would be written "
                         "there: give another name, or leave the budget out",
                         s->plan);
    return search_wanted(s) ? check_choices(s, err) : ST_OK;
}

static int no_memory(struct searching *q)
{
    return error_set(q->err, ST_NOMEM, "out of memory");
}

/* ---- the sweep's results, as a table ---- */

static bool add_unit(struct searching *q, const struct sweep_item *item)
{
    struct unit *units = realloc(q->units, (q->n_units + 1) * sizeof(*units));

    if (units)
        q->units = units;
    struct budget_option *options =
        realloc(q->options, (q->n_units + 1) * q->n_choices * sizeof(*options));
    if (options)
        q->options = options;
    if (!units || !options)
        return false;
    struct unit *u = &q->units[q->n_units++];
    memcpy(u->modules, item->modules, sizeof(u->modules));
    u->ends = !strchr(item->unit, '.');
    q->result.n_weights += item->n_weights;
    return true;
}

/* Items come unit by unit, choices in their order. */
static int know(void *arg, struct sweep_item *item)
{
    struct searching *q = arg;
    const json_t *line = sweep_file_find(&q->file, item->unit, item->choice);
    const bool kv = item->n_weights == 0;

    if (line)
        item->kld = json_number_value(json_object_get(line, "kld"));
    if (kv) {
        q->kv = item->kld;
        return ST_OK;
    }
    if (q->n_options % q->n_choices == 0 && !add_unit(q, item))
        return no_memory(q);
    snprintf(q->labels[q->n_options % q->n_choices], sizeof(item->choice), "%s", item->choice);
    q->options[q->n_options++] = (struct budget_option){item->bytes, item->kld};
    return ST_OK;
}

static int take(void *arg, const struct sweep_item *item, struct error *err)
{
    struct searching *q = arg;

    q->result.n_measured++;
    if (item->n_weights == 0)
        q->kv = item->kld;
    else
        q->options[q->n_options - 1].loss = item->kld;
    return sweep_file_add(&q->file, item, err);
}

static int split_choices(struct searching *q)
{
    char *rest = q->list = strdup(choices_of(q->s)), *one;

    if (!rest)
        return no_memory(q);
    while ((one = strsep(&rest, ","))) {
        if (q->n_choices == CHOICES_MAX)
            return error_set(q->err, ST_INVALID, "--choices: at most %d", CHOICES_MAX);
        q->choices[q->n_choices++] = one;
    }
    return ST_OK;
}

static int sweep(struct searching *q)
{
    const struct sweep_opts so = {.in = q->opts->in,
                                  .observations = q->opts->plain ? NULL : q->opts->observations,
                                  .clip = q->opts->clip,
                                  .seed = q->s->seed,
                                  .threads = q->opts->threads,
                                  .progress = q->opts->progress};
    struct sweep_items items = {
        .choices = q->choices, .n_choices = q->n_choices, .know = know, .take = take, .arg = q};
    int r = sweep_open(&so, &q->sweep, q->err);

    if (r == ST_OK)
        r = sweep_file_open(q->s->sweep, sweep_facts(q->sweep), &q->file, q->err);
    if (r == ST_OK)
        r = sweep_run(q->sweep, &items, q->err);
    if (r != ST_OK)
        return r;
    q->result.n_tokens = sweep_facts(q->sweep)->n_tokens;
    q->choice = calloc(q->n_units, sizeof(*q->choice));
    r = q->choice ? budget_open(q->options, q->n_units, q->n_choices, &q->budget) : ST_NOMEM;
    return r == ST_OK ? r : no_memory(q);
}

/* ---- a choice, as a plan, as a file ---- */

/* What most units are. */
static size_t commonest(const struct searching *q)
{
    size_t count[CHOICES_MAX] = {0}, best = 0;

    for (size_t u = 0; u < q->n_units; u++)
        count[q->choice[u]]++;
    for (size_t i = 1; i < q->n_choices; i++)
        best = count[i] > count[best] ? i : best;
    return best;
}

static json_t *plan_of(const struct searching *q)
{
    const size_t usual = commonest(q);
    json_t *modules = json_object();

    for (size_t u = 0; u < q->n_units; u++)
        for (size_t m = 0; m < 3 && q->units[u].modules[m][0]; m++)
            if (q->choice[u] != usual || q->units[u].ends)
                json_object_set_new(modules, q->units[u].modules[m],
                                    json_string(q->labels[q->choice[u]]));
    return json_pack("{s:i, s:s, s:o}", "version", 1, "default", q->labels[usual], "modules",
                     modules);
}

static json_t *count_choices(const struct searching *q)
{
    json_t *counts = json_object();

    for (size_t u = 0; u < q->n_units; u++) {
        const char *label = q->labels[q->choice[u]];
        json_int_t n = json_integer_value(json_object_get(counts, label));
        json_object_set_new(counts, label, json_integer(n + 1));
    }
    return counts;
}

static void set_result(struct searching *q)
{
    const struct budget_option sum = budget_sum(q->budget, q->choice);

    search_done(&q->result);
    q->result.plan = plan_of(q);
    q->result.choices = count_choices(q);
    q->result.predicted = q->kv + sum.loss;
    q->result.bytes = sum.bytes;
    q->result.kld = NAN;
}

/* The choice at hand as a file of its own, plainly rounded if only its size is asked for. */
static int make_file(struct searching *q, bool plain)
{
    struct model_quantize_opts opts = *q->opts;
    struct quant_plan *plan = NULL;
    char *text;
    int r;

    set_result(q);
    text = q->result.plan ? json_dumps(q->result.plan, 0) : NULL;
    if (!text)
        return no_memory(q);
    r = model_plan_parse("plan", text, strlen(text), &plan, q->err);
    free(text);
    opts.out = q->temp;
    opts.scheme = NULL;
    opts.plan = plan;
    if (plain) {
        opts.observations = NULL;
        opts.smooth = opts.clip = opts.statistics = false;
    }
    free(q->report.tensors);
    q->report.tensors = NULL;
    if (r == ST_OK)
        r = model_quantize(&opts, &q->report, q->err);
    model_plan_free(plan);
    return r;
}

/* Made, measured, and noted as tried. */
static int try_choice(struct searching *q)
{
    struct search_result *f = &q->result;
    int r = make_file(q, false);

    if (r == ST_OK)
        r = sweep_measure(q->sweep, q->temp, &f->kld, q->err);
    if (r != ST_OK)
        return r;
    return sweep_file_note(&q->file,
                           json_pack("{s:O, s:I, s:I, s:I, s:f, s:f}", "plan", f->plan, "weights",
                                     (json_int_t)f->n_weights, "bytes", (json_int_t)f->bytes,
                                     "file_bytes", (json_int_t)q->report.bytes_out, "kld_predicted",
                                     f->predicted, "kld", f->kld),
                           q->err);
}

static int write_plan(const struct searching *q)
{
    struct outfile out;
    int r;

    if (!q->s->plan)
        return ST_OK;
    r = outfile_open(&out, q->s->plan, q->err);
    if (r != ST_OK) {
        outfile_abort(&out);
        return r;
    }
    json_dumpf(q->found.plan, out.file, JSON_INDENT(1));
    fputc('\n', out.file);
    return outfile_commit(&out, q->err);
}

/* The choice that was tried last becomes OUT. */
static int accept(struct searching *q)
{
    if (rename(q->temp, q->opts->out) != 0)
        return error_set(q->err, ST_IO, "%s: cannot be written: %s", q->opts->out, strerror(errno));
    search_done(&q->found);
    q->found = q->result;
    free(q->found_report.tensors);
    q->found_report = q->report;
    q->report.tensors = NULL;
    q->result.plan = q->result.choices = NULL;
    return ST_OK;
}

/* ---- budgets ---- */

static int best(struct searching *q)
{
    const double weights = (double)q->result.n_weights;
    int r = budget_by_bytes(q->budget, (uint64_t)(BEST_BITS / 8.0 * weights), q->choice);

    if (r != ST_OK)
        return error_set(
            q->err, r, "--best: %.3g bits a weight are out of reach: --choices take at least %.3g",
            BEST_BITS, 8.0 * (double)budget_least(q->budget).bytes / weights);
    r = try_choice(q);
    return r == ST_OK ? accept(q) : r;
}

/* The best choice whose file has no more than `most`. What a file holds beside its matrices shows once
 * it is made, the smallest one first; rounding plainly is enough for that. */
static int fit_file(struct searching *q, uint64_t most)
{
    const uint64_t least = budget_least(q->budget).bytes;
    int r;

    budget_by_bytes(q->budget, least, q->choice);
    r = make_file(q, true);
    while (r == ST_OK) {
        const uint64_t beside = q->report.bytes_out - q->result.bytes;
        if (most < beside || budget_by_bytes(q->budget, most - beside, q->choice) != ST_OK)
            return error_set(q->err, ST_NOTFOUND,
                             "--max-bytes %" PRIu64
                             ": out of reach: the smallest file of --choices "
                             "has about %" PRIu64 " bytes",
                             q->s->max_bytes, q->s->max_bytes - most + least + beside);
        r = make_file(q, true);
        if (q->report.bytes_out <= most)
            break;
    }
    return r;
}

static int within_bytes(struct searching *q)
{
    const uint64_t most = q->s->max_bytes;
    uint64_t more = 0; /* what a file says of its calibration */

    while (true) {
        int r = fit_file(q, most > more ? most - more : 0);
        const uint64_t plain = q->report.bytes_out;
        if (r == ST_OK)
            r = try_choice(q);
        if (r != ST_OK || q->report.bytes_out <= most)
            return r == ST_OK ? accept(q) : r;
        more = q->report.bytes_out - plain;
    }
}

static int within_kld(struct searching *q)
{
    const double most = q->s->max_kld;
    double goal = most; /* of the prediction, which may be off by a factor */

    for (int i = 0; i < TRIES; i++) {
        const bool all = budget_by_loss(q->budget, goal - q->kv, q->choice) != ST_OK;
        if (all) /* what loses least may lose less than predicted */
            budget_by_bytes(q->budget, UINT64_MAX, q->choice);
        if (q->found.plan && budget_sum(q->budget, q->choice).bytes >= q->found.bytes)
            return ST_OK;
        int r = try_choice(q);
        const double kld = q->result.kld;
        if (r == ST_OK && kld <= most)
            r = accept(q);
        else if (r == ST_OK && all)
            r = error_set(
                q->err, ST_NOTFOUND,
                "--max-kld %g: out of reach: the best of --choices loses %.3g, in %" PRIu64
                " bytes; keys and values in INT8 alone lose %.3g",
                most, kld, q->report.bytes_out, q->kv);
        if (r != ST_OK || (kld <= most && kld >= (1.0 - SLACK) * most))
            return r;
        goal = q->result.predicted * most / kld * (kld > most ? 0.99 : 1.0);
    }
    return q->found.plan
               ? ST_OK
               : error_set(q->err, ST_NOTFOUND,
                           "--max-kld %g: not reached in %d plans, the last of which loses "
                           "%.3g: give more --choices",
                           most, TRIES, q->result.kld);
}

/* ---- all of it ---- */

static int search(struct searching *q)
{
    int r = split_choices(q);

    if (r == ST_OK && asprintf(&q->temp, "%s.%ld.tmp", q->opts->out, (long)getpid()) < 0) {
        q->temp = NULL;
        r = no_memory(q);
    }
    if (r == ST_OK)
        r = sweep(q);
    if (r == ST_OK)
        r = q->s->best ? best(q) : q->s->max_bytes ? within_bytes(q) : within_kld(q);
    return r == ST_OK ? write_plan(q) : r;
}

int search_run(const struct search *s, const struct model_quantize_opts *opts,
               struct model_quantize_report *ret_report, struct search_result *ret_result,
               struct error *err)
{
    struct searching q = {.s = s, .opts = opts, .err = err};
    int r = search(&q);

    if (q.temp)
        unlink(q.temp); /* a plan that was not good enough */
    q.found.lines = json_incref(q.file.lines);
    budget_free(q.budget);
    sweep_file_close(&q.file);
    sweep_free(q.sweep);
    search_done(&q.result);
    free(q.report.tensors);
    free(q.temp);
    free(q.list);
    free(q.units);
    free(q.options);
    free(q.choice);
    if (r != ST_OK) {
        search_done(&q.found);
        free(q.found_report.tensors);
        return r;
    }
    *ret_report = q.found_report;
    *ret_result = q.found;
    return ST_OK;
}

void search_done(struct search_result *result)
{
    json_decref(result->plan);
    json_decref(result->choices);
    json_decref(result->lines);
    result->plan = result->choices = result->lines = NULL;
}

json_t *search_json(const struct search_result *f)
{
    return json_pack("{s:O, s:O, s:I, s:I, s:f, s:f, s:f, s:I, s:I}", "plan", f->plan, "choices",
                     f->choices, "weights", (json_int_t)f->n_weights, "bytes", (json_int_t)f->bytes,
                     "bits_per_weight", 8.0 * (double)f->bytes / (double)f->n_weights,
                     "kld_predicted", f->predicted, "kld", f->kld, "tokens",
                     (json_int_t)f->n_tokens, "measured", (json_int_t)f->n_measured);
}

void search_print(const struct search_result *f)
{
    const char *label;
    json_t *n;

    printf("  plan   %.2f bits a weight:", 8.0 * (double)f->bytes / (double)f->n_weights);
    json_object_foreach(f->choices, label, n)
        printf(" %" JSON_INTEGER_FORMAT " %s", json_integer_value(n), label);
    printf(
        "\n  loss   %.3g nats a token of KL divergence on %u that the model drew (%.3g expected: "
        "the sum of its parts)\n",
        f->kld, f->n_tokens, f->predicted);
}
