/* queue.h - a mailbox between two threads: what is put in has a new owner.
 *
 * Owner:   one thread takes; any thread puts.
 * Memory:  intrusive: a struct mail inside what is sent; nothing is allocated after queue_init().
 * Errors:  putting can't fail, so that a request can always be handed back. The bound on how many
 *          wait is gate.h's, held before anything is put.
 * Threads: the lock is held only to link and unlink, never while calling out. */
#ifndef OCTET_SERVER_QUEUE_H
#define OCTET_SERVER_QUEUE_H

#include <pthread.h>
#include <stdbool.h>

struct mail {
    struct mail *next;
};

struct queue {
    pthread_mutex_t lock;
    pthread_cond_t filled;
    struct mail *head, **tail;
    bool poked;
    void (*wake)(void *arg); /* called by the putter after it put into an empty box; may be NULL */
    void *wake_arg;
};

int queue_init(struct queue *queue, void (*wake)(void *arg), void *wake_arg);
void queue_done(struct queue *queue);

void queue_put(struct queue *queue, struct mail *mail);

/* Everything that is in it, oldest first, linked by next; NULL if empty. */
struct mail *queue_take(struct queue *queue);

/* Sleep until something is in it or queue_poke() is called, then as queue_take(). */
struct mail *queue_wait(struct queue *queue);

/* Let the sleeper look at its flags. */
void queue_poke(struct queue *queue);

#endif
