#include "config/log.h"

#include <jansson.h>
#include <math.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "unit/suite.h"

static json_t *line_of(int64_t ms, const char *event, const struct log_field *fields)
{
    char out[LOG_LINE_BYTES];
    size_t len = log_format(out, ms, LOG_WARN, event, fields);
    json_t *doc;

    ck_assert_uint_le(len, sizeof(out));
    ck_assert_int_eq(out[len - 1], '\n');
    ck_assert_ptr_eq(memchr(out, '\n', len), out + len - 1); /* one line, whatever is in it */
    doc = json_loadb(out, len, JSON_REJECT_DUPLICATES, NULL);
    ck_assert_msg(doc != NULL, "not JSON: %.*s", (int)len, out);
    return doc;
}

static const char *str(json_t *doc, const char *key)
{
    return json_string_value(json_object_get(doc, key));
}

START_TEST(fields_in_order)
{
    char out[LOG_LINE_BYTES];
    const struct log_field fields[] = {log_str("id", "gen-1"),    log_int("n", -5),
                                       log_uint("u", UINT64_MAX), log_real("ms", 1.25),
                                       log_bool("ok", true),      log_str("none", NULL),
                                       log_real("nan", NAN),      log_end()};
    /* 2026-11-24T11:00:00Z by date(1) is 1795518000 */
    size_t len = log_format(out, INT64_C(1795518000007), LOG_INFO, "request", fields);

    out[len] = '\0';
    ck_assert_str_eq(
        out, "{\"ts\":\"2026-11-24T11:00:00.007Z\",\"level\":\"info\",\"event\":\"request\","
             "\"id\":\"gen-1\",\"n\":-5,\"u\":18446744073709551615,\"ms\":1.250,\"ok\":true,"
             "\"none\":null,\"nan\":null}\n");
}
END_TEST

START_TEST(hostile_text_is_escaped)
{
    const char *hostile = "a\"},\n{\"level\":\"error\"\r\t\x01\x7f\xff\xc3\xa9";
    json_t *doc = line_of(0, "e", (struct log_field[]){log_str("x", hostile), log_end()});

    ck_assert_str_eq(str(doc, "level"), "warn");
    ck_assert_str_eq(str(doc, "ts"), "1970-01-01T00:00:00.000Z");
    ck_assert_str_eq(str(doc, "x"), "a\"},\n{\"level\":\"error\"\r\t\x01\x7f\xef\xbf\xbd\xc3\xa9");
    json_decref(doc);
}
END_TEST

START_TEST(long_text_is_cut_and_stays_json)
{
    static char text[3 * LOG_LINE_BYTES];

    /* Every length near the end of the line, with characters of 1, 3 and 6 written bytes. */
    for (size_t len = LOG_LINE_BYTES - 200; len < LOG_LINE_BYTES + 20; len++) {
        static const char *const units[] = {"x", "\xE2\x82\xAC", "\x01"};
        for (int u = 0; u < 3; u++) {
            size_t unit = strlen(units[u]), n = 0;
            while (n + unit <= len)
                memcpy(text + n, units[u], unit), n += unit;
            text[n] = '\0';
            json_decref(line_of(5, "e",
                                (struct log_field[]){log_str("x", text), log_int("after", 1),
                                                     log_str("y", text), log_end()}));
            json_decref(line_of(5, text, (struct log_field[]){log_str("x", text), log_end()}));
        }
    }
}
END_TEST

START_TEST(many_fields_are_cut)
{
    struct log_field fields[1001];

    for (int i = 0; i < 1000; i++)
        fields[i] = log_real("milliseconds", 1e14);
    fields[1000] = log_end();
    char out[LOG_LINE_BYTES];
    size_t len = log_format(out, 0, LOG_INFO, "e", fields);
    json_t *doc = json_loadb(out, len, 0, NULL);
    ck_assert_ptr_nonnull(doc);
    json_decref(doc);
}
END_TEST

static void *writer(void *arg)
{
    static const char filler[] =
        "0123456789012345678901234567890123456789012345678901234567890123456789";

    for (int i = 0; i < 250; i++)
        log_event(LOG_INFO, "tick", log_int("who", *(int *)arg), log_int("i", i),
                  log_str("text", filler), log_str("more", filler));
    return NULL;
}

static void *writer_thread(void *arg)
{
    return writer(arg);
}

START_TEST(lines_of_threads_do_not_mix)
{
    FILE *file = tmpfile();
    char line[LOG_LINE_BYTES];
    pthread_t threads[4];
    int who[4], next[4] = {0};

    log_set_fd(fileno(file));
    for (int i = 0; i < 4; i++) {
        who[i] = i;
        ck_assert_int_eq(pthread_create(&threads[i], NULL, writer_thread, &who[i]), 0);
    }
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    log_set_level(LOG_ERROR);
    log_event(LOG_WARN, "unseen", log_int("i", 1));
    log_write(LOG_ERROR, "seen", NULL);
    rewind(file);
    for (int i = 0; i < 1000; i++) {
        json_t *doc;
        json_int_t by;
        ck_assert_ptr_nonnull(fgets(line, sizeof(line), file));
        doc = json_loads(line, 0, NULL);
        ck_assert_ptr_nonnull(doc);
        by = json_integer_value(json_object_get(doc, "who"));
        ck_assert_int_eq(json_integer_value(json_object_get(doc, "i")), next[by]++);
        json_decref(doc);
    }
    ck_assert_ptr_nonnull(fgets(line, sizeof(line), file));
    ck_assert_ptr_nonnull(strstr(line, "\"seen\""));
    ck_assert_ptr_null(fgets(line, sizeof(line), file));
    fclose(file);
}
END_TEST

RUN_SUITE("log", fields_in_order, hostile_text_is_escaped, long_text_is_cut_and_stays_json,
          many_fields_are_cut, lines_of_threads_do_not_mix)
