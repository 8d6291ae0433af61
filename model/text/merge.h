/* merge.h - the merging both families share: neighbours are joined, best first, leftmost among
 * equals.
 *
 * Owner:   one call's scratch.
 * Memory:  symbols and heap grow to the longest piece seen; merge_done gives them back.
 * Errors:  ST_NOMEM from merge_reserve; merge_run can't fail.
 * Threads: no shared state.
 * Cost:    O(n log n) calls of look. */
#ifndef OCTET_MODEL_TEXT_MERGE_H
#define OCTET_MODEL_TEXT_MERGE_H

#include <stddef.h>
#include <stdint.h>

#define MERGE_NEVER UINT32_MAX
#define MERGE_END UINT32_MAX

struct symbol {
    uint32_t at, len;    /* of the text; only look reads them */
    int32_t id;          /* token, or -1 */
    uint32_t prev, next; /* MERGE_END: none */
    uint32_t order;      /* when it joins its right neighbour: less is sooner */
    int32_t joined;      /* … and the token they make */
};

struct merge {
    struct symbol *symbols;
    uint64_t *heap;
    size_t cap;
    size_t n_heap;
};

/* May left join right? Sets left's order and joined; the order of "no" is MERGE_NEVER. */
typedef void merge_look(const void *arg, struct symbol *left, const struct symbol *right);

/* Room for n symbols; what they held is lost. */
int merge_reserve(struct merge *m, size_t n);
/* n > 0 symbols with at, len and id set → the list from symbols[0] along next. */
void merge_run(struct merge *m, size_t n, merge_look *look, const void *arg);
void merge_done(struct merge *m);

#endif
