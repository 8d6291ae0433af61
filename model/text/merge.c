#include "model/text/merge.h"

#include <assert.h>
#include <stdlib.h>

#include "config/status.h"

/* A heap entry is order << 32 | index of the left symbol: one comparison decides both. An entry is
 * stale when its symbol has been joined or has another order by now. */

static void heap_push(struct merge *m, uint64_t entry)
{
    size_t i = m->n_heap++;

    for (; i > 0 && m->heap[(i - 1) / 2] > entry; i = (i - 1) / 2)
        m->heap[i] = m->heap[(i - 1) / 2];
    m->heap[i] = entry;
}

static uint64_t heap_pop(struct merge *m)
{
    uint64_t top = m->heap[0], last = m->heap[--m->n_heap];
    size_t i = 0, child;

    while ((child = 2 * i + 1) < m->n_heap) {
        if (child + 1 < m->n_heap && m->heap[child + 1] < m->heap[child])
            child++;
        if (m->heap[child] >= last)
            break;
        m->heap[i] = m->heap[child];
        i = child;
    }
    m->heap[i] = last;
    return top;
}

int merge_reserve(struct merge *m, size_t n)
{
    size_t cap = m->cap ? m->cap : 64;

    if (n <= m->cap)
        return ST_OK;
    while (cap < n)
        cap *= 2;
    merge_done(m);
    /* n - 1 entries to begin with; each of at most n - 1 joins takes one out and puts two in. */
    m->symbols = calloc(cap, sizeof(*m->symbols));
    m->heap = calloc(2 * cap, sizeof(*m->heap));
    if (!m->symbols || !m->heap) {
        merge_done(m);
        return ST_NOMEM;
    }
    m->cap = cap;
    return ST_OK;
}

void merge_done(struct merge *m)
{
    free(m->symbols);
    free(m->heap);
    *m = (struct merge){0};
}

static void look_right(struct merge *m, uint32_t i, merge_look *look, const void *arg)
{
    struct symbol *left = &m->symbols[i];

    left->order = MERGE_NEVER;
    if (left->next == MERGE_END)
        return;
    look(arg, left, &m->symbols[left->next]);
    if (left->order != MERGE_NEVER)
        heap_push(m, (uint64_t)left->order << 32 | i);
}

static void join(struct merge *m, uint32_t i)
{
    struct symbol *left = &m->symbols[i], *right = &m->symbols[left->next];

    left->len += right->len;
    left->id = left->joined;
    left->next = right->next;
    if (right->next != MERGE_END)
        m->symbols[right->next].prev = i;
    right->order = MERGE_NEVER;
}

void merge_run(struct merge *m, size_t n, merge_look *look, const void *arg)
{
    assert(n > 0 && n <= m->cap && n < MERGE_END);
    for (uint32_t i = 0; i < n; i++) {
        m->symbols[i].prev = i ? i - 1 : MERGE_END;
        m->symbols[i].next = i + 1 < n ? i + 1 : MERGE_END;
    }
    m->n_heap = 0;
    for (uint32_t i = 0; i < n; i++)
        look_right(m, i, look, arg);
    while (m->n_heap) {
        uint64_t entry = heap_pop(m);
        uint32_t i = (uint32_t)entry;
        struct symbol *left = &m->symbols[i];

        if (left->order == MERGE_NEVER || left->order != entry >> 32)
            continue;
        join(m, i);
        if (left->prev != MERGE_END)
            look_right(m, left->prev, look, arg);
        look_right(m, i, look, arg);
    }
}
