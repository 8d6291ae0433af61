#include "server/loop.h"

#include <assert.h>
#include <signal.h>

#include <microhttpd.h>

#include "server/metrics.h"

static void on_mhd_timer(uv_timer_t *timer)
{
    loop_kick(timer->data);
}

static void run_mhd(struct loop *loop)
{
    MHD_UNSIGNED_LONG_LONG ms;

    /* What is resumed while it runs asks for another round. */
    while (loop->dirty) {
        loop->dirty = false;
        MHD_run(loop->daemon);
    }
    /* 0 is the next turn: libmicrohttpd holds connections that are ready inside itself. */
    if (MHD_get_timeout(loop->daemon, &ms) == MHD_YES)
        uv_timer_start(&loop->mhd_timer, on_mhd_timer, ms, 0);
    else
        uv_timer_stop(&loop->mhd_timer);
}

static void work(struct loop *loop)
{
    if (loop->woken) {
        loop->woken = false;
        loop->calls.wake(loop->calls.arg);
    }
    if (loop->dirty && loop->daemon)
        run_mhd(loop);
}

static void on_epoll(uv_poll_t *handle, int status, int events)
{
    (void)status;
    (void)events;
    loop_kick(handle->data);
}

static void on_wake(uv_async_t *handle)
{
    struct loop *loop = handle->data;

    loop->woken = true;
}

static void on_check(uv_check_t *handle)
{
    struct loop *loop = handle->data;

    loop->turn_ns = uv_hrtime();
    work(loop);
}

/* Timers ran since: what they marked is done before the loop sleeps. */
static void on_prepare(uv_prepare_t *handle)
{
    struct loop *loop = handle->data;

    work(loop);
    if (loop->turn_ns)
        metrics_observe(loop->metrics, LATENCY_LOOP, (uv_hrtime() - loop->turn_ns) / 1000);
    loop->turn_ns = 0;
}

static void on_tick(uv_timer_t *timer)
{
    struct loop *loop = timer->data;

    loop->calls.tick(loop->calls.arg);
    loop_kick(loop);
}

static void on_signal(uv_signal_t *handle, int signum)
{
    struct loop *loop = handle->data;

    loop->calls.signal(loop->calls.arg, signum);
}

int loop_open(struct loop *loop, const struct loop_calls *calls, struct metrics *metrics,
              struct error *err)
{
    static const int signums[] = {SIGTERM, SIGINT};
    int r = uv_loop_init(&loop->uv);

    if (r != 0)
        return error_set(err, ST_IO, "the event loop can't start: %s", uv_strerror(r));
    loop->open = true;
    loop->calls = *calls;
    loop->metrics = metrics;
    loop->mhd_timer.data = loop->tick.data = loop->prepare.data = loop->check.data = loop;
    loop->wake.data = loop->epoll.data = loop;
    uv_timer_init(&loop->uv, &loop->mhd_timer);
    uv_timer_init(&loop->uv, &loop->tick);
    uv_prepare_init(&loop->uv, &loop->prepare);
    uv_check_init(&loop->uv, &loop->check);
    uv_prepare_start(&loop->prepare, on_prepare);
    uv_check_start(&loop->check, on_check);
    r = uv_async_init(&loop->uv, &loop->wake, on_wake);
    for (unsigned i = 0; i < 2 && r == 0; i++) {
        loop->signals[i].data = loop;
        r = uv_signal_init(&loop->uv, &loop->signals[i]);
        if (r == 0)
            r = uv_signal_start(&loop->signals[i], on_signal, signums[i]);
    }
    if (r != 0)
        return error_set(err, ST_IO, "the event loop can't start: %s", uv_strerror(r));
    return ST_OK;
}

int loop_drive(struct loop *loop, struct MHD_Daemon *daemon, struct error *err)
{
    int fd = MHD_get_daemon_info(daemon, MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd;
    int r = uv_poll_init(&loop->uv, &loop->epoll, fd);

    if (r == 0)
        r = uv_poll_start(&loop->epoll, UV_READABLE, on_epoll);
    if (r != 0)
        return error_set(err, ST_IO, "the HTTP server's descriptor can't be watched: %s",
                         uv_strerror(r));
    loop->daemon = daemon;
    loop->dirty = true;
    return ST_OK;
}

void loop_run(struct loop *loop)
{
    uv_run(&loop->uv, UV_RUN_DEFAULT);
}

void loop_stop(struct loop *loop)
{
    uv_stop(&loop->uv);
}

static void close_handle(uv_handle_t *handle, void *arg)
{
    (void)arg;
    if (!uv_is_closing(handle))
        uv_close(handle, NULL);
}

void loop_close(struct loop *loop)
{
    if (!loop->open)
        return;
    loop->daemon = NULL;
    uv_walk(&loop->uv, close_handle, NULL);
    while (uv_run(&loop->uv, UV_RUN_DEFAULT) != 0)
        continue; /* a loop_stop() from before still counted */
    int r = uv_loop_close(&loop->uv);
    assert(r == 0);
    loop->open = false;
}

void loop_wake(void *arg)
{
    struct loop *loop = arg;

    uv_async_send(&loop->wake);
}

void loop_kick(struct loop *loop)
{
    loop->dirty = true;
}

void loop_tick(struct loop *loop, uint32_t ms)
{
    if (ms == 0)
        uv_timer_stop(&loop->tick);
    else
        uv_timer_start(&loop->tick, on_tick, ms, ms);
}
