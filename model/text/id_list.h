/* id_list.h - a growing list of token ids.
 *
 * Owner:   one call's scratch.
 * Memory:  the caller frees ids.
 * Errors:  ST_NOMEM; the list stays as it was.
 * Threads: no shared state. */
#ifndef OCTET_MODEL_TEXT_ID_LIST_H
#define OCTET_MODEL_TEXT_ID_LIST_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "config/status.h"

struct id_list {
    int32_t *ids;
    size_t n, cap;
};

static inline int id_list_push(struct id_list *list, int32_t id)
{
    if (list->n == list->cap) {
        size_t cap = list->cap ? list->cap * 2 : 64;
        int32_t *ids = realloc(list->ids, cap * sizeof(*ids));

        if (!ids)
            return ST_NOMEM;
        list->ids = ids;
        list->cap = cap;
    }
    list->ids[list->n++] = id;
    return ST_OK;
}

#endif
