#include "server/queue.h"

#include <stddef.h>

#include "config/status.h"

int queue_init(struct queue *queue, void (*wake)(void *arg), void *wake_arg)
{
    if (pthread_mutex_init(&queue->lock, NULL) != 0)
        return ST_NOMEM;
    if (pthread_cond_init(&queue->filled, NULL) != 0) {
        pthread_mutex_destroy(&queue->lock);
        return ST_NOMEM;
    }
    queue->head = NULL;
    queue->tail = &queue->head;
    queue->poked = false;
    queue->wake = wake;
    queue->wake_arg = wake_arg;
    return ST_OK;
}

void queue_done(struct queue *queue)
{
    pthread_cond_destroy(&queue->filled);
    pthread_mutex_destroy(&queue->lock);
}

void queue_put(struct queue *queue, struct mail *mail)
{
    mail->next = NULL;
    pthread_mutex_lock(&queue->lock);
    bool was_empty = queue->head == NULL;
    *queue->tail = mail;
    queue->tail = &mail->next;
    pthread_cond_signal(&queue->filled);
    pthread_mutex_unlock(&queue->lock);
    if (was_empty && queue->wake)
        queue->wake(queue->wake_arg);
}

static struct mail *take_locked(struct queue *queue)
{
    struct mail *all = queue->head;

    queue->head = NULL;
    queue->tail = &queue->head;
    queue->poked = false;
    return all;
}

struct mail *queue_take(struct queue *queue)
{
    pthread_mutex_lock(&queue->lock);
    struct mail *all = take_locked(queue);
    pthread_mutex_unlock(&queue->lock);
    return all;
}

struct mail *queue_wait(struct queue *queue)
{
    pthread_mutex_lock(&queue->lock);
    while (!queue->head && !queue->poked)
        pthread_cond_wait(&queue->filled, &queue->lock);
    struct mail *all = take_locked(queue);
    pthread_mutex_unlock(&queue->lock);
    return all;
}

void queue_poke(struct queue *queue)
{
    pthread_mutex_lock(&queue->lock);
    queue->poked = true;
    pthread_cond_signal(&queue->filled);
    pthread_mutex_unlock(&queue->lock);
}
