/* merge_run against the rule written down: join the best pair, leftmost of equals, until none is
 * left. */
#include <check.h>
#include <stdlib.h>

#include "model/text/merge.h"
#include "unit/suite.h"

#define N_IDS 12

/* ranks[a][b]: order in which a joins b, and what they make. */
struct rules {
    uint32_t order[N_IDS][N_IDS];
    int32_t joined[N_IDS][N_IDS];
};

static void look(const void *arg, struct symbol *left, const struct symbol *right)
{
    const struct rules *r = arg;

    left->order = r->order[left->id][right->id];
    left->joined = r->joined[left->id][right->id];
}

static size_t slowly(const struct rules *r, int32_t *ids, size_t n)
{
    for (;;) {
        uint32_t best = MERGE_NEVER;
        size_t at = 0;

        for (size_t i = 0; i + 1 < n; i++) {
            if (r->order[ids[i]][ids[i + 1]] < best) {
                best = r->order[ids[i]][ids[i + 1]];
                at = i;
            }
        }
        if (best == MERGE_NEVER)
            return n;
        ids[at] = r->joined[ids[at]][ids[at + 1]];
        n--;
        for (size_t i = at + 1; i < n; i++)
            ids[i] = ids[i + 1];
    }
}

START_TEST(rule)
{
    struct merge m = {0};
    struct rules rules;
    int32_t ids[200];

    srand(1);
    for (int round = 0; round < 1000; round++) {
        size_t n = 1 + (size_t)rand() % 200, n_slow;
        int few = 1 + rand() % 6;

        for (int a = 0; a < N_IDS; a++) {
            for (int b = 0; b < N_IDS; b++) {
                rules.order[a][b] = rand() % 3 ? MERGE_NEVER : (uint32_t)(rand() % few);
                rules.joined[a][b] = rand() % N_IDS;
            }
        }
        ck_assert_int_eq(merge_reserve(&m, n), 0);
        for (size_t i = 0; i < n; i++) {
            ids[i] = rand() % N_IDS;
            m.symbols[i] = (struct symbol){.at = (uint32_t)i, .len = 1, .id = ids[i]};
        }
        n_slow = slowly(&rules, ids, n);
        merge_run(&m, n, look, &rules);
        size_t seen = 0, end = 0;
        for (uint32_t i = 0; i != MERGE_END && seen < n_slow; i = m.symbols[i].next, seen++) {
            if (m.symbols[i].id != ids[seen] || m.symbols[i].at != end)
                break; /* the ids are the same and the spans stay in one row */
            end += m.symbols[i].len;
        }
        ck_assert_uint_eq(seen, n_slow);
        ck_assert_uint_eq(end, n);
    }
    merge_done(&m);
}
END_TEST

RUN_SUITE("merge", rule)
