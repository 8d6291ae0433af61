/* report_sweep.c - a sweep's lines as the report shows them: what each unit loses, and plans by bytes. */
#include <math.h>
#include <string.h>

#include "tools/report.h"
#include "tools/report_draw.h"

json_t *report_units(const json_t *lines)
{
    json_t *units = json_array(), *line;
    size_t i;

    json_array_foreach(lines, i, line)
    {
        if (*report_text(line, "unit"))
            json_array_append_new(units, json_pack("{s:s, s:s, s:O*, s:O*}", "unit",
                                                   report_text(line, "unit"), "choice",
                                                   report_text(line, "choice"), "bytes",
                                                   json_object_get(line, "bytes"), "kld",
                                                   json_object_get(line, "kld")));
    }
    return units;
}

static void add_up(json_t *sums, const json_t *unit)
{
    static const char *const fields[] = {"weights", "bytes", "kld"};
    const char *choice = report_text(unit, "choice");
    json_t *sum = json_object_get(sums, choice);

    if (!sum) {
        json_object_set_new(sums, choice, json_pack("{s:s}", "plan", choice));
        sum = json_object_get(sums, choice);
    }
    for (size_t i = 0; sum && i < sizeof(fields) / sizeof(fields[0]); i++)
        json_object_set_new(
            sum, fields[i],
            json_real(report_number(sum, fields[i]) + report_number(unit, fields[i])));
}

/* All units as one choice: bytes and losses summed up. The key/value cache, no unit of a plan, loses
 * beside any. A choice that not all units were swept for is none. */
static void put_sums(json_t *plans, const json_t *lines)
{
    json_t *sums = json_object(), *line;
    double kv = 0, whole = 0;
    const char *choice;
    size_t i;

    json_array_foreach(lines, i, line)
    {
        if (strcmp(report_text(line, "unit"), "kv") == 0)
            kv = report_number(line, "kld");
        else if (*report_text(line, "unit"))
            add_up(sums, line);
    }
    json_object_foreach(sums, choice, line) whole = fmax(whole, report_number(line, "weights"));
    json_object_foreach(sums, choice, line)
    {
        if (report_number(line, "weights") >= whole)
            json_array_append_new(plans, json_pack("{s:s, s:f, s:f}", "plan", choice, "bytes",
                                                   report_number(line, "bytes"), "predicted",
                                                   report_number(line, "kld") + kv));
    }
    json_decref(sums);
}

/* "int8-h64-g64, 12 modules otherwise" */
static json_t *describe(const json_t *plan)
{
    return json_sprintf("%s, %zu modules otherwise", report_text(plan, "default"),
                        json_object_size(json_object_get(plan, "modules")));
}

json_t *report_plans(const json_t *lines, uint64_t file_bytes)
{
    json_t *plans = json_array(), *line, *chosen = NULL;
    size_t i;

    put_sums(plans, lines);
    json_array_foreach(lines, i, line)
    {
        const json_t *plan = json_object_get(line, "plan");
        if (!plan)
            continue;
        json_t *shown =
            json_pack("{s:o, s:O*, s:O*, s:O*}", "plan", describe(plan), "bytes",
                      json_object_get(line, "bytes"), "predicted",
                      json_object_get(line, "kld_predicted"), "kld", json_object_get(line, "kld"));
        json_array_append_new(plans, shown);
        if (report_number(line, "file_bytes") >= (double)file_bytes &&
            report_number(line, "file_bytes") <= (double)file_bytes)
            chosen = shown;
    }
    if (chosen)
        json_object_set_new(chosen, "chosen", json_true());
    return plans;
}
