#include "server/pace.h"

#include <stddef.h>

#define US_PER_MS 1e3
/* Both leave room for steps that take a little longer than expected. */
#define OF_TARGET 0.9
#define STRETCH 1.6      /* without a target: times a plain step, to stay under twice */
#define SMOOTH (1.0 / 8) /* weight of a new plain step, */
#define FAR 1.25         /* which counts as at most so many times off: nearly a median */
#define FEW 4u           /* of the first so many the least counts: the very first ones are cold */
#define ROWS 512.0       /* of prompts, as many as are remembered */
#define ROWS_ALONE 32.0  /* what a step without decoding rows counts, until there are others */
#define ROW_FAR 2.0

void pace_init(struct pace *pace, uint32_t target_ms)
{
    *pace = (struct pace){.target_us = target_ms * US_PER_MS};
}

/* 1, 2, 3, 4, 6, 8, 12, 16, ...: powers of two, and the middle between them from 2 on. */
static uint32_t point_rows(unsigned i)
{
    if (i == 0)
        return 1;
    return i % 2 ? 1u << (i + 1) / 2 : 3u << (i / 2 - 1);
}

/* rows lies between the points *ret_i and *ret_i + 1, the part returned of the way. */
static double locate(uint32_t rows, unsigned *ret_i)
{
    unsigned i = 0;

    while (i + 2 < PACE_POINTS && point_rows(i + 1) <= rows)
        i++;
    double from = point_rows(i), to = point_rows(i + 1);
    double part = ((double)rows - from) / (to - from);
    *ret_i = i;
    return part < 0 ? 0 : part > 1 ? 1 : part;
}

double pace_plain_us(const struct pace *pace, uint32_t rows)
{
    unsigned i, below, above;
    double part = locate(rows, &i);

    below = part < 1 ? i : i + 1; /* the nearest points that were seen */
    above = part > 0 ? i + 1 : i;
    while (below > 0 && pace->plain_us[below] == 0)
        below--;
    while (above + 1 < PACE_POINTS && pace->plain_us[above] == 0)
        above++;
    double low = pace->plain_us[below], high = pace->plain_us[above];
    if (low == 0 || high == 0 || above == below)
        return low > 0 ? low : high;
    double from = point_rows(below), to = point_rows(above);
    return low + (high - low) * (rows - from) / (to - from);
}

double pace_row_us(const struct pace *pace)
{
    return pace->rows_n > 0 ? pace->rows_us / pace->rows_n : 0;
}

static double clamp(double x, double low, double high)
{
    return x < low ? low : x > high ? high : x;
}

static void saw_point(struct pace *pace, unsigned i, double weight, double ratio, double us)
{
    if (weight == 0)
        return;
    if (pace->n_seen[i] < FEW) {
        if (pace->n_seen[i] == 0 || us < pace->plain_us[i])
            pace->plain_us[i] = us;
        pace->n_seen[i] += weight >= 0.5 || pace->n_seen[i] == 0;
    } else {
        pace->plain_us[i] *= 1 + SMOOTH * weight * (ratio - 1);
    }
}

static void saw_plain(struct pace *pace, uint32_t rows, double us)
{
    double expected = pace_plain_us(pace, rows);
    double ratio = expected > 0 ? clamp(us / expected, 1 / FAR, FAR) : 1;
    unsigned i;
    double part = locate(rows, &i);

    saw_point(pace, i, 1 - part, ratio, us);
    saw_point(pace, i + 1, part, ratio, us);
}

/* Time and rows are summed, the past fading, so that a step counts by its rows: the time of few of
 * them is mostly noise. Until there are others, steps of nothing but prompts have to do. */
static void saw_prompt(struct pace *pace, const struct pace_step *step, double us)
{
    double n = step->n_prompt, expected = n * pace_row_us(pace), keep = ROWS / (ROWS + n);

    if (step->n_decoding == 0) {
        if (!pace->rows_beside) {
            pace->rows_us = us / n * ROWS_ALONE;
            pace->rows_n = ROWS_ALONE;
        }
        return;
    }
    us -= pace_plain_us(pace, step->n_decoding + step->n_draft);
    us = expected > 0 ? clamp(us, expected / ROW_FAR, expected * ROW_FAR) : us;
    if (us <= 0)
        return;
    pace->rows_beside = true;
    pace->rows_us = (pace->rows_us + us) * keep;
    pace->rows_n = (pace->rows_n + n) * keep;
}

void pace_saw(struct pace *pace, const struct pace_step *step, double us)
{
    bool plain = step->n_draft + step->n_prompt == 0;

    if (us <= 0 || step->n_decoding + step->n_prompt == 0)
        return;
    if (step->n_prompt > 0)
        saw_prompt(pace, step, us);
    else
        saw_plain(pace, step->n_decoding + step->n_draft, us);
    if (step->n_decoding > 0)
        pace->since_plain = plain ? 0 : pace->since_plain + 1;
}

bool pace_wants_plain(const struct pace *pace, uint32_t n_decoding)
{
    unsigned i;
    double part = locate(n_decoding, &i);

    return n_decoding > 0 &&
           (pace->since_plain >= PACE_LOOK || (part < 1 && pace->plain_us[i] == 0) ||
            (part > 0 && pace->plain_us[i + 1] == 0));
}

uint32_t pace_prompt_rows(const struct pace *pace, uint32_t n_decoding, uint32_t most)
{
    if (n_decoding == 0)
        return most;
    if (pace_wants_plain(pace, n_decoding))
        return 0;
    double plain = pace_plain_us(pace, n_decoding);
    double target = pace->target_us > 0 ? OF_TARGET * pace->target_us : STRETCH * plain;
    double row = pace_row_us(pace), rows = row > 0 ? (target - plain) / row : 0;
    if (rows < PACE_LEAST)
        rows = PACE_LEAST;
    return rows < most ? (uint32_t)rows : most;
}
