/* octetd_fake: the daemon over fake_model.c, with deadlines that the environment may shorten. */
#include <stdlib.h>

#include "server/server.h"

static void set(const char *name, uint32_t *value)
{
    const char *text = getenv(name);

    if (text)
        *value = (uint32_t)strtoul(text, NULL, 10);
}

int main(int argc, char **argv)
{
    struct http_limits limits = http_limits_default();
    uint32_t stream_bytes = (uint32_t)limits.stream_bytes;

    set("FAKE_HEADER_MS", &limits.header_ms);
    set("FAKE_BODY_MS", &limits.body_ms);
    set("FAKE_IDLE_MS", &limits.idle_ms);
    set("FAKE_LINGER_MS", &limits.linger_ms);
    set("FAKE_PING_MS", &limits.ping_ms);
    set("FAKE_TICK_MS", &limits.tick_ms);
    set("FAKE_FLUSH_MS", &limits.flush_ms);
    set("FAKE_CONNECTIONS", &limits.max_connections);
    set("FAKE_STREAM_BYTES", &stream_bytes);
    limits.stream_bytes = stream_bytes;
    return server_main(argc, argv, &limits);
}
