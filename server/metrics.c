#include "server/metrics.h"

#include <assert.h>
#include <stdio.h>

#include "server/process.h"

#define US_PER_S 1e6

struct metric_text {
    const char *name, *help;
};

static const struct metric_text counter_texts[N_COUNTERS] = {
    [COUNT_ACCEPTED] = {"octet_requests_accepted_total",
                        "Requests that got a place in the queue; each ends finished, cancelled or "
                        "failed."},
    [COUNT_CANCELLED] = {"octet_requests_cancelled_total",
                         "Accepted requests whose client left or stopped reading."},
    [COUNT_DISCONNECTS] = {"octet_client_disconnects_total",
                           "Connections that ended before their answer was complete."},
    [COUNT_SLOW_CLIENTS] = {"octet_slow_clients_total",
                            "Streams cut because their client stopped reading."},
    [COUNT_PROMPT_TOKENS] = {"octet_prompt_tokens_total", "Prompt tokens of admitted requests."},
    [COUNT_GENERATION_TOKENS] = {"octet_generation_tokens_total", "Tokens generated."},
    [COUNT_PREEMPTIONS] = {"octet_preemptions_total",
                           "Running sequences that gave their pages to an older one."},
    [COUNT_PREFIX_QUERIES] = {"octet_prefix_cache_queries_total",
                              "Prompt tokens looked up in the prefix cache."},
    [COUNT_PREFIX_HITS] = {"octet_prefix_cache_hits_total",
                           "Prompt tokens found in the prefix cache and not computed again."},
    [COUNT_PREFIX_EVICTED] = {"octet_prefix_cache_evicted_pages_total",
                              "Cached pages given up because their room was needed."},
    [COUNT_DRAFT_TOKENS] = {"octet_spec_decode_draft_tokens_total",
                            "Tokens guessed by prompt lookup and run."},
    [COUNT_ACCEPTED_TOKENS] = {"octet_spec_decode_accepted_tokens_total",
                               "Guessed tokens that were the ones drawn."},
    [COUNT_STEPS] = {"octet_engine_steps_total", "Steps of the engine."},
    [COUNT_STEP_ROWS] = {"octet_engine_rows_total",
                         "Rows computed; divided by steps, the mean batch."},
    [COUNT_HTTP_REQUESTS] = {"octet_http_requests_total", "HTTP requests whose headers arrived."},
    [COUNT_HTTP_TIMEOUTS] = {"octet_http_timeouts_total",
                             "Connections closed because headers or body came too slowly."},
};

static const struct metric_text gauge_texts[N_GAUGES] = {
    [GAUGE_READY] = {"octet_ready", "1 while new work is taken."},
    [GAUGE_WAITING] = {"octet_requests_waiting", "Requests that wait for a place in the batch."},
    [GAUGE_RUNNING] = {"octet_requests_running", "Sequences in the batch."},
    [GAUGE_KV_PAGES_USED] = {"octet_kv_pages_used",
                             "Key/value pages lent to sequences, shared ones counted once."},
    [GAUGE_KV_PAGES] = {"octet_kv_pages", "Key/value pages in all."},
    [GAUGE_PREFIX_PAGES] = {"octet_prefix_cache_pages",
                            "Key/value pages that a prompt can find, lent ones among them."},
    [GAUGE_CONNECTIONS] = {"octet_http_connections", "Open connections."},
};

/* Upper bounds in seconds; 0 ends a list. */
static const double bounds_first[HISTOGRAM_MAX] = {.001, .005, .01, .02, .04, .06, .08, .1,
                                                   .25,  .5,   .75, 1,   2.5, 5,   7.5, 10,
                                                   20,   40,   80,  160, 640, 2560};
static const double bounds_token[HISTOGRAM_MAX] = {.001, .0025, .005, .01, .025, .05, .075,
                                                   .1,   .15,   .2,   .3,  .4,   .5,  .75,
                                                   1,    2.5,   5,    7.5, 10,   20,  40};
static const double bounds_request[HISTOGRAM_MAX] = {.05, .1, .3, .5, .8, 1,  1.5, 2,   2.5, 5,  10,
                                                     15,  20, 30, 40, 50, 60, 120, 240, 480, 960};
static const double bounds_short[HISTOGRAM_MAX] = {.0001, .00025, .0005, .001, .0025, .005, .01,
                                                   .025,  .05,    .1,    .25,  .5,    1,    2.5,
                                                   5,     10,     30,    60,   300};

struct latency_text {
    const char *name, *help;
    const double *bounds;
};

static const struct latency_text latency_texts[N_LATENCIES] = {
    [LATENCY_FIRST_TOKEN] = {"octet_time_to_first_token_seconds",
                             "From the headers' arrival to the first token.", bounds_first},
    [LATENCY_INTER_TOKEN] = {"octet_inter_token_seconds", "Between two tokens of a request.",
                             bounds_token},
    [LATENCY_REQUEST] = {"octet_request_seconds",
                         "From the headers' arrival to the end of an accepted request.",
                         bounds_request},
    [LATENCY_STEP] = {"octet_engine_step_seconds", "One step of the engine.", bounds_short},
    [LATENCY_LOOP] = {"octet_loop_lag_seconds",
                      "How long one turn of the event loop kept the others waiting.", bounds_short},
};

void metrics_add(struct metrics *metrics, enum counter counter, uint64_t n)
{
    atomic_fetch_add_explicit(&metrics->counters[counter], n, memory_order_relaxed);
}

void metrics_set(struct metrics *metrics, enum gauge gauge, uint64_t value)
{
    atomic_store_explicit(&metrics->gauges[gauge], value, memory_order_relaxed);
}

static void observe(struct histogram *histogram, const double *bounds, uint64_t us)
{
    unsigned i = 0;

    while (i < HISTOGRAM_MAX && bounds[i] > 0 && (double)us > bounds[i] * US_PER_S)
        i++;
    if (i == HISTOGRAM_MAX || bounds[i] == 0)
        i = HISTOGRAM_MAX;
    atomic_fetch_add_explicit(&histogram->count[i], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&histogram->sum_us, us, memory_order_relaxed);
}

void metrics_observe(struct metrics *metrics, enum latency latency, uint64_t us)
{
    observe(&metrics->latencies[latency], latency_texts[latency].bounds, us);
}

void metrics_stage(struct metrics *metrics, enum stage stage, uint64_t us)
{
    observe(&metrics->stages[stage], bounds_short, us);
}

void metrics_finished(struct metrics *metrics, enum finish_reason reason)
{
    assert(reason < N_FINISH);
    atomic_fetch_add_explicit(&metrics->finished[reason], 1, memory_order_relaxed);
}

void metrics_failed(struct metrics *metrics, enum api_code code)
{
    atomic_fetch_add_explicit(&metrics->failed[code], 1, memory_order_relaxed);
}

void metrics_refused(struct metrics *metrics, enum api_code code)
{
    atomic_fetch_add_explicit(&metrics->refused[code], 1, memory_order_relaxed);
}

static unsigned long long load(const atomic_uint_fast64_t *value)
{
    return atomic_load_explicit(value, memory_order_relaxed);
}

static void head(struct buf *out, const char *name, const char *type, const char *help)
{
    buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

/* label: "" or `stage="queue"`. */
static void render_histogram(struct buf *out, const char *name, const char *label,
                             const struct histogram *histogram, const double *bounds)
{
    const char *comma = label[0] ? "," : "", *open = label[0] ? "{" : "",
               *close = label[0] ? "}" : "";
    unsigned long long below = 0;

    for (unsigned i = 0; i < HISTOGRAM_MAX && bounds[i] > 0; i++) {
        below += load(&histogram->count[i]);
        buf_printf(out, "%s_bucket{%s%sle=\"%g\"} %llu\n", name, label, comma, bounds[i], below);
    }
    below += load(&histogram->count[HISTOGRAM_MAX]);
    buf_printf(out, "%s_bucket{%s%sle=\"+Inf\"} %llu\n", name, label, comma, below);
    buf_printf(out, "%s_sum%s%s%s %.6f\n", name, open, label, close,
               (double)load(&histogram->sum_us) / US_PER_S);
    buf_printf(out, "%s_count%s%s%s %llu\n", name, open, label, close, below);
}

static void render_stages(struct buf *out, const struct metrics *metrics)
{
    head(out, "octet_stage_seconds", "histogram", "Time that a request spent in a stage, in all.");
    for (unsigned i = 0; i < N_STAGES; i++) {
        char label[40];
        if (stage_is_end((enum stage)i))
            continue;
        snprintf(label, sizeof(label), "stage=\"%s\"", stage_name((enum stage)i));
        render_histogram(out, "octet_stage_seconds", label, &metrics->stages[i], bounds_short);
    }
}

static void render_codes(struct buf *out, const char *name, const char *help,
                         const atomic_uint_fast64_t *counts)
{
    head(out, name, "counter", help);
    for (unsigned i = 0; i < API_N_CODES; i++)
        buf_printf(out, "%s{reason=\"%s\"} %llu\n", name, api_code_name((enum api_code)i),
                   load(&counts[i]));
}

static void render_finished(struct buf *out, const struct metrics *metrics)
{
    const char *name = "octet_requests_finished_total";

    head(out, name, "counter", "Accepted requests that were answered in full.");
    for (unsigned i = 0; i < N_FINISH; i++)
        buf_printf(out, "%s{finish_reason=\"%s\"} %llu\n", name,
                   finish_reason_name((enum finish_reason)i), load(&metrics->finished[i]));
}

/* A label's value: quote, backslash and line break escaped, as the text format asks. */
static void put_label(struct buf *out, const char *text)
{
    for (const char *s = text ? text : ""; *s; s++) {
        if (*s == '\n')
            buf_puts(out, "\\n");
        else if (*s == '"' || *s == '\\')
            buf_printf(out, "\\%c", *s);
        else
            buf_put(out, s, 1);
    }
}

static void render_build(struct buf *out, const struct metrics_build *build)
{
    const struct {
        const char *key, *value;
    } labels[] = {{"version", OCTET_VERSION},
                  {"kernels", build->kernels},
                  {"precision", build->precision},
                  {"kv", build->kv},
                  {"model", build->model}};

    head(out, "octet_build_info", "gauge", "What runs; always 1.");
    for (unsigned i = 0; i < sizeof(labels) / sizeof(labels[0]); i++) {
        buf_printf(out, "%s%s=\"", i == 0 ? "octet_build_info{" : ",", labels[i].key);
        put_label(out, labels[i].value);
        buf_puts(out, "\"");
    }
    buf_puts(out, "} 1\n");
}

/* The model's record of its quality, if it has one. */
static void render_quality(struct buf *out, const struct quality *quality)
{
    if (!quality)
        return;
    const struct {
        const char *name, *help;
        double value;
    } all[] = {
        {"octet_model_quality_kld_mean", "Recorded mean KL divergence from the source.",
         quality->kld_mean},
        {"octet_model_quality_same_top", "Recorded share of same top tokens.", quality->same_top},
        {"octet_model_quality_ppl_ratio", "Recorded perplexity by the source's.",
         quality->ppl_ratio},
    };

    for (unsigned i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        head(out, all[i].name, "gauge", all[i].help);
        buf_printf(out, "%s %.9g\n", all[i].name, all[i].value);
    }
}

static void render_process(struct buf *out)
{
    struct process_use use;

    process_read(&use);
    head(out, "process_resident_memory_bytes", "gauge", "Resident memory.");
    buf_printf(out, "process_resident_memory_bytes %llu\n", (unsigned long long)use.rss_bytes);
    head(out, "process_open_fds", "gauge", "Open file descriptors.");
    buf_printf(out, "process_open_fds %llu\n", (unsigned long long)use.open_fds);
    head(out, "process_max_fds", "gauge", "Most file descriptors that may be open.");
    buf_printf(out, "process_max_fds %llu\n", (unsigned long long)use.max_fds);
    head(out, "process_cpu_seconds_total", "counter", "CPU time of all threads.");
    buf_printf(out, "process_cpu_seconds_total %.3f\n", use.cpu_s);
    head(out, "process_start_time_seconds", "gauge", "Start, in seconds since the epoch.");
    buf_printf(out, "process_start_time_seconds %.2f\n", use.start_unix_s);
}

int metrics_render(const struct metrics *metrics, const struct metrics_build *build,
                   struct buf *out)
{
    render_build(out, build);
    render_quality(out, build->quality);
    for (unsigned i = 0; i < N_COUNTERS; i++) {
        head(out, counter_texts[i].name, "counter", counter_texts[i].help);
        buf_printf(out, "%s %llu\n", counter_texts[i].name, load(&metrics->counters[i]));
    }
    for (unsigned i = 0; i < N_GAUGES; i++) {
        head(out, gauge_texts[i].name, "gauge", gauge_texts[i].help);
        buf_printf(out, "%s %llu\n", gauge_texts[i].name, load(&metrics->gauges[i]));
    }
    render_finished(out, metrics);
    render_codes(out, "octet_requests_failed_total",
                 "Accepted requests that ended with an error, by its code.", metrics->failed);
    render_codes(out, "octet_requests_refused_total",
                 "Requests turned away before they got a place, by the error's code.",
                 metrics->refused);
    for (unsigned i = 0; i < N_LATENCIES; i++) {
        head(out, latency_texts[i].name, "histogram", latency_texts[i].help);
        render_histogram(out, latency_texts[i].name, "", &metrics->latencies[i],
                         latency_texts[i].bounds);
    }
    render_stages(out, metrics);
    render_process(out);
    return out->status;
}
