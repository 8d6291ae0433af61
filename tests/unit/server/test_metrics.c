#include <check.h>
#include <stdio.h>
#include <string.h>

#include "config/status.h"
#include "server/metrics.h"
#include "unit/suite.h"

static struct metrics metrics;
static struct buf page;

static void setup(void)
{
    memset(&metrics, 0, sizeof(metrics));
    buf_init(&page, 1 << 20);
}

static void teardown(void)
{
    buf_done(&page);
}

static void render(void)
{
    struct metrics_build build = {.kernels = "generic", .model = "a\"b\\c\nd"};

    buf_reset(&page);
    ck_assert_int_eq(metrics_render(&metrics, &build, &page), ST_OK);
}

static void has(const char *line)
{
    char want[256];

    snprintf(want, sizeof(want), "\n%s\n", line);
    ck_assert_msg(strstr(page.data, want) != NULL, "not on the page: %s", line);
}

START_TEST(test_counters_and_gauges)
{
    setup();
    metrics_add(&metrics, COUNT_ACCEPTED, 3);
    metrics_set(&metrics, GAUGE_RUNNING, 7);
    metrics_set(&metrics, GAUGE_RUNNING, 2);
    metrics_failed(&metrics, API_DEADLINE);
    metrics_refused(&metrics, API_QUEUE_FULL);
    metrics_refused(&metrics, API_QUEUE_FULL);
    metrics_finished(&metrics, FINISH_LENGTH);
    render();
    has("octet_requests_accepted_total 3");
    has("octet_requests_running 2");
    has("octet_requests_failed_total{reason=\"deadline_exceeded\"} 1");
    has("octet_requests_refused_total{reason=\"queue_full\"} 2");
    has("octet_requests_finished_total{finish_reason=\"length\"} 1");
    has("octet_requests_finished_total{finish_reason=\"stop\"} 0");
    teardown();
}
END_TEST

START_TEST(test_quality_is_there_only_if_recorded)
{
    struct quality quality = {.kld_mean = 0.0028125, .same_top = 0.9575, .ppl_ratio = 1.0025};
    struct metrics_build build = {.quality = &quality};

    setup();
    render();
    ck_assert_ptr_null(strstr(page.data, "quality"));
    buf_reset(&page);
    ck_assert_int_eq(metrics_render(&metrics, &build, &page), ST_OK);
    has("octet_model_quality_kld_mean 0.0028125");
    has("octet_model_quality_same_top 0.9575");
    has("octet_model_quality_ppl_ratio 1.0025");
    has("# TYPE octet_model_quality_kld_mean gauge");
    teardown();
}
END_TEST

START_TEST(test_buckets_are_cumulative_and_their_bounds_inclusive)
{
    setup();
    metrics_observe(&metrics, LATENCY_FIRST_TOKEN, 1000);
    metrics_observe(&metrics, LATENCY_FIRST_TOKEN, 1001);
    metrics_observe(&metrics, LATENCY_FIRST_TOKEN, 3000000000u);
    render();
    has("octet_time_to_first_token_seconds_bucket{le=\"0.001\"} 1");
    has("octet_time_to_first_token_seconds_bucket{le=\"0.005\"} 2");
    has("octet_time_to_first_token_seconds_bucket{le=\"2560\"} 2");
    has("octet_time_to_first_token_seconds_bucket{le=\"+Inf\"} 3");
    has("octet_time_to_first_token_seconds_count 3");
    has("octet_time_to_first_token_seconds_sum 3000.002001");
    teardown();
}
END_TEST

START_TEST(test_stages_have_their_names)
{
    setup();
    metrics_stage(&metrics, STAGE_QUEUE, 20000);
    render();
    has("octet_stage_seconds_bucket{stage=\"queue\",le=\"0.01\"} 0");
    has("octet_stage_seconds_bucket{stage=\"queue\",le=\"0.025\"} 1");
    has("octet_stage_seconds_sum{stage=\"queue\"} 0.020000");
    has("octet_stage_seconds_count{stage=\"forward\"} 0");
    teardown();
}
END_TEST

START_TEST(test_labels_are_escaped)
{
    setup();
    render();
    ck_assert_ptr_nonnull(strstr(page.data, "model=\"a\\\"b\\\\c\\nd\"} 1\n"));
    ck_assert_ptr_nonnull(strstr(page.data, "kernels=\"generic\""));
    teardown();
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {test_counters_and_gauges,
                                  test_quality_is_there_only_if_recorded,
                                  test_buckets_are_cumulative_and_their_bounds_inclusive,
                                  test_stages_have_their_names,
                                  test_labels_are_escaped,
                                  NULL};

    return suite_run("metrics", tests, 10);
}
