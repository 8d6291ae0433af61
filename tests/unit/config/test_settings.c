#include "config/settings.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "config/limits.h"
#include "unit/suite.h"

static struct settings got;
static enum flags_action action;
static struct error why;

/* What main() gets; nothing writes into it. */
#define ARGV(...) ((char *const *)(const char *[]){"octetd", __VA_ARGS__, NULL})
#define ENV(...) ((char *const *)(const char *[]){__VA_ARGS__, NULL})
#define NO_ENV ((char *const *)(const char *[]){NULL})

static int load(char *const *argv, char *const *env)
{
    int argc = 0;

    while (argv[argc])
        argc++;
    settings_done(&got);
    memset(&got, 0, sizeof(got));
    why.text[0] = '\0';
    return settings_load(argc, argv, env, &got, &action, &why);
}

static void refused(int status, char *const *argv, char *const *env, const char *says)
{
    ck_assert_int_eq(load(argv, env), status);
    ck_assert_msg(strstr(why.text, says) != NULL, "got \"%s\", wanted \"%s\"", why.text, says);
    ck_assert_ptr_null(got.model); /* untouched */
}

static char config_path[64];

static void write_config(const char *text)
{
    FILE *file;

    snprintf(config_path, sizeof(config_path), "/tmp/octet-settings-%d.json", (int)getpid());
    file = fopen(config_path, "w");
    ck_assert_ptr_nonnull(file);
    fputs(text, file);
    fclose(file);
}

static void config_refused(int status, const char *text, const char *says)
{
    write_config(text);
    refused(status, ARGV("--config", config_path), NO_ENV, says);
    ck_assert_ptr_nonnull(strstr(why.text, config_path));
    unlink(config_path);
}

START_TEST(defaults_are_the_documented_ones)
{
    ck_assert_int_eq(load(ARGV("--model", "m.gguf"), NO_ENV), ST_OK);
    ck_assert_str_eq(got.model, "m.gguf");
    ck_assert_ptr_null(got.alias);
    ck_assert_str_eq(got.host, "127.0.0.1");
    ck_assert_uint_eq(got.port, 8080);
    ck_assert_uint_eq(got.threads, 0);
    ck_assert_int_eq(got.precision, SETTINGS_INT8);
    ck_assert_int_eq(got.kv, SETTINGS_KV_INT8);
    ck_assert_uint_eq(got.ctx, 0);
    ck_assert_uint_eq(got.max_batch, 32);
    ck_assert_uint_eq(got.max_queue, 128);
    ck_assert_uint_eq(got.kv_cache, 0);
    ck_assert_uint_eq(got.prefix_cache, 12u << 20);
    ck_assert_uint_eq(got.itl_target_ms, 0);
    ck_assert_uint_eq(got.draft_max, 15);
    ck_assert_uint_eq(got.timeout_ms, 0);
    ck_assert_uint_eq(got.max_timeout_ms, 0);
    ck_assert_uint_eq(got.drain_delay_ms, 0);
    ck_assert_uint_eq(got.drain_timeout_ms, 25000);
    ck_assert(got.require.max_kld < 0 && got.require.min_same_top < 0 &&
              got.require.max_ppl_ratio < 0);
    ck_assert_str_eq(got.warnings, "");
}
END_TEST

START_TEST(requirements_from_every_source)
{
    write_config("{\"model\":\"file\",\"require-kld\":0.005,\"require_same_top\":0}");
    ck_assert_int_eq(load(ARGV("--config", config_path, "--require-ppl-ratio", "1.02"),
                          ENV("OCTET_REQUIRE_KLD=0.004")),
                     ST_OK);
    unlink(config_path);
    ck_assert_double_eq(got.require.max_kld, 0.004);
    ck_assert_double_eq(got.require.min_same_top, 0);
    ck_assert_double_eq(got.require.max_ppl_ratio, 1.02);
    refused(ST_INVALID, ARGV("--model", "m", "--require-same-top", "1.5"), NO_ENV,
            "--require-same-top");
    refused(ST_INVALID, ARGV("--model", "m", "--require-kld", "-1"), NO_ENV, "--require-kld");
    refused(ST_INVALID, ARGV("--model", "m", "--require-kld", "nan"), NO_ENV, "--require-kld");
}
END_TEST

START_TEST(later_sources_win)
{
    write_config("{\"model\":\"file\",\"port\":1,\"max_batch\":2,\"max-queue\":3,\"kv-cache\":"
                 "\"1G\",\"ctx\":7}");
    ck_assert_int_eq(load(ARGV("--config", config_path, "--port", "9"),
                          ENV("OCTET_PORT=8", "OCTET_MAX_BATCH=8", "HOME=/x")),
                     ST_OK);
    unlink(config_path);
    ck_assert_str_eq(got.model, "file");
    ck_assert_uint_eq(got.ctx, 7);
    ck_assert_uint_eq(got.port, 9);
    ck_assert_uint_eq(got.max_batch, 8);
    ck_assert_uint_eq(got.max_queue, 3);
    ck_assert_uint_eq(got.kv_cache, 1u << 30);
    ck_assert_str_eq(got.config, config_path);
}
END_TEST

START_TEST(config_named_by_environment)
{
    char variable[96];

    write_config("{\"model\":\"file\",\"alias\":null}");
    snprintf(variable, sizeof(variable), "OCTET_CONFIG=%s", config_path);
    ck_assert_int_eq(load(ARGV("--port=0"), ENV(variable)), ST_OK);
    unlink(config_path);
    ck_assert_str_eq(got.model, "file");
    ck_assert_uint_eq(got.port, 0);
}
END_TEST

START_TEST(kv_follows_precision_unless_said)
{
    ck_assert_int_eq(load(ARGV("--model", "m", "--precision", "fp32"), NO_ENV), ST_OK);
    ck_assert_int_eq(got.kv, SETTINGS_KV_F32);
    ck_assert_int_eq(load(ARGV("--model", "m", "--precision", "fp32", "--kv", "f16"), NO_ENV),
                     ST_OK);
    ck_assert_int_eq(got.kv, SETTINGS_KV_F16);
    ck_assert_int_eq(load(ARGV("--model", "m", "--kv", "f32"), NO_ENV), ST_OK);
    ck_assert_int_eq(got.kv, SETTINGS_KV_F32);
}
END_TEST

START_TEST(wrong_flags)
{
    refused(ST_INVALID, ARGV("--port", "1"), NO_ENV, "--model is missing");
    refused(ST_INVALID, ARGV("--model", "m", "--port", "65536"), NO_ENV,
            "--port: \"65536\" is not a whole number, 0 to 65535");
    refused(ST_INVALID, ARGV("--model", "m", "--prot", "1"), NO_ENV, "did you mean --port?");
    refused(ST_INVALID, ARGV("--model", "m", "stray"), NO_ENV, "\"stray\"");
    refused(ST_INVALID, ARGV("--model", "m", "--precision", "int4"), NO_ENV,
            "not one of int8 or fp32");
    refused(ST_INVALID, ARGV("--model", "m", "--kv", "q4"), NO_ENV, "int8, f16 or f32");
    refused(ST_INVALID, ARGV("--model", "m", "--max-batch", "0"), NO_ENV, "1 to 1024");
    refused(ST_INVALID, ARGV("--model", "m", "--timeout-ms", "9", "--max-timeout-ms", "8"), NO_ENV,
            "--timeout-ms 9 is more than --max-timeout-ms 8");
    refused(ST_INVALID, ARGV("--model", "m", "--alias", "a\nb"), NO_ENV, "--alias");
    refused(ST_INVALID, ARGV("--model", "m", "--alias", "a\xFF"), NO_ENV, "--alias");
}
END_TEST

START_TEST(reserved_names_are_refused_everywhere)
{
    refused(ST_UNSUPPORTED, ARGV("--model", "m", "--api-key-file", "f"), NO_ENV,
            "--api-key-file is not built yet");
    refused(ST_UNSUPPORTED, ARGV("--model", "m", "--price-per-hour=1"), NO_ENV,
            "--price-per-hour is not built yet");
    refused(ST_UNSUPPORTED, ARGV("--model", "m"), ENV("OCTET_API_KEY_FILE=f"),
            "OCTET_API_KEY_FILE is not built yet");
    refused(ST_UNSUPPORTED, ARGV("--model", "m"), ENV("OCTET_PRICE_PER_HOUR=1"), "not built yet");
    config_refused(ST_UNSUPPORTED, "{\"model\":\"m\",\"price_per_hour\":0.5}", "not built yet");
    config_refused(ST_UNSUPPORTED, "{\"model\":\"m\",\"api-key-file\":\"f\"}", "not built yet");
}
END_TEST

START_TEST(wrong_environment)
{
    refused(ST_INVALID, ARGV("--model", "m"), ENV("OCTET_PORT=http"), "OCTET_PORT: \"http\"");
    refused(ST_INVALID, ARGV("--model", "m"), ENV("OCTET_KV_CACHE=lots"), "OCTET_KV_CACHE");
    ck_assert_int_eq(load(ARGV("--model", "m"), ENV("OCTET_PORT=", "OCTET_ALIAS=")), ST_OK);
    ck_assert_uint_eq(got.port, 8080); /* empty: as if not set */
    ck_assert_str_eq(got.warnings, "");
}
END_TEST

static size_t count_lines(const char *text)
{
    size_t n = *text != '\0';

    for (; *text; text++)
        n += *text == '\n';
    return n;
}

START_TEST(unknown_variables_warn_once_each)
{
    ck_assert_int_eq(load(ARGV("--model", "m"), ENV("OCTET_PROT=1", "OCTET_CPU=generic",
                                                    "OCTET_HOME=/x", "OCTETX=1", "PATH=/bin")),
                     ST_OK);
    ck_assert_uint_eq(count_lines(got.warnings), 1);
    ck_assert_ptr_nonnull(strstr(got.warnings, "OCTET_PROT is not a setting"));
    ck_assert_ptr_nonnull(strstr(got.warnings, "did you mean OCTET_PORT?"));
}
END_TEST

START_TEST(kubernetes_service_links_do_no_harm)
{
    ck_assert_int_eq(load(ARGV("--model", "m"),
                          ENV("OCTET_PORT=tcp://10.0.0.1:80", "OCTET_SERVICE_HOST=10.0.0.1",
                              "OCTET_PORT_8080_TCP_ADDR=10.0.0.1")),
                     ST_OK);
    ck_assert_uint_eq(got.port, 8080);
    ck_assert_uint_eq(count_lines(got.warnings), 3);
    ck_assert_ptr_nonnull(strstr(got.warnings, "OCTET_PORT looks like a Kubernetes service link"));
    ck_assert_ptr_nonnull(strstr(got.warnings, "OCTET_PORT_8080_TCP_ADDR is not a setting"));
    ck_assert_int_eq(load(ARGV("--model", "m"), ENV("OCTET_PORT=udp://10.0.0.1:80")), ST_OK);
    ck_assert_uint_eq(count_lines(got.warnings), 1);
}
END_TEST

START_TEST(many_warnings_stay_inside)
{
    static char text[200][80];
    char *env[201];

    for (int i = 0; i < 200; i++) {
        snprintf(text[i], sizeof(text[i]), "OCTET_%050d=1", i);
        env[i] = text[i];
    }
    env[200] = NULL;
    ck_assert_int_eq(load(ARGV("--model", "m"), env), ST_OK);
    ck_assert_uint_lt(strlen(got.warnings), sizeof(got.warnings));
}
END_TEST

START_TEST(wrong_config)
{
    config_refused(ST_INVALID, "{\"model\":\"m\",\"prot\":1}",
                   "unknown key \"prot\": did you mean \"port\"?");
    config_refused(ST_INVALID, "{\"elephant\":1}", "unknown key \"elephant\"");
    config_refused(ST_INVALID, "{\"port\":\"80\"}",
                   "key \"port\" is a string: it must be a number");
    config_refused(ST_INVALID, "{\"port\":80.5}", "key \"port\": \"80.5\" is not a whole number");
    config_refused(ST_INVALID, "{\"port\":-1}", "0 to 65535");
    config_refused(ST_INVALID, "{\"port\":true}", "must be a number");
    config_refused(ST_INVALID, "{\"port\":[1]}", "is an array: it must be a number");
    config_refused(ST_INVALID, "{\"model\":5}", "must be a string");
    config_refused(ST_INVALID, "{\"kv-cache\":\"many\"}", "key \"kv-cache\"");
    config_refused(ST_INVALID, "{\"config\":\"x\"}", "can't name another");
    config_refused(ST_INVALID, "{\"max_batch\":1,\"max-batch\":2}", "given twice");
    config_refused(ST_FORMAT, "{\"port\":1,\"port\":2}", "duplicate");
    config_refused(ST_FORMAT, "[]", "not a JSON object");
    config_refused(ST_FORMAT, "{\"port\":", "line 1");
    config_refused(ST_FORMAT, "", "--config");
    refused(ST_IO, ARGV("--config", "/nonexistent/c.json"), NO_ENV,
            "/nonexistent/c.json: No such file");
    refused(ST_IO, ARGV("--config", "/tmp"), NO_ENV, "/tmp: Is a directory");
}
END_TEST

START_TEST(config_too_large)
{
    FILE *file;

    write_config("{");
    file = fopen(config_path, "a");
    for (unsigned i = 0; i <= LIMIT_CONFIG_BYTES; i++)
        fputc(' ', file);
    fclose(file);
    refused(ST_TOOLONG, ARGV("--config", config_path), NO_ENV, "larger than");
    unlink(config_path);
}
END_TEST

START_TEST(help_needs_nothing_else)
{
    ck_assert_int_eq(load(ARGV("--help"), ENV("OCTET_PORT=x")), ST_OK);
    ck_assert_int_eq(action, FLAGS_HELP);
    ck_assert_int_eq(load(ARGV("--version"), NO_ENV), ST_OK);
    ck_assert_int_eq(action, FLAGS_VERSION);
}
END_TEST

START_TEST(help_fits_a_screen)
{
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);
    size_t lines = 0;

    flags_help(settings_table(), out);
    fclose(out);
    for (char *line = text; *line; lines++) {
        size_t width = strcspn(line, "\n");
        ck_assert_uint_le(width, 80);
        line += width + 1;
    }
    ck_assert_msg(lines <= 24, "%zu lines:\n%s", lines, text);
    free(text);
}
END_TEST

/* config/octetd.json has every key, with the default wherever there is one. */
START_TEST(the_example_is_in_step)
{
    json_t *doc = json_load_file("config/octetd.json", JSON_REJECT_DUPLICATES, NULL);
    const struct flag_table *table = settings_table();
    struct settings plain;
    size_t keys = 0;

    ck_assert_ptr_nonnull(doc);
    for (size_t i = 0; i < table->n_flags; i++) {
        const struct flag *flag = &table->flags[i];
        if (flag->type == FLAG_RESERVED || strcmp(flag->name, "config") == 0)
            continue;
        ck_assert_msg(json_object_get(doc, flag->name) != NULL, "%s is missing", flag->name);
        keys++;
    }
    ck_assert_uint_eq(json_object_size(doc), keys);
    json_decref(doc);

    ck_assert_int_eq(load(ARGV("--model", "m"), NO_ENV), ST_OK);
    plain = got;
    ck_assert_int_eq(load(ARGV("--config", "config/octetd.json", "--model", "m"), NO_ENV), ST_OK);
    ck_assert_str_eq(got.host, plain.host);
    ck_assert_ptr_null(got.alias);
    got.host = plain.host;
    got.model = plain.model;
    got.config = plain.config;
    settings_done(&got);
    ck_assert_mem_eq(&got, &plain, sizeof(got));
}
END_TEST

RUN_SUITE("settings", defaults_are_the_documented_ones, requirements_from_every_source,
          later_sources_win, config_named_by_environment, kv_follows_precision_unless_said,
          wrong_flags, reserved_names_are_refused_everywhere, wrong_environment,
          unknown_variables_warn_once_each, kubernetes_service_links_do_no_harm,
          many_warnings_stay_inside, wrong_config, config_too_large, help_needs_nothing_else,
          help_fits_a_screen, the_example_is_in_step)
