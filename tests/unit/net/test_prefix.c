/* The prefix cache against a list of all texts ever published: whatever is attached is the
 * sequence's own text, the longest that is known as long as nothing was evicted, and each page is
 * free, used or idle, and only one of them. Keys stand for a network: they hold the token, and a
 * sum over the tenant and all tokens before. */
#include "model/net/prefix.h"

#include <string.h>

#include "model/net/kv.h"
#include "unit/nomem.h"
#include "unit/suite.h"

/* Check writes down each assertion that holds: too much for so many. */
#define MUST(what)                                                                                 \
    do {                                                                                           \
        if (!(what))                                                                               \
            ck_abort_msg("not so: %s", #what);                                                     \
    } while (0)

enum { SEQS = 6, MAX = 5 * KV_BLOCK, KNOWN = 400, MOST_PAGES = 200 };

struct text {
    uint64_t tenant;
    uint32_t n;
    int32_t ids[MAX];
    float sums[MAX]; /* what a network would make of the text up to there */
};

struct world {
    struct kv kv;
    bool live[SEQS], closed[SEQS];
    uint32_t published[SEQS];
    struct text texts[SEQS]; /* of each sequence; n: stored */
    struct text known[KNOWN];
    size_t n_known;
};

static size_t n_exact, n_copied; /* attaches that had to find all there was, and found something */

static uint32_t random_below(uint32_t n)
{
    static uint64_t x = 88172645463325252u;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    return (uint32_t)(x >> 33) % n;
}

static void sum_up(struct text *t)
{
    uint32_t sum = (uint32_t)t->tenant * 7919u + 1u;
    for (uint32_t i = 0; i < MAX; i++) {
        sum = sum * 31u + (uint32_t)t->ids[i] + 1u;
        t->sums[i] = (float)(sum & 0xFFFFFFu);
    }
}

static void open_world(struct world *w, size_t n_pages, size_t max_idle)
{
    const struct kv_opts o = {.type = MODEL_KV_F32,
                              .n_layer = 1,
                              .n_kv = 1,
                              .head_dim = 2,
                              .n_pages = n_pages,
                              .n_seqs = SEQS,
                              .max_idle = max_idle};
    memset(w, 0, sizeof(*w));
    ck_assert_int_eq(kv_open(&w->kv, &o), ST_OK);
}

/* Positions from .. to of the sequence's text are stored. */
static void store(struct world *w, uint32_t seq, uint32_t from, uint32_t to)
{
    struct text *t = &w->texts[seq];

    sum_up(t);
    for (uint32_t pos = from; pos < to; pos++) {
        float k[2] = {(float)t->ids[pos], t->sums[pos]}, v[2] = {(float)pos, t->sums[pos]};
        uint8_t *head = kv_head_at(&w->kv, seq, 0, 0, pos / KV_BLOCK);
        kv_store_key(&w->kv, kernels_at(0), head, pos, k);
        kv_store_value(&w->kv, kernels_at(0), head, pos, v);
    }
    t->n = to;
}

static void check_stored(const struct world *w, uint32_t seq, struct text *t, uint32_t n)
{
    size_t wrong = 0;

    sum_up(t);
    for (uint32_t pos = 0; pos < n; pos++) {
        struct kv_block_f b = kv_block_f_at(&w->kv, seq, 0, 0, pos / KV_BLOCK);
        const float *k = (const float *)b.k + pos % KV_BLOCK;
        const float *v = (const float *)b.v + pos % KV_BLOCK * w->kv.dv;
        wrong += k[0] != (float)t->ids[pos] || k[KV_BLOCK] != t->sums[pos] || v[0] != (float)pos ||
                 v[1] != t->sums[pos];
    }
    MUST(wrong == 0);
}

static void count_list(const struct prefix *p, const struct prefix_list *list,
                       enum prefix_lists which, size_t *count)
{
    uint32_t before = 0;

    for (uint32_t at = list->first; at; before = at, at = p->pages[at - 1].links[which].next) {
        if (p->pages[at - 1].links[which].prev != before || count[at - 1]++ > 0)
            ck_abort_msg("list %d is broken at page %u", (int)which, at - 1);
    }
    MUST(list->last == before);
}

static void count_users(const struct kv *kv, size_t *ret_users)
{
    for (size_t s = 0; s < SEQS; s++)
        for (uint32_t i = 0; i < kv->seqs[s].n_pages; i++) {
            MUST(kv->seqs[s].pages[i] < kv->n_pages);
            ret_users[kv->seqs[s].pages[i]]++;
        }
}

static void check_page(const struct kv *kv, size_t i, size_t users, bool idle)
{
    const struct prefix_page *p = &kv->prefix.pages[i];

    if (users != kv->n_users[i] || (p->n == 0 && users > 1))
        ck_abort_msg("page %zu: %zu users", i, users);
    if (idle != (p->n > 0 && users == 0) || (p->n > 0 && p->idle != idle))
        ck_abort_msg("page %zu is%s idle", i, idle ? "" : " not");
    if (p->n == 0 || p->parent == PREFIX_NONE)
        return;
    const struct prefix_page *parent = &kv->prefix.pages[p->parent];
    if (parent->n != KV_BLOCK || parent->tenant != p->tenant || kv->n_users[p->parent] < users)
        ck_abort_msg("page %zu has no page before it", i);
}

static void check_pages(const struct kv *kv)
{
    size_t users[MOST_PAGES] = {0}, empty[MOST_PAGES] = {0}, idle[MOST_PAGES] = {0},
           by_place[MOST_PAGES] = {0}, by_ids[MOST_PAGES] = {0}, n_idle = 0, n_cached = 0;
    const struct prefix *p = &kv->prefix;

    count_users(kv, users);
    for (size_t i = 0; i < kv->n_free; i++)
        empty[kv->free_pages[i]]++;
    count_list(p, &p->idle, PREFIX_IDLE, idle);
    for (size_t i = 0; i <= p->mask; i++) {
        count_list(p, &p->by_place[i], PREFIX_BY_PLACE, by_place);
        count_list(p, &p->by_ids[i], PREFIX_BY_IDS, by_ids);
    }
    for (size_t i = 0; i < kv->n_pages; i++) {
        if (empty[i] + idle[i] + (users[i] > 0) != 1 || by_place[i] != (p->pages[i].n > 0) ||
            by_ids[i] != (p->pages[i].n == KV_BLOCK))
            ck_abort_msg("page %zu is lost, or in two places", i);
        check_page(kv, i, users[i], idle[i] > 0);
        n_idle += idle[i];
        n_cached += p->pages[i].n > 0;
    }
    MUST(n_idle == p->n_idle);
    MUST(n_cached == p->n_cached);
    MUST(kv_pages_free(kv) == kv->n_free + n_idle);
}

/* The most positions of t that any published text begins with. */
static uint32_t longest_known(const struct world *w, const struct text *t)
{
    uint32_t best = 0;

    for (size_t i = 0; i < w->n_known; i++) {
        const struct text *k = &w->known[i];
        uint32_t n = 0;
        while (k->tenant == t->tenant && n < k->n && n + 1 < t->n && k->ids[n] == t->ids[n])
            n++;
        best = n > best ? n : best;
    }
    return best;
}

/* A text that begins like another one more often than not, and often ends near a page's end. */
static void make_text(const struct world *w, struct text *t)
{
    const struct text *like = &w->known[w->n_known ? random_below((uint32_t)w->n_known) : 0];
    uint32_t n = random_below(3)
                     ? random_below(MAX) + 1
                     : (random_below(MAX / KV_BLOCK - 1) + 1) * KV_BLOCK + random_below(3) - 1;
    uint32_t alike = random_below(5) ? random_below(n + 1) : n;

    t->tenant = random_below(8) ? like->tenant : random_below(2);
    t->n = n;
    for (uint32_t i = 0; i < n; i++)
        t->ids[i] = i < alike && i < like->n ? like->ids[i] : (int32_t)random_below(3);
}

static void attach(struct world *w, uint32_t seq)
{
    struct text *t = &w->texts[seq];
    const bool sure = w->kv.evicted == 0 && w->kv.n_free > 0;
    const size_t room = kv_pages_free(&w->kv);
    uint32_t idle = 0, taken;

    MUST(kv_seq_take(&w->kv, &taken) == ST_OK);
    MUST(taken == seq);
    make_text(w, t);
    uint32_t want = longest_known(w, t);
    uint32_t hit = kv_attach(&w->kv, seq, t->tenant, t->ids, t->n);
    MUST(hit <= want);
    if (sure) {
        MUST(hit == want);
        n_exact += hit > 0;
        n_copied += hit % KV_BLOCK > 0;
    }
    check_stored(w, seq, t, hit);
    for (uint32_t i = 0; i < w->kv.seqs[seq].n_pages; i++)
        idle += w->kv.n_users[w->kv.seqs[seq].pages[i]] == 1;
    MUST(w->kv.seqs[seq].n_pages == (hit + KV_BLOCK - 1) / KV_BLOCK);
    MUST(kv_pages_free(&w->kv) == room - idle);
    w->live[seq] = true;
    w->closed[seq] = false;
    w->published[seq] = hit / KV_BLOCK * KV_BLOCK;
    /* The rest of the text, as far as there are pages. */
    uint32_t n = t->n;
    t->n = hit;
    if (kv_reserve(&w->kv, seq, n) == ST_OK)
        store(w, seq, hit, n);
    else
        MUST((n + KV_BLOCK - 1) / KV_BLOCK - w->kv.seqs[seq].n_pages > kv_pages_free(&w->kv));
}

static void grow(struct world *w, uint32_t seq)
{
    struct text *t = &w->texts[seq];
    uint32_t n = t->n + random_below(40);

    if (n > MAX || w->closed[seq] || kv_reserve(&w->kv, seq, n) != ST_OK)
        return;
    for (uint32_t i = t->n; i < n; i++)
        t->ids[i] = (int32_t)random_below(2);
    store(w, seq, t->n, n);
}

static void publish(struct world *w, uint32_t seq, bool last)
{
    struct text *t = &w->texts[seq];
    uint32_t n = last ? t->n : random_below(t->n + 1);

    if (w->closed[seq] || n < w->published[seq] || w->n_known == KNOWN)
        return;
    kv_publish(&w->kv, seq, t->tenant, t->ids, n, last);
    check_stored(w, seq, t, t->n);
    w->closed[seq] = last;
    w->published[seq] = n / KV_BLOCK * KV_BLOCK;
    w->known[w->n_known] = *t;
    w->known[w->n_known++].n = last ? n : n / KV_BLOCK * KV_BLOCK;
}

static void act(struct world *w)
{
    uint32_t seq = random_below(SEQS), what = random_below(8);

    for (uint32_t i = 0; !w->live[seq] && i < seq; i++)
        seq = w->live[i] ? seq : i; /* sequences are numbered from the first that is free */
    if (!w->live[seq])
        attach(w, seq);
    else if (what < 3)
        grow(w, seq);
    else if (what < 6)
        publish(w, seq, what == 5);
    else {
        kv_seq_give(&w->kv, seq);
        w->live[seq] = false;
    }
    check_pages(&w->kv);
}

static void run_world(size_t n_pages, size_t max_idle, bool collide, int n_acts)
{
    static struct world w;

    open_world(&w, n_pages, max_idle);
    if (collide)
        w.kv.prefix.mask = 0;
    for (int i = 0; i < n_acts; i++)
        act(&w);
    for (uint32_t i = 0; i < SEQS; i++)
        if (w.live[i])
            kv_seq_give(&w.kv, i);
    check_pages(&w.kv);
    ck_assert_uint_eq(kv_pages_free(&w.kv), n_pages);
    kv_done(&w.kv);
}

START_TEST(every_page_is_somebodys_and_hits_are_the_longest)
{
    for (int i = 0; i < 150; i++) {
        run_world(PREFIX_WALK, MOST_PAGES, false, 60); /* nothing is evicted for most of it */
        run_world(6 + random_below(30), MOST_PAGES, false, 150);
        run_world(30 + random_below(30), random_below(20), false, 150);
    }
    ck_assert_uint_gt(n_exact, 1000); /* else this shows little */
    ck_assert_uint_gt(n_copied, 500);
}
END_TEST

START_TEST(colliding_hashes_give_nobodys_text)
{
    for (int i = 0; i < 100; i++)
        run_world(6 + random_below(58), MOST_PAGES, true, 100);
}
END_TEST

/* A closed sequence of n tokens, gone again; ids[first] tells it from others. */
static void pass_by(struct world *w, uint64_t tenant, uint32_t n, uint32_t first, int32_t id)
{
    uint32_t seq;
    struct text t = {.tenant = tenant, .n = n};

    t.ids[first] = id;
    ck_assert_int_eq(kv_seq_take(&w->kv, &seq), ST_OK);
    uint32_t hit = kv_attach(&w->kv, seq, tenant, t.ids, n);
    ck_assert_int_eq(kv_reserve(&w->kv, seq, n), ST_OK);
    w->texts[seq] = t;
    store(w, seq, hit, n);
    kv_publish(&w->kv, seq, tenant, t.ids, n, true);
    kv_seq_give(&w->kv, seq);
    check_pages(&w->kv);
}

static uint32_t hit_of(struct world *w, uint64_t tenant, uint32_t n, uint32_t first, int32_t id)
{
    uint32_t seq;
    struct text t = {.tenant = tenant, .n = n};

    t.ids[first] = id;
    ck_assert_int_eq(kv_seq_take(&w->kv, &seq), ST_OK);
    uint32_t hit = kv_attach(&w->kv, seq, tenant, t.ids, n);
    check_stored(w, seq, &t, hit);
    kv_seq_give(&w->kv, seq);
    check_pages(&w->kv);
    return hit;
}

START_TEST(the_end_of_what_was_used_longest_ago_goes_first)
{
    static struct world w;

    open_world(&w, 8, 8);
    pass_by(&w, 1, 3 * KV_BLOCK, 0, 1); /* pages 1 2 3 */
    pass_by(&w, 1, 3 * KV_BLOCK, 0, 2); /* 4 5 6 */
    ck_assert_uint_eq(hit_of(&w, 1, 3 * KV_BLOCK + 1, 0, 1), 3 * KV_BLOCK);
    pass_by(&w, 1, 3 * KV_BLOCK, 0, 3); /* 7 8, and the end of the second text's */
    ck_assert_uint_eq(w.kv.evicted, 1);
    ck_assert_uint_eq(hit_of(&w, 1, 3 * KV_BLOCK + 1, 0, 3), 3 * KV_BLOCK);
    ck_assert_uint_eq(hit_of(&w, 1, 3 * KV_BLOCK + 1, 0, 1), 3 * KV_BLOCK);
    ck_assert_uint_eq(hit_of(&w, 1, 3 * KV_BLOCK + 1, 0, 2), 2 * KV_BLOCK);
    ck_assert_uint_eq(hit_of(&w, 2, 3 * KV_BLOCK + 1, 0, 2), 0); /* another tenant */
    kv_done(&w.kv);
}
END_TEST

/* More siblings than are looked at. */
START_TEST(what_is_asked_for_is_found_among_many)
{
    static struct world w;

    open_world(&w, 190, 190);
    for (int32_t i = 1; i <= 100; i++)
        pass_by(&w, 0, KV_BLOCK, 0, i);
    ck_assert_uint_eq(hit_of(&w, 0, KV_BLOCK + 1, 0, 1), KV_BLOCK);
    ck_assert_uint_eq(hit_of(&w, 0, KV_BLOCK + 1, 0, 2), KV_BLOCK);
    for (int32_t i = 101; i < 101 + PREFIX_WALK - 2; i++)
        pass_by(&w, 0, KV_BLOCK, 0, i);
    ck_assert_uint_eq(hit_of(&w, 0, KV_BLOCK, 0, 1), KV_BLOCK - 1);
    ck_assert_uint_eq(hit_of(&w, 0, KV_BLOCK, 0, 2), KV_BLOCK - 1);
    ck_assert_uint_eq(hit_of(&w, 0, KV_BLOCK, 0, 3), 0);
    ck_assert_uint_eq(hit_of(&w, 0, KV_BLOCK + 1, 0, 3), KV_BLOCK); /* whole pages always */
    kv_done(&w.kv);
}
END_TEST

START_TEST(few_idle_pages_stay_before_memory_grows)
{
    static struct world w;

    open_world(&w, 40, 4);
    for (int32_t i = 1; i <= 30; i++) {
        pass_by(&w, 0, 2 * KV_BLOCK, 0, i);
        ck_assert_uint_le(w.kv.n_pages - w.kv.n_fresh, 6);
    }
    ck_assert_uint_eq(hit_of(&w, 0, 2 * KV_BLOCK + 1, 0, 30), 2 * KV_BLOCK);
    ck_assert_uint_eq(hit_of(&w, 0, 2 * KV_BLOCK + 1, 0, 20), 0);
    kv_done(&w.kv);
    /* Memory that was needed once is used. */
    open_world(&w, 40, 4);
    uint32_t seq;
    ck_assert_int_eq(kv_seq_take(&w.kv, &seq), ST_OK);
    ck_assert_int_eq(kv_reserve(&w.kv, seq, 20 * KV_BLOCK), ST_OK);
    kv_seq_give(&w.kv, seq);
    for (int32_t i = 1; i <= 10; i++)
        pass_by(&w, 0, 2 * KV_BLOCK, 0, i);
    ck_assert_uint_eq(w.kv.evicted, 0);
    ck_assert_uint_eq(w.kv.n_fresh, 20);
    kv_done(&w.kv);
}
END_TEST

START_TEST(a_copy_is_left_out_if_no_page_is_there)
{
    static struct world w;
    uint32_t a, b;
    const int32_t ids[2 * KV_BLOCK] = {0};

    open_world(&w, 2, 2);
    pass_by(&w, 0, 2 * KV_BLOCK, 0, 0);
    ck_assert_int_eq(kv_seq_take(&w.kv, &a), ST_OK);
    ck_assert_int_eq(kv_seq_take(&w.kv, &b), ST_OK);
    /* The second page would have to be copied onto itself. */
    ck_assert_uint_eq(kv_attach(&w.kv, a, 0, ids, 2 * KV_BLOCK), KV_BLOCK);
    ck_assert_uint_eq(kv_pages_free(&w.kv), 1);
    check_pages(&w.kv);
    ck_assert_uint_eq(kv_attach(&w.kv, b, 0, ids, 2 * KV_BLOCK), KV_BLOCK);
    ck_assert_uint_eq(kv_pages_free(&w.kv), 1); /* in use already */
    ck_assert_int_eq(kv_reserve(&w.kv, a, 2 * KV_BLOCK), ST_OK);
    ck_assert_int_eq(kv_reserve(&w.kv, b, 2 * KV_BLOCK), ST_FULL);
    check_pages(&w.kv);
    kv_done(&w.kv);
}
END_TEST

START_TEST(equal_pages_become_one)
{
    static struct world w;
    uint32_t seqs[3];
    struct text t = {.tenant = 5, .n = 2 * KV_BLOCK + 7};

    open_world(&w, 20, 20);
    for (int i = 0; i < 3; i++) { /* at the same time: none can know of the others */
        ck_assert_int_eq(kv_seq_take(&w.kv, &seqs[i]), ST_OK);
        ck_assert_uint_eq(kv_attach(&w.kv, seqs[i], 5, t.ids, t.n), 0);
        ck_assert_int_eq(kv_reserve(&w.kv, seqs[i], t.n), ST_OK);
        w.texts[seqs[i]] = t;
        store(&w, seqs[i], 0, t.n);
    }
    ck_assert_uint_eq(kv_pages_free(&w.kv), 11);
    for (int i = 0; i < 3; i++) {
        kv_publish(&w.kv, seqs[i], 5, t.ids, t.n, false);
        check_stored(&w, seqs[i], &t, t.n);
        check_pages(&w.kv);
    }
    ck_assert_uint_eq(kv_pages_free(&w.kv), 15); /* 2 shared, 3 beginnings of a third */
    ck_assert_uint_eq(w.kv.prefix.n_cached, 2);
    for (int i = 0; i < 3; i++)
        kv_publish(&w.kv, seqs[i], 5, t.ids, t.n, true);
    ck_assert_uint_eq(w.kv.prefix.n_cached, 3);
    kv_done(&w.kv);
}
END_TEST

START_TEST(no_memory_is_no_page_lost)
{
    struct kv kv;
    const struct kv_opts o = {
        .type = MODEL_KV_F32, .n_layer = 1, .n_kv = 1, .head_dim = 2, .n_pages = 9, .n_seqs = 2};
    const int32_t ids[3 * KV_BLOCK] = {0};
    int n = 0, r;
    uint32_t a, b;

    do {
        countdown = ++n;
        r = kv_open(&kv, &o);
        ck_assert(r == ST_OK || r == ST_NOMEM);
    } while (r != ST_OK);
    countdown = 0;
    ck_assert_int_gt(n, 5);
    ck_assert_int_eq(kv_seq_take(&kv, &a), ST_OK);
    ck_assert_int_eq(kv_seq_take(&kv, &b), ST_OK);
    countdown = 1;
    ck_assert_int_eq(kv_reserve(&kv, a, 3 * KV_BLOCK), ST_NOMEM);
    ck_assert_uint_eq(kv_pages_free(&kv), 9);
    ck_assert_int_eq(kv_reserve(&kv, a, 3 * KV_BLOCK), ST_OK);
    memset(kv.arena, 0, 3 * kv.page_bytes);
    kv_publish(&kv, a, 0, ids, 3 * KV_BLOCK, false);
    countdown = 1;
    ck_assert_uint_eq(kv_attach(&kv, b, 0, ids, 3 * KV_BLOCK), 0);
    ck_assert_uint_eq(kv_pages_free(&kv), 6);
    ck_assert_uint_eq(kv_attach(&kv, b, 0, ids, 3 * KV_BLOCK), 3 * KV_BLOCK - 1);
    kv_done(&kv);
}
END_TEST

RUN_SUITE("prefix", every_page_is_somebodys_and_hits_are_the_longest,
          colliding_hashes_give_nobodys_text, the_end_of_what_was_used_longest_ago_goes_first,
          what_is_asked_for_is_found_among_many, few_idle_pages_stay_before_memory_grows,
          a_copy_is_left_out_if_no_page_is_there, equal_pages_become_one, no_memory_is_no_page_lost)
