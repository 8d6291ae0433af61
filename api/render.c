#include "api/render.h"

#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "config/escape.h"

const char *finish_reason_name(enum finish_reason finish)
{
    static const char *const names[] = {"stop", "length", "deadline"};

    return names[finish];
}

int render_string(struct buf *out, const char *text, size_t len)
{
    const char *end = text + len;

    buf_puts(out, "\"");
    while (text < end) {
        /* Copy in runs: most characters are written as they are. */
        char piece[256];
        size_t n = 0;
        while (text < end && n + ESCAPE_MAX <= sizeof(piece))
            n += escape_step(&text, end, piece + n);
        buf_put(out, piece, n);
    }
    return buf_puts(out, "\"");
}

static void text_member(struct buf *out, const char *key, const char *text)
{
    buf_printf(out, "\"%s\":", key);
    if (text)
        render_string(out, text, strlen(text));
    else
        buf_puts(out, "null");
}

static void ms_member(struct buf *out, const char *key, double ms, const char *after)
{
    buf_printf(out, "\"%s\":%.3f%s", key, isfinite(ms) && ms > 0 ? ms : 0.0, after);
}

static void stop_reason(struct buf *out, const struct generate_result *r)
{
    buf_puts(out, ",\"stop_reason\":");
    if (r->stop_kind == STOP_STRING)
        render_string(out, r->stop_string, strlen(r->stop_string));
    else if (r->stop_kind == STOP_TOKEN)
        buf_printf(out, "%" PRId32, r->stop_token);
    else
        buf_puts(out, "null");
}

static int answer(struct buf *out, const struct generate_result *r, bool piece)
{
    buf_puts(out, "{");
    text_member(out, "id", r->id);
    buf_printf(out, ",\"object\":\"generation\",\"created\":%" PRId64 ",", r->created);
    text_member(out, "model", r->model);
    buf_puts(out, piece ? ",\"index\":0,\"text\":" : ",\"text\":");
    render_string(out, r->text, r->text_len);
    buf_printf(out, ",\"seed\":%" PRIu64 ",\"finish_reason\":\"%s\"", r->seed,
               finish_reason_name(r->finish));
    stop_reason(out, r);
    buf_printf(out,
               ",\"usage\":{\"prompt_tokens\":%" PRIu64 ",\"completion_tokens\":%" PRIu64
               ",\"total_tokens\":%" PRIu64 ",\"prompt_tokens_details\":{\"cached_tokens\":%" PRIu64
               "}}",
               r->prompt_tokens, r->completion_tokens, r->prompt_tokens + r->completion_tokens,
               r->cached_tokens);
    buf_puts(out, ",\"timings\":{");
    ms_member(out, "queue_ms", r->timings.queue_ms, ",");
    ms_member(out, "prefill_ms", r->timings.prefill_ms, ",");
    ms_member(out, "decode_ms", r->timings.decode_ms, ",");
    ms_member(out, "ttft_ms", r->timings.ttft_ms, ",");
    ms_member(out, "total_ms", r->timings.total_ms, "}");
    return buf_puts(out, "}");
}

int render_generate(struct buf *out, const struct generate_result *result)
{
    return answer(out, result, false);
}

int render_last_piece(struct buf *out, const struct generate_result *result)
{
    return answer(out, result, true);
}

int render_piece(struct buf *out, const char *id, const char *text, size_t len)
{
    buf_puts(out, "{");
    text_member(out, "id", id);
    buf_puts(out, ",\"index\":0,\"text\":");
    render_string(out, text, len);
    return buf_puts(out, "}");
}

int render_models(struct buf *out, const struct model_entry *entries, size_t n)
{
    char quality[QUALITY_JSON_MAX];

    buf_puts(out, "{\"object\":\"list\",\"data\":[");
    for (size_t i = 0; i < n; i++) {
        const struct model_entry *e = &entries[i];
        buf_puts(out, i ? ",{" : "{");
        text_member(out, "id", e->id);
        buf_printf(out, ",\"object\":\"model\",\"created\":%" PRId64 ",\"owned_by\":\"octet\"",
                   e->created);
        buf_printf(out, ",\"max_model_len\":%" PRIu64 ",", e->max_model_len);
        text_member(out, "arch", e->arch);
        buf_puts(out, ",");
        text_member(out, "scheme", e->scheme);
        buf_puts(out, ",");
        text_member(out, "precision", e->precision);
        buf_puts(out, ",\"quality\":");
        if (e->quality)
            quality_json(e->quality, quality);
        buf_puts(out, e->quality ? quality : "null");
        buf_puts(out, "}");
    }
    return buf_puts(out, "]}");
}

int render_status(struct buf *out, const char *status)
{
    buf_puts(out, "{");
    text_member(out, "status", status);
    return buf_puts(out, "}");
}
