#include "config/progress.h"

#include <fcntl.h>
#include <pty.h>
#include <string.h>
#include <unistd.h>

#include "unit/suite.h"

static char text[256];

static const char *format(uint64_t done, uint64_t total, double elapsed)
{
    size_t len = progress_format(text, sizeof(text),
                                 &(struct progress_state){"loading", NULL, done, total, elapsed});

    ck_assert_uint_eq(len, strlen(text));
    return text;
}

START_TEST(a_line_says_rate_and_time_left)
{
    ck_assert_str_eq(format(100000000, 400000000, 2),
                     "loading  25 %  100 of 400 MB  50 MB/s  6 s left");
    ck_assert_str_eq(format(400000000, 400000000, 8), "loading  100 %  400 MB in 8.0 s");
    ck_assert_str_eq(format(5000000, 0, 1), "loading  5 MB  5 MB/s");
    ck_assert_str_eq(format(0, 400000000, 0), "loading  0 %  0 of 400 MB  0 MB/s  0 s left");
}
END_TEST

START_TEST(other_units_count_whole)
{
    struct progress_state half = {"scoring", "tokens", 500, 1000, 2},
                          end = {"scoring", "tokens", 1000, 1000, 4};

    progress_format(text, sizeof(text), &half);
    ck_assert_str_eq(text, "scoring  50 %  500 of 1000 tokens  250 tokens/s  2 s left");
    progress_format(text, sizeof(text), &end);
    ck_assert_str_eq(text, "scoring  100 %  1000 tokens in 4.0 s");
}
END_TEST

START_TEST(a_short_buffer_is_enough)
{
    char small[8];

    ck_assert_uint_eq(
        progress_format(small, sizeof(small), &(struct progress_state){"loading", NULL, 1, 2, 1}),
        7);
    ck_assert_str_eq(small, "loading");
}
END_TEST

START_TEST(silent_without_a_terminal)
{
    int pipes[2];
    char byte;
    struct progress progress;

    ck_assert_int_eq(pipe2(pipes, O_NONBLOCK), 0);
    dup2(pipes[1], STDERR_FILENO);
    progress_init(&progress);
    progress_update(&progress, "loading", 1, 2);
    progress_update(&progress, "loading", 2, 2);
    progress_end(&progress);
    ck_assert_int_eq(read(pipes[0], &byte, 1), -1);
}
END_TEST

START_TEST(on_a_terminal_one_line_is_rewritten)
{
    int master, slave;
    char seen[1024] = "";
    size_t n = 0;
    ssize_t got;
    struct progress progress;

    ck_assert_int_eq(openpty(&master, &slave, NULL, NULL, NULL), 0);
    dup2(slave, STDERR_FILENO);
    progress_init(&progress);
    ck_assert(progress.enabled);
    progress_update(&progress, "loading", 0, 1000000);
    for (int i = 0; i < 1000; i++)
        progress_update(&progress, "loading", 1, 1000000); /* too soon: most are not drawn */
    progress_update(&progress, "loading", 1000000, 1000000);
    progress_update(&progress, "loading", 1000000, 1000000); /* its end is shown once */
    progress_update(&progress, "packing", 1, 4);
    progress_end(&progress);
    progress_end(&progress);
    while (!strstr(seen, "packing") || seen[n - 1] != '\n') { /* what was written comes in pieces */
        got = read(master, seen + n, sizeof(seen) - 1 - n);
        ck_assert_int_gt(got, 0);
        n += (size_t)got;
    }
    ck_assert_ptr_nonnull(strstr(seen, "loading  0 %"));
    ck_assert_ptr_nonnull(strstr(seen, "loading  100 %"));
    ck_assert_ptr_eq(strstr(strstr(seen, "100 %") + 1, "100 %"), NULL);
    ck_assert_ptr_nonnull(strstr(seen, "\n\r\033[Kpacking  25 %"));
    ck_assert_int_eq(seen[strlen(seen) - 1], '\n');
}
END_TEST

RUN_SUITE("progress", a_line_says_rate_and_time_left, other_units_count_whole,
          a_short_buffer_is_enough, silent_without_a_terminal, on_a_terminal_one_line_is_rewritten)
