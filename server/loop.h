/* loop.h - the loop thread: libuv outside, libmicrohttpd's epoll descriptor inside it.
 *
 * All work of a turn is done in one place, after poll: descriptors and wake-ups only leave marks.
 * So a turn runs libmicrohttpd once however many requests it resumed. That run is needed after
 * every resume: in external mode 0.9.75 neither makes its descriptor readable nor shortens its
 * timeout.
 *
 * Owner:   the thread that calls loop_run().
 * Memory:  loop_open() .. loop_close(); the struct is the caller's and must not move.
 * Errors:  only opening can fail.
 * Threads: loop_wake() may be called from any thread; everything else by the loop's. */
#ifndef OCTET_SERVER_LOOP_H
#define OCTET_SERVER_LOOP_H

#include <stdbool.h>
#include <stdint.h>

#include <uv.h>

#include "config/status.h"

struct MHD_Daemon;
struct metrics;

struct loop_calls {
    void (*wake)(void *arg);               /* loop_wake() was called since the last turn */
    void (*tick)(void *arg);               /* time has passed: see loop_tick() */
    void (*signal)(void *arg, int signum); /* SIGTERM or SIGINT */
    void *arg;
};

struct loop {
    uv_loop_t uv;
    uv_poll_t epoll;      /* libmicrohttpd's descriptor */
    uv_timer_t mhd_timer; /* its timeout */
    uv_timer_t tick;
    uv_prepare_t prepare;
    uv_check_t check;
    uv_async_t wake;
    uv_signal_t signals[2];
    struct MHD_Daemon *daemon;
    struct loop_calls calls;
    struct metrics *metrics;
    bool open;
    bool woken, dirty; /* marks: look into the outbox; run libmicrohttpd */
    uint64_t turn_ns;  /* when poll returned; 0: before the first turn */
};

int loop_open(struct loop *loop, const struct loop_calls *calls, struct metrics *metrics,
              struct error *err);
/* From now on drive this daemon; before loop_run(). */
int loop_drive(struct loop *loop, struct MHD_Daemon *daemon, struct error *err);
void loop_run(struct loop *loop); /* until loop_stop() */
void loop_stop(struct loop *loop);
/* The daemon is gone: end all handles. */
void loop_close(struct loop *loop);

void loop_wake(void *loop); /* struct loop *: has the shape of a queue's wake */
/* Run libmicrohttpd before this turn ends. */
void loop_kick(struct loop *loop);
/* Call calls.tick every ms, with a kick each time, which also bounds a wake-up that was lost inside
 * libmicrohttpd. 0: no ticks, so that an idle server sleeps. */
void loop_tick(struct loop *loop, uint32_t ms);

#endif
