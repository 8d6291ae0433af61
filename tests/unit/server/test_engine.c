/* The engine over the fake model: requests in, events out, stages in order. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config/status.h"
#include "server/clock.h"
#include "server/engine.h"
#include "server/prompt.h"
#include "unit/suite.h"

static struct engine *engine;
static struct metrics metrics;

static void start_with(struct batch_opts batch)
{
    struct engine_opts opts = {.model = {.path = "fake"}, .batch = batch, .metrics = &metrics};
    struct error err;
    struct mail *mail;

    memset(&metrics, 0, sizeof(metrics));
    ck_assert_int_eq(engine_start(&opts, &engine, &err), ST_OK);
    while ((mail = queue_take(engine_outbox(engine))) == NULL)
        usleep(100);
    ck_assert_int_eq(((struct event *)mail)->kind, EVENT_LOADED);
    ck_assert_int_eq(engine_loaded(engine, &err), ST_OK);
}

static void start(uint32_t max_seqs)
{
    start_with(
        (struct batch_opts){.runner = {.max_seqs = max_seqs, .threads = 1}, .prefix_cache = true});
}

static void stop(void)
{
    engine_stop(engine);
    engine_free(engine);
    engine = NULL;
    clearenv();
}

/* As generate.c does it, without sockets and workers. */
static struct request *prepare(const char *json)
{
    struct request *request = request_new(clock_us());
    uint64_t now = clock_us();

    ck_assert_int_eq(parse_generate(json, strlen(json), &request->ask, &request->error), ST_OK);
    request->accepted = true;
    if (request->ask.has_seed)
        request->seed = request->ask.seed;
    request->queued_us = now;
    request->deadline_us =
        request->ask.timeout_ms ? now + (uint64_t)request->ask.timeout_ms * 1000 : 0;
    for (int s = STAGE_ROUTE; s <= STAGE_TOKENIZE; s++)
        request_move(request, (enum stage)s, now);
    ck_assert_int_eq(prompt_prepare(request, engine_model(engine), engine_info(engine)->n_ctx),
                     ST_OK);
    request_move(request, STAGE_ADMIT, now);
    return request;
}

static struct request *submit(const char *json)
{
    struct request *request = prepare(json);

    engine_submit(engine, request);
    return request;
}

struct seen {
    char text[8192];
    size_t len;
    unsigned n_admitted, n_text, n_home;
};

/* Take events until n requests are home; text of all streams in one. */
static void collect(unsigned n, struct seen *seen)
{
    while (seen->n_home < n) {
        struct mail *mail = queue_take(engine_outbox(engine)), *next;
        if (!mail)
            usleep(100);
        for (; mail; mail = next) {
            struct event *event = (struct event *)mail;
            next = mail->next;
            seen->n_admitted += event->kind == EVENT_ADMITTED;
            seen->n_home += event->kind == EVENT_HOME;
            if (event->kind != EVENT_TEXT)
                continue;
            seen->n_text++;
            ck_assert_uint_lt(seen->len + event->len, sizeof(seen->text));
            memcpy(seen->text + seen->len, event->text, event->len);
            seen->len += event->len;
            free(event);
        }
    }
}

START_TEST(test_one_request_walks_the_whole_path)
{
    struct seen seen = {0};

    start(4);
    struct request *request = submit("{\"prompt\":\"hello\",\"max_tokens\":5,\"temperature\":0}");
    collect(1, &seen);
    ck_assert_int_eq(request->owner, OWNER_LOOP);
    ck_assert_int_eq(request->stage, STAGE_STREAM);
    request_close(request, 200, true, &metrics);
    ck_assert_int_eq(request->stage, STAGE_DONE);
    for (unsigned i = 0; i <= STAGE_DONE; i++)
        ck_assert(request->stages_seen & 1u << i);
    ck_assert(!(request->stages_seen & (1u << STAGE_FAILED | 1u << STAGE_CANCELLED)));
    ck_assert_uint_eq(request->text.len, 5);
    ck_assert_uint_eq(request->n_made, 5);
    ck_assert_uint_eq(seen.n_admitted, 1);
    ck_assert_uint_eq(seen.n_text, 0); /* not a stream */
    ck_assert(request->queued_us <= request->admitted_us &&
              request->admitted_us <= request->first_us);
    ck_assert(request->first_us <= request->last_us && request->last_us <= request->ended_us);
    request_free(request);
    stop();
}
END_TEST

START_TEST(test_a_stream_is_an_event_a_token)
{
    struct seen whole = {0}, streamed = {0};

    start(4);
    struct request *a = submit("{\"prompt\":\"hello\",\"max_tokens\":9,\"temperature\":0}");
    collect(1, &whole);
    struct request *b =
        submit("{\"prompt\":\"hello\",\"max_tokens\":9,\"temperature\":0,\"stream\":true}");
    collect(1, &streamed);
    ck_assert_uint_eq(streamed.n_text, 9);
    ck_assert_str_eq(streamed.text, a->text.data);
    ck_assert_uint_eq(b->text.len, 0);
    request_close(a, 200, true, &metrics);
    request_close(b, 200, true, &metrics);
    request_free(a);
    request_free(b);
    stop();
}
END_TEST

START_TEST(test_a_cancelled_one_comes_home_soon)
{
    struct seen seen = {0};

    setenv("FAKE_STEP_US", "1000", 1);
    start(1);
    struct request *runs = submit("{\"prompt\":\"a\",\"max_tokens\":8000}");
    struct request *waits = submit("{\"prompt\":\"b\",\"max_tokens\":8000}");
    atomic_store(&waits->cancelled, true);
    collect(1, &seen);
    ck_assert_int_eq(waits->outcome, OUTCOME_CANCELLED);
    ck_assert_int_eq(waits->owner, OWNER_LOOP);
    atomic_store(&runs->cancelled, true);
    collect(2, &seen);
    ck_assert_int_eq(runs->outcome, OUTCOME_CANCELLED);
    ck_assert_uint_lt(runs->n_made, 8000);
    request_close(runs, 0, true, &metrics);
    request_close(waits, 0, true, &metrics);
    ck_assert_uint_eq(atomic_load(&metrics.counters[COUNT_CANCELLED]), 2);
    ck_assert_uint_eq(atomic_load(&metrics.gauges[GAUGE_KV_PAGES_USED]), 0);
    request_free(runs);
    request_free(waits);
    stop();
}
END_TEST

START_TEST(test_deadline_before_and_after_the_first_token)
{
    struct seen seen = {0};

    setenv("FAKE_STEP_US", "20000", 1);
    start(1);
    struct request *runs = submit("{\"prompt\":\"a\",\"max_tokens\":8000,\"timeout_ms\":200}");
    struct request *waits = submit("{\"prompt\":\"b\",\"max_tokens\":8000,\"timeout_ms\":100}");
    collect(2, &seen);
    ck_assert_int_eq(runs->outcome, OUTCOME_FINISHED);
    ck_assert_int_eq(runs->finish, FINISH_DEADLINE);
    ck_assert_uint_eq(runs->text.len, runs->n_made);
    ck_assert_int_eq(waits->outcome, OUTCOME_FAILED);
    ck_assert_int_eq(waits->error.http_status, 504);
    request_close(runs, 200, true, &metrics);
    request_close(waits, 504, true, &metrics);
    request_free(runs);
    request_free(waits);
    stop();
}
END_TEST

START_TEST(test_the_cut_ends_what_began_and_refuses_the_rest)
{
    struct seen seen = {0};

    setenv("FAKE_STEP_US", "5000", 1);
    start(1);
    struct request *runs = submit("{\"prompt\":\"a\",\"max_tokens\":8000,\"stream\":true}");
    struct request *waits = submit("{\"prompt\":\"b\",\"max_tokens\":8000}");
    while (seen.n_text == 0) {
        struct mail *mail = queue_take(engine_outbox(engine)), *next;
        for (; mail; mail = next) {
            struct event *event = (struct event *)mail;
            next = mail->next;
            if (event->kind != EVENT_TEXT)
                continue;
            seen.n_text++;
            free(event);
        }
    }
    engine_cut(engine);
    collect(2, &seen);
    ck_assert_int_eq(runs->finish, FINISH_DEADLINE);
    ck_assert_int_eq(waits->outcome, OUTCOME_FAILED);
    ck_assert_int_eq(waits->error.http_status, 503);
    request_close(runs, 200, true, &metrics);
    request_close(waits, 503, true, &metrics);
    request_free(runs);
    request_free(waits);
    stop();
}
END_TEST

/* Too few pages: they are preempted and recomputed, and say what they say alone. */
START_TEST(test_preempted_ones_emit_every_token_once)
{
    enum { N = 6 };
    struct request *requests[N];
    char alone[N][256];
    struct seen seen = {0};

    start(1);
    for (unsigned i = 0; i < N; i++) {
        char json[128];
        snprintf(json, sizeof(json), "{\"prompt\":\"request %u\",\"max_tokens\":100,\"seed\":%u}",
                 i, i);
        requests[i] = submit(json);
        collect(i + 1, &seen);
        snprintf(alone[i], sizeof(alone[i]), "%s", requests[i]->text.data);
        request_close(requests[i], 200, true, &metrics);
        request_free(requests[i]);
    }
    engine_stop(engine);
    engine_free(engine);
    setenv("FAKE_PAGES", "12", 1);
    setenv("FAKE_CTX", "192", 1);
    start(N);
    memset(&seen, 0, sizeof(seen));
    for (unsigned i = 0; i < N; i++) {
        char json[128];
        snprintf(json, sizeof(json), "{\"prompt\":\"request %u\",\"max_tokens\":100,\"seed\":%u}",
                 i, i);
        requests[i] = submit(json);
    }
    collect(N, &seen);
    ck_assert_uint_eq(seen.n_admitted, N); /* said once each, however often they come back */
    for (unsigned i = 0; i < N; i++) {
        ck_assert_str_eq(requests[i]->text.data, alone[i]);
        request_close(requests[i], 200, true, &metrics);
        request_free(requests[i]);
    }
    ck_assert_uint_gt(atomic_load(&metrics.counters[COUNT_PREEMPTIONS]), 0);
    ck_assert_uint_eq(atomic_load(&metrics.counters[COUNT_GENERATION_TOKENS]), N * 100);
    stop();
}
END_TEST

static uint64_t counter(enum counter which)
{
    return atomic_load(&metrics.counters[which]);
}

static uint64_t observations(enum latency which)
{
    uint64_t n = 0;

    for (unsigned i = 0; i <= HISTOGRAM_MAX; i++)
        n += atomic_load(&metrics.latencies[which].count[i]);
    return n;
}

START_TEST(test_a_prompt_seen_before_is_not_computed_again)
{
    static const char json[] =
        "{\"prompt\":\"forty bytes that are more than two pages..\",\"max_tokens\":30,"
        "\"temperature\":0}";
    struct seen seen = {0};
    uint64_t rows;

    start(2);
    struct request *first = submit(json);
    collect(1, &seen);
    ck_assert_uint_eq(first->n_cached, 0);
    rows = counter(COUNT_STEP_ROWS);
    struct request *second = submit(json);
    collect(2, &seen);
    ck_assert_str_eq(second->text.data, first->text.data);
    ck_assert_uint_eq(second->n_cached, second->n_prompt - 1);
    ck_assert_uint_eq(counter(COUNT_STEP_ROWS) - rows, 30);
    ck_assert_uint_eq(counter(COUNT_PREFIX_QUERIES), 2 * first->n_prompt);
    ck_assert_uint_eq(counter(COUNT_PREFIX_HITS), second->n_cached);
    ck_assert_uint_gt(atomic_load(&metrics.gauges[GAUGE_PREFIX_PAGES]), 0);
    ck_assert_uint_eq(atomic_load(&metrics.gauges[GAUGE_KV_PAGES_USED]), 0);
    request_close(first, 200, true, &metrics);
    request_close(second, 200, true, &metrics);
    request_free(first);
    request_free(second);
    stop();
}
END_TEST

/* While the first still runs, its whole pages are there already. */
START_TEST(test_a_prompt_is_found_while_its_request_runs)
{
    struct seen seen = {0};

    setenv("FAKE_STEP_US", "1000", 1);
    start(2);
    struct request *runs = submit("{\"prompt\":\"0123456789abcdef0123456789abcdef-a\","
                                  "\"max_tokens\":8000,\"stream\":true}");
    while (counter(COUNT_GENERATION_TOKENS) == 0)
        usleep(100);
    struct request *other =
        submit("{\"prompt\":\"0123456789abcdef0123456789abcdef-b\",\"max_tokens\":1}");
    while (counter(COUNT_PREFIX_QUERIES) < 2 * runs->n_prompt)
        usleep(100);
    atomic_store(&runs->cancelled, true);
    collect(2, &seen);
    ck_assert_uint_eq(other->n_cached, 32);
    request_close(runs, 0, true, &metrics);
    request_close(other, 200, true, &metrics);
    request_free(runs);
    request_free(other);
    stop();
}
END_TEST

START_TEST(test_tenants_do_not_find_each_others_prompts)
{
    static const char json[] = "{\"prompt\":\"the same words twice\",\"max_tokens\":1}";
    struct seen seen = {0};
    const uint64_t tenants[] = {0, 1, 0};
    const bool hit[] = {false, false, true};

    start(1);
    for (unsigned i = 0; i < 3; i++) {
        struct request *request = prepare(json);
        request->tenant = tenants[i];
        engine_submit(engine, request);
        collect(i + 1, &seen);
        ck_assert_int_eq(request->n_cached > 0, hit[i]);
        request_close(request, 200, true, &metrics);
        request_free(request);
    }
    stop();
}
END_TEST

/* ---- guesses ---- */

enum { N_ASKED = 5 };
static const char *const asked[N_ASKED] = {
    "{\"prompt\":\"tell me more and more and more\",\"max_tokens\":200,\"temperature\":0}",
    "{\"prompt\":\"a\",\"max_tokens\":1,\"temperature\":0}",
    "{\"prompt\":\"round and round\",\"max_tokens\":77,\"seed\":26,\"stream\":true}",
    "{\"prompt\":\"round and round\",\"max_tokens\":150,\"temperature\":0,\"ignore_eos\":true}",
    "{\"prompt\":\"until it ends\",\"max_tokens\":300,\"temperature\":0,\"stop\":[\"q\",\"zz\"]}",
};

static struct answer {
    char text[8192];
    uint32_t n_made;
    enum finish_reason finish;
} answers[2][N_ASKED];

/* All of them, at once or one after the other. */
static void ask_all(uint32_t draft_max, uint32_t max_seqs, struct answer *out)
{
    struct request *requests[N_ASKED];
    struct seen seen = {0};

    setenv("FAKE_STEP_US", "200", 1); /* rows cost nothing: guesses pay */
    setenv("FAKE_PERIOD", "5", 1);
    setenv("FAKE_EOS_EVERY", "400", 1);
    start_with((struct batch_opts){.runner = {.max_seqs = max_seqs, .threads = 1},
                                   .prefix_cache = true,
                                   .draft_max = draft_max});
    for (unsigned i = 0; i < N_ASKED; i++)
        requests[i] = submit(asked[i]);
    collect(N_ASKED, &seen);
    for (unsigned i = 0; i < N_ASKED; i++) {
        const char *text = requests[i]->ask.stream ? seen.text : requests[i]->text.data;
        snprintf(out[i].text, sizeof(out[i].text), "%s", text ? text : "");
        out[i].n_made = requests[i]->n_made;
        out[i].finish = requests[i]->finish;
        ck_assert_uint_le(requests[i]->n_accepted, requests[i]->n_drafted);
        request_close(requests[i], 200, true, &metrics);
        request_free(requests[i]);
    }
    ck_assert_uint_eq(seen.n_text, out[2].n_made - (out[2].finish == FINISH_STOP));
    ck_assert_uint_eq(atomic_load(&metrics.gauges[GAUGE_KV_PAGES_USED]), 0);
    stop();
}

START_TEST(test_guesses_change_nothing_but_the_steps)
{
    for (uint32_t max_seqs = 1; max_seqs <= N_ASKED; max_seqs += 2) {
        ask_all(0, max_seqs, answers[0]);
        ck_assert_uint_eq(counter(COUNT_DRAFT_TOKENS), 0);
        uint64_t steps = counter(COUNT_STEPS), tokens = counter(COUNT_GENERATION_TOKENS);
        ask_all(15, max_seqs, answers[1]);
        ck_assert_uint_eq(counter(COUNT_GENERATION_TOKENS), tokens);
        ck_assert_uint_gt(counter(COUNT_ACCEPTED_TOKENS), tokens / 10);
        ck_assert_uint_lt(counter(COUNT_STEPS), steps);
        for (unsigned i = 0; i < N_ASKED; i++) {
            ck_assert_str_eq(answers[1][i].text, answers[0][i].text);
            ck_assert_uint_eq(answers[1][i].n_made, answers[0][i].n_made);
            ck_assert_int_eq(answers[1][i].finish, answers[0][i].finish);
        }
        /* A gap a token but the first of each, whatever they came in. */
        ck_assert_uint_eq(observations(LATENCY_INTER_TOKEN) + N_ASKED, tokens);
    }
}
END_TEST

START_TEST(test_guesses_under_pressure_for_pages)
{
    ask_all(0, 1, answers[0]);
    setenv("FAKE_PAGES", "20", 1);
    setenv("FAKE_CTX", "320", 1);
    ask_all(15, N_ASKED, answers[1]);
    ck_assert_uint_gt(counter(COUNT_PREEMPTIONS), 0);
    for (unsigned i = 0; i < N_ASKED; i++)
        ck_assert_str_eq(answers[1][i].text, answers[0][i].text);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {test_one_request_walks_the_whole_path,
                                  test_a_stream_is_an_event_a_token,
                                  test_a_cancelled_one_comes_home_soon,
                                  test_deadline_before_and_after_the_first_token,
                                  test_the_cut_ends_what_began_and_refuses_the_rest,
                                  test_preempted_ones_emit_every_token_once,
                                  test_a_prompt_seen_before_is_not_computed_again,
                                  test_a_prompt_is_found_while_its_request_runs,
                                  test_tenants_do_not_find_each_others_prompts,
                                  test_guesses_change_nothing_but_the_steps,
                                  test_guesses_under_pressure_for_pages,
                                  NULL};

    return suite_run("engine", tests, 60);
}
