/* What a report makes of a sweep's lines, by sums of small numbers. */
#include "tools/report.h"
#include "tools/report_draw.h"
#include "unit/suite.h"

static json_t *lines(void)
{
    return json_loads(
        "[{\"octet_sweep\": 1},"
        "{\"unit\": \"kv\", \"choice\": \"int8\", \"weights\": 0, \"bytes\": 0, \"kld\": 0.5},"
        "{\"unit\": \"a\", \"choice\": \"int8\", \"weights\": 9, \"bytes\": 10, \"kld\": 1},"
        "{\"unit\": \"a\", \"choice\": \"int4\", \"weights\": 9, \"bytes\": 5, \"kld\": 8},"
        "{\"unit\": \"b\", \"choice\": \"int8\", \"weights\": 9, \"bytes\": 20, \"kld\": 2},"
        "{\"unit\": \"b\", \"choice\": \"int4\", \"weights\": 9, \"bytes\": 10, \"kld\": 16},"
        "{\"unit\": \"b\", \"choice\": \"f16\", \"weights\": 9, \"bytes\": 36, \"kld\": 0},"
        "{\"plan\": {\"default\": \"int8\", \"modules\": {\"x\": \"int4\"}}, \"bytes\": 20, "
        "\"file_bytes\": 120, \"kld_predicted\": 17.5, \"kld\": 17},"
        "{\"plan\": {\"default\": \"int4\", \"modules\": {}}, \"bytes\": 15, "
        "\"file_bytes\": 115, \"kld_predicted\": 24.5, \"kld\": null}]",
        0, NULL);
}

START_TEST(units_are_those_of_the_lines)
{
    json_t *all = lines(), *units = report_units(all);

    ck_assert_uint_eq(json_array_size(units), 6);
    ck_assert_str_eq(report_text(json_array_get(units, 2), "unit"), "a");
    ck_assert_str_eq(report_text(json_array_get(units, 2), "choice"), "int4");
    ck_assert_double_eq(report_number(json_array_get(units, 2), "kld"), 8);
    json_decref(units);
    json_decref(all);
}
END_TEST

static void check_plan(const json_t *plan, const char *name, double bytes, double predicted)
{
    ck_assert_str_eq(report_text(plan, "plan"), name);
    ck_assert_double_eq(report_number(plan, "bytes"), bytes);
    ck_assert_double_eq(report_number(plan, "predicted"), predicted);
}

START_TEST(one_choice_for_all_is_a_sum_and_the_cache_loses_beside_it)
{
    json_t *all = lines(), *plans = report_plans(all, 120);

    ck_assert_uint_eq(json_array_size(plans), 4);
    check_plan(json_array_get(plans, 0), "int8", 30, 3.5);
    check_plan(json_array_get(plans, 1), "int4", 15, 24.5);
    check_plan(json_array_get(plans, 2), "int8, 1 modules otherwise", 20, 17.5);
    check_plan(json_array_get(plans, 3), "int4, 0 modules otherwise", 15, 24.5);
    ck_assert(!json_object_get(json_array_get(plans, 0), "kld"));
    ck_assert_double_eq(report_number(json_array_get(plans, 2), "kld"), 17);
    ck_assert(json_is_true(json_object_get(json_array_get(plans, 2), "chosen")));
    ck_assert(!json_object_get(json_array_get(plans, 3), "chosen"));
    json_decref(plans);
    json_decref(all);
}
END_TEST

START_TEST(no_lines_are_no_plans)
{
    json_t *none = json_array(), *units = report_units(none), *plans = report_plans(none, 0);

    ck_assert_uint_eq(json_array_size(units) + json_array_size(plans), 0);
    json_decref(plans);
    json_decref(units);
    json_decref(none);
}
END_TEST

RUN_SUITE("report_sweep", units_are_those_of_the_lines,
          one_choice_for_all_is_a_sum_and_the_cache_loses_beside_it, no_lines_are_no_plans)
