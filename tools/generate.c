/* octet generate - one completion without a server; the same request gives the text that
 * /v1/generate would. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "api/render.h"
#include "tools/cli.h"
#include "tools/session.h"

#define DEFAULT_MAX_TOKENS 128u
#define STEP_ROWS 256u
#define SEED_BITS 53 /* of a random one: JavaScript reads it back */
#define ANSWER_MAX_BYTES ((size_t)1 << 30)

struct values {
    struct session_flags session;
    const char *prompt, *stop;
    uint32_t max_tokens, top_k, ctx;
    double temperature, top_p, min_p, repetition_penalty;
    uint64_t seed;
    bool ignore_eos, json;
};

#define AT(field) offsetof(struct values, field)
#define ABOVE_ZERO 1e-300 /* least value of a flag that must be above 0 */

static const struct flag FLAGS[] = {
    SESSION_FLAG_MODEL,
    {.name = "prompt",
     .type = FLAG_STRING,
     .offset = AT(prompt),
     .required = true,
     .arg = "TEXT",
     .help = "what to go on from; - is stdin"},
    {.name = "max-tokens",
     .type = FLAG_U32,
     .offset = AT(max_tokens),
     .min = 1,
     .max = LIMIT_CONTEXT,
     .arg = "N",
     .help = "most tokens to make (128, or the room left)"},
    {.name = "temperature",
     .type = FLAG_DOUBLE,
     .offset = AT(temperature),
     .fmax = 2,
     .fallback = "1",
     .arg = "X",
     .help = "0 .. 2; 0 is greedy"},
    {.name = "top-k",
     .type = FLAG_U32,
     .offset = AT(top_k),
     .max = INT32_MAX,
     .fallback = "0",
     .arg = "N",
     .help = "draw from the N likeliest; 0: off"},
    {.name = "top-p",
     .type = FLAG_DOUBLE,
     .offset = AT(top_p),
     .fmin = ABOVE_ZERO,
     .fmax = 1,
     .fallback = "1",
     .arg = "X",
     .help = "draw from the likeliest that sum to X; 1: off"},
    {.name = "min-p",
     .type = FLAG_DOUBLE,
     .offset = AT(min_p),
     .fmax = 1,
     .fallback = "0",
     .arg = "X",
     .help = "drop what is below X of the likeliest; 0: off"},
    {.name = "repetition-penalty",
     .type = FLAG_DOUBLE,
     .offset = AT(repetition_penalty),
     .fmin = ABOVE_ZERO,
     .fmax = 10,
     .fallback = "1",
     .arg = "X",
     .help = "on tokens already there; 1: off"},
    {.name = "seed",
     .type = FLAG_U64,
     .offset = AT(seed),
     .max = INT64_MAX,
     .arg = "N",
     .help = "same seed, same text (random)"},
    {.name = "stop",
     .type = FLAG_STRING,
     .offset = AT(stop),
     .arg = "TEXT",
     .help = "end before this text; may be given up to 16 times"},
    {.name = "ignore-eos",
     .type = FLAG_BOOL,
     .offset = AT(ignore_eos),
     .help = "never draw an end token"},
    SESSION_FLAG_PRECISION,
    SESSION_FLAG_KV,
    SESSION_FLAG_THREADS,
    {.name = "ctx",
     .type = FLAG_U32,
     .offset = AT(ctx),
     .max = LIMIT_CONTEXT,
     .fallback = "0",
     .arg = "N",
     .help = "longest prompt and answer; 0: the model's own"},
    {.name = "json",
     .type = FLAG_BOOL,
     .offset = AT(json),
     .help = "the body that /v1/generate would return"},
};

static const struct flag_table TABLE = {
    .usage = "octet generate --model FILE --prompt TEXT [options]",
    .about = "Complete a text; it appears on stdout as it comes.",
    .flags = FLAGS,
    .n_flags = sizeof(FLAGS) / sizeof(FLAGS[0]),
};

/* Everything of one completion. */
struct generation {
    const struct values *values;
    struct session session;
    const char *stops[LIMIT_STOP_STRINGS];
    size_t n_stops;
    uint64_t seed;

    int32_t *ids; /* of the prompt */
    size_t n_ids;
    uint32_t max_tokens; /* settled */

    uint32_t seq;
    struct sampler *sampler;
    struct detok *detok;
    struct buf text; /* kept for --json */
    uint32_t n_made;
    enum finish_reason finish;
    enum stop_kind stop_kind;
    int stop_index;
    int32_t stop_token;
    double start_s, first_s, end_s;
};

/* The flag parser keeps the last --stop; here are all of them, in order. argv has been parsed
 * before, so it is well-formed. */
static int collect_stops(struct generation *g, int argc, char *const *argv, struct error *err)
{
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
        const char *arg = argv[i], *equals = strchr(arg, '='), *text;
        char name[64] = {0};
        const struct flag *flag;

        if (strncmp(arg, "--", 2) != 0)
            continue;
        memcpy(name, arg + 2, equals ? (size_t)(equals - arg) - 2 : strlen(arg) - 2);
        flag = flags_find(&TABLE, name, FLAGS_DASHES);
        text = equals ? equals + 1 : flag->type == FLAG_BOOL ? NULL : argv[++i];
        if (strcmp(name, "stop") != 0)
            continue;
        if (g->n_stops == LIMIT_STOP_STRINGS)
            return error_set(err, ST_INVALID, "--stop: more than %u given: leave some out",
                             LIMIT_STOP_STRINGS);
        if (strlen(text) > LIMIT_STOP_BYTES)
            return error_set(err, ST_INVALID, "--stop: \"%.32s...\" is longer than %u bytes", text,
                             LIMIT_STOP_BYTES);
        g->stops[g->n_stops++] = text;
    }
    return ST_OK;
}

static int random_bytes(void *out, size_t len, struct error *err)
{
    if (getrandom(out, len, 0) == (ssize_t)len)
        return ST_OK;
    return error_set(err, ST_IO, "no random numbers: %s", strerror(errno));
}

static int read_prompt(struct generation *g, struct error *err)
{
    const char *prompt = g->values->prompt;
    char *from_stdin = NULL;
    size_t len = strlen(prompt), most;
    uint32_t ctx = runner_info(g->session.runner)->n_ctx;
    int r;

    if (strcmp(prompt, "-") == 0) {
        r = cli_read("-", &from_stdin, &len, err);
        if (r != ST_OK)
            return r;
        prompt = from_stdin;
    }
    most = model_max_text_bytes(g->session.model, ctx);
    if (len > most)
        r = error_set(err, ST_TOOLONG, "--prompt: %zu bytes can't fit a context of %u tokens", len,
                      ctx);
    else
        r = model_tokenize(g->session.model, prompt, len, MODEL_TEXT_BOS_AUTO | MODEL_TEXT_SPECIAL,
                           &g->ids, &g->n_ids, err);
    free(from_stdin);
    if (r == ST_OK && g->n_ids == 0)
        r = error_set(err, ST_INVALID, "--prompt: is empty: give it at least one character");
    return r;
}

/* The wire's rule: what was asked for must fit; what was not asked for is cut to the room left. */
static int settle_max_tokens(struct generation *g, struct error *err)
{
    size_t ctx = runner_info(g->session.runner)->n_ctx, asked = g->values->max_tokens, room;

    if (g->n_ids + (asked ? asked : 1) > ctx)
        return error_set(
            err, ST_TOOLONG,
            "--prompt has %zu tokens and --max-tokens asks for %zu more: the context holds %zu",
            g->n_ids, asked ? asked : 1, ctx);
    room = ctx - g->n_ids;
    if (!asked)
        asked = room < DEFAULT_MAX_TOKENS ? room : DEFAULT_MAX_TOKENS;
    g->max_tokens = (uint32_t)asked;
    return ST_OK;
}

static int open_sampler(struct generation *g)
{
    const struct values *v = g->values;
    struct sampler_opts opts = {
        .temperature = (float)v->temperature,
        .top_k = v->top_k,
        .top_p = (float)v->top_p,
        .min_p = (float)v->min_p,
        .repetition_penalty = (float)v->repetition_penalty,
        .seed = g->seed,
        .ban_end = v->ignore_eos,
    };
    int r = sampler_open(g->session.model, &opts, &g->sampler);

    for (size_t i = 0; i < g->n_ids && r == ST_OK; i++)
        r = sampler_accept(g->sampler, g->ids[i]);
    return r;
}

static int prepare(struct generation *g, struct error *err)
{
    const struct values *v = g->values;
    struct runner_opts opts = {.n_ctx = v->ctx, .max_seqs = 1, .max_rows = STEP_ROWS};
    int r = session_open(&g->session, v->session.model, (enum model_precision)v->session.precision,
                         err);

    if (r == ST_OK && v->ctx > model_info(g->session.model)->n_ctx_train)
        r = error_set(err, ST_INVALID, "--ctx: %u is beyond the model's own context, %u tokens",
                      v->ctx, model_info(g->session.model)->n_ctx_train);
    if (r == ST_OK)
        r = session_run(&g->session, &v->session, &opts, err);
    if (r == ST_OK)
        r = read_prompt(g, err);
    if (r == ST_OK)
        r = settle_max_tokens(g, err);
    if (r == ST_OK)
        r = open_sampler(g);
    if (r == ST_OK)
        r = detok_open(g->session.model, g->stops, g->n_stops, &g->detok);
    if (r == ST_OK)
        r = runner_seq_new(g->session.runner, &g->seq);
    if (r == ST_OK)
        r = runner_seq_reserve(g->session.runner, g->seq, (uint32_t)g->n_ids + g->max_tokens);
    return r;
}

/* Text to stdout at once, or aside for --json. */
static int put_text(struct generation *g, const char *text, size_t len, struct error *err)
{
    if (len == 0)
        return ST_OK;
    if (g->values->json)
        return buf_put(&g->text, text, len);
    fwrite(text, 1, len, stdout);
    if (fflush(stdout) == 0)
        return ST_OK;
    return error_set(err, ST_IO, "stdout cannot be written: %s", strerror(errno));
}

/* Run the prompt; *ret_row is the row of the last step that holds its logits. */
static int prefill(struct generation *g, size_t *ret_row)
{
    struct batch_row rows[STEP_ROWS];
    size_t done = 0, n = 0;

    while (done < g->n_ids) {
        for (n = 0; n < STEP_ROWS && done < g->n_ids; n++, done++)
            rows[n] =
                (struct batch_row){g->ids[done], g->seq, (uint32_t)done, done + 1 == g->n_ids};
        int r = runner_step(g->session.runner, rows, n);
        if (r != ST_OK)
            return r;
    }
    *ret_row = n - 1;
    return ST_OK;
}

/* Draw from the logits of that row, show what the token gives; *ret_go_on is false at the end. */
static int draw(struct generation *g, size_t row, int32_t *ret_id, bool *ret_go_on,
                struct error *err)
{
    struct sample_job job = {.sampler = g->sampler,
                             .logits = runner_logits(g->session.runner, row)};
    const char *text;
    size_t len;
    int stop = -1, r;

    runner_sample(g->session.runner, &job, 1);
    if (job.status != ST_OK)
        return job.status;
    *ret_id = job.id[0];
    *ret_go_on = false;
    if (g->n_made++ == 0)
        g->first_s = cli_now_s();
    if (model_is_end(g->session.model, job.id[0])) {
        g->finish = FINISH_STOP;
        g->stop_kind = STOP_TOKEN;
        g->stop_token = job.id[0];
    } else {
        r = detok_push(g->detok, job.id[0], &text, &len, &stop);
        if (r == ST_OK)
            r = put_text(g, text, len, err);
        if (r != ST_OK)
            return r;
        if (stop >= 0) {
            g->finish = FINISH_STOP;
            g->stop_kind = STOP_STRING;
            g->stop_index = stop;
            return ST_OK;
        }
        if (g->n_made < g->max_tokens) {
            *ret_go_on = true;
            return ST_OK;
        }
        g->finish = FINISH_LENGTH;
    }
    r = detok_finish(g->detok, &text, &len);
    return r == ST_OK ? put_text(g, text, len, err) : r;
}

static int generate(struct generation *g, struct error *err)
{
    bool go_on = true;
    int32_t id = 0;
    size_t row = 0;
    int r;

    g->start_s = cli_now_s();
    r = prefill(g, &row);
    while (r == ST_OK) {
        r = draw(g, row, &id, &go_on, err);
        if (r != ST_OK || !go_on)
            break;
        uint32_t pos = (uint32_t)g->n_ids + g->n_made - 1;
        r = runner_step(g->session.runner, &(struct batch_row){id, g->seq, pos, true}, 1);
        row = 0;
    }
    g->end_s = cli_now_s();
    return r;
}

static int print_json(struct generation *g, struct error *err)
{
    struct generate_result result = {
        .created = (int64_t)time(NULL),
        .model = model_info(g->session.model)->name,
        .text = g->text.len ? g->text.data : "",
        .text_len = g->text.len,
        .seed = g->seed,
        .finish = g->finish,
        .stop_kind = g->stop_kind,
        .stop_string = g->stop_kind == STOP_STRING ? g->stops[g->stop_index] : NULL,
        .stop_token = g->stop_token,
        .prompt_tokens = g->n_ids,
        .completion_tokens = g->n_made,
        .timings = {.prefill_ms = (g->first_s - g->start_s) * 1e3,
                    .decode_ms = (g->end_s - g->first_s) * 1e3,
                    .ttft_ms = (g->first_s - g->start_s) * 1e3,
                    .total_ms = (g->end_s - g->start_s) * 1e3},
    };
    uint64_t random[2];
    char id[48];
    struct buf out;
    int r = random_bytes(random, sizeof(random), err);

    if (r != ST_OK)
        return r;
    snprintf(id, sizeof(id), "gen-%016llx%016llx", (unsigned long long)random[0],
             (unsigned long long)random[1]);
    result.id = id;
    buf_init(&out, ANSWER_MAX_BYTES);
    r = render_generate(&out, &result);
    if (r == ST_OK) {
        fwrite(out.data, 1, out.len, stdout);
        fputc('\n', stdout);
    }
    buf_done(&out);
    return r;
}

static void generation_done(struct generation *g)
{
    buf_done(&g->text);
    detok_free(g->detok);
    sampler_free(g->sampler);
    free(g->ids);
    session_done(&g->session);
}

int cmd_generate(int argc, char *const *argv)
{
    struct values values = {.session = {.kv = KV_BY_PRECISION}};
    struct generation g = {.values = &values};
    struct flags_result given;
    struct error err = {{0}};
    int r, ended;

    ended = cli_parse(&TABLE, argc, argv, &values, &given);
    if (ended != CLI_GO_ON)
        return ended;
    if (collect_stops(&g, argc, argv, &err) != ST_OK)
        return cli_usage(&err);
    buf_init(&g.text, ANSWER_MAX_BYTES);
    g.seed = values.seed;
    r = ST_OK;
    if (!flags_seen(&TABLE, &given, "seed")) {
        r = random_bytes(&g.seed, sizeof(g.seed), &err);
        g.seed >>= 64 - SEED_BITS;
    }
    if (r == ST_OK)
        r = prepare(&g, &err);
    if (r == ST_OK)
        r = generate(&g, &err);
    if (r == ST_OK && values.json)
        r = print_json(&g, &err);
    else if (r == ST_OK && isatty(STDOUT_FILENO))
        putchar('\n'); /* the text alone goes into a file or pipe */
    generation_done(&g);
    return r == ST_OK ? cli_finish() : cli_failed(r, &err);
}
