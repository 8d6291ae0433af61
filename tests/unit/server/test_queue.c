#include <check.h>
#include <pthread.h>
#include <stdint.h>

#include "config/status.h"
#include "server/queue.h"
#include "unit/suite.h"

struct letter {
    struct mail mail;
    unsigned sender, number;
};

static struct queue queue;
static unsigned n_wakes;

static void count_wake(void *arg)
{
    (void)arg;
    n_wakes++;
}

START_TEST(test_all_at_once_oldest_first)
{
    struct letter letters[3] = {{.number = 0}, {.number = 1}, {.number = 2}};

    ck_assert_int_eq(queue_init(&queue, NULL, NULL), ST_OK);
    ck_assert_ptr_null(queue_take(&queue));
    for (unsigned i = 0; i < 3; i++)
        queue_put(&queue, &letters[i].mail);
    struct mail *mail = queue_take(&queue);
    for (unsigned i = 0; i < 3; i++, mail = mail->next)
        ck_assert_ptr_eq(mail, &letters[i].mail);
    ck_assert_ptr_null(mail);
    ck_assert_ptr_null(queue_take(&queue));
    queue_done(&queue);
}
END_TEST

START_TEST(test_wakes_once_until_it_is_emptied)
{
    struct letter letters[4];

    n_wakes = 0;
    queue_init(&queue, count_wake, NULL);
    queue_put(&queue, &letters[0].mail);
    queue_put(&queue, &letters[1].mail);
    ck_assert_uint_eq(n_wakes, 1);
    queue_take(&queue);
    queue_put(&queue, &letters[2].mail);
    ck_assert_uint_eq(n_wakes, 2);
    queue_done(&queue);
}
END_TEST

START_TEST(test_a_poke_ends_the_wait_once)
{
    queue_init(&queue, NULL, NULL);
    queue_poke(&queue);
    ck_assert_ptr_null(queue_wait(&queue));
    struct letter letter;
    queue_put(&queue, &letter.mail);
    ck_assert_ptr_eq(queue_wait(&queue), &letter.mail);
    queue_done(&queue);
}
END_TEST

#define N_SENDERS 4u
#define N_LETTERS 20000u

static struct letter all[N_SENDERS][N_LETTERS];

static void *send_all(void *arg)
{
    unsigned sender = (unsigned)(uintptr_t)arg;

    for (unsigned i = 0; i < N_LETTERS; i++) {
        all[sender][i].sender = sender;
        all[sender][i].number = i;
        queue_put(&queue, &all[sender][i].mail);
    }
    return NULL;
}

START_TEST(test_nothing_is_lost_between_threads)
{
    pthread_t threads[N_SENDERS];
    unsigned next[N_SENDERS] = {0}, n = 0;

    queue_init(&queue, NULL, NULL);
    for (uintptr_t i = 0; i < N_SENDERS; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, send_all, (void *)i), 0);
    while (n < N_SENDERS * N_LETTERS) {
        struct mail *after;
        for (struct mail *mail = queue_wait(&queue); mail; mail = after, n++) {
            struct letter *letter = (struct letter *)mail;
            after = mail->next;
            ck_assert_uint_eq(letter->number, next[letter->sender]++);
        }
    }
    for (unsigned i = 0; i < N_SENDERS; i++)
        pthread_join(threads[i], NULL);
    queue_done(&queue);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {
        test_all_at_once_oldest_first, test_wakes_once_until_it_is_emptied,
        test_a_poke_ends_the_wait_once, test_nothing_is_lost_between_threads, NULL};

    return suite_run("queue", tests, 60);
}
