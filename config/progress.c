#include "config/progress.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define REDRAW_S 0.1

static double now_s(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

void progress_init(struct progress *progress)
{
    *progress = (struct progress){.fd = STDERR_FILENO, .enabled = isatty(STDERR_FILENO) == 1};
}

size_t progress_format(char *out, size_t cap, const struct progress_state *s)
{
    const char *unit = s->unit ? s->unit : "MB";
    double scale = s->unit ? 1 : 1e6, done = (double)s->done / scale,
           total = (double)s->total / scale;
    double rate = s->elapsed_s > 0 ? done / s->elapsed_s : 0;
    double left_s = rate > 0 && total > done ? (total - done) / rate : 0;
    int len;

    if (s->total == 0)
        len = snprintf(out, cap, "%s  %.0f %s  %.0f %s/s", s->what, done, unit, rate, unit);
    else if (s->done >= s->total)
        len =
            snprintf(out, cap, "%s  100 %%  %.0f %s in %.1f s", s->what, done, unit, s->elapsed_s);
    else
        len = snprintf(out, cap, "%s  %d %%  %.0f of %.0f %s  %.0f %s/s  %.0f s left", s->what,
                       (int)(done * 100.0 / total), done, total, unit, rate, unit, left_s);
    return len < 0 ? 0 : (size_t)len < cap ? (size_t)len : cap - 1;
}

static void show(int fd, const char *text, size_t len)
{
    if (write(fd, text, len) < 0)
        return; /* a terminal that went away is no reason to stop */
}

void progress_update(void *arg, const char *what, uint64_t done, uint64_t total)
{
    struct progress *p = arg;
    double now = now_s();
    bool finished = total > 0 && done >= total;
    bool fresh = strncmp(p->what, what, sizeof(p->what) - 1) != 0;
    char line[256] = "\r\033[K"; /* back to column 0, clear the line */
    size_t len;

    if (!p->enabled)
        return;
    if (fresh) {
        progress_end(p);
        snprintf(p->what, sizeof(p->what), "%s", what);
        p->started_s = now;
    } else if (!finished && now - p->shown_s < REDRAW_S) {
        return;
    }
    if (finished && !fresh && !p->open)
        return; /* its end has been shown */
    len = 4 +
          progress_format(line + 4, sizeof(line) - 4,
                          &(struct progress_state){what, p->unit, done, total, now - p->started_s});
    if (p->note[0])
        snprintf(line + len, sizeof(line) - len, "  %s", p->note);
    show(p->fd, line, strlen(line));
    p->shown_s = now;
    p->open = true;
    if (finished)
        progress_end(p);
}

void progress_end(struct progress *progress)
{
    if (progress->enabled && progress->open)
        show(progress->fd, "\n", 1);
    progress->open = false;
}
