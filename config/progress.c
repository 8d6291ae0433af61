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

size_t progress_format(char *out, size_t cap, const char *what, uint64_t done, uint64_t total,
                       double elapsed_s)
{
    double mb = (double)done / 1e6;
    double rate = elapsed_s > 0 ? mb / elapsed_s : 0;
    double left_s = rate > 0 && total > done ? ((double)total / 1e6 - mb) / rate : 0;
    int len;

    if (total == 0)
        len = snprintf(out, cap, "%s  %.0f MB  %.0f MB/s", what, mb, rate);
    else if (done >= total)
        len = snprintf(out, cap, "%s  100 %%  %.0f MB in %.1f s", what, mb, elapsed_s);
    else
        len = snprintf(out, cap, "%s  %d %%  %.0f of %.0f MB  %.0f MB/s  %.0f s left", what,
                       (int)((double)done * 100.0 / (double)total), mb, (double)total / 1e6, rate,
                       left_s);
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
    progress_format(line + 4, sizeof(line) - 4, what, done, total, now - p->started_s);
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
