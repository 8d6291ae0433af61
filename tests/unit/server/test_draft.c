#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "server/draft.h"
#include "unit/suite.h"

#define MAX 4096u

static struct draft draft;
static int32_t ids[MAX + 32];

static uint32_t known(const char *text)
{
    uint32_t n = (uint32_t)strlen(text);

    for (uint32_t i = 0; i < n; i++)
        ids[i] = text[i];
    return n;
}

/* What is guessed behind text, as text. */
static const char *guess(const char *text, uint32_t most)
{
    static char out[64];
    uint32_t n = known(text), n_guesses = draft_guess(&draft, ids, n, most);

    for (uint32_t i = 0; i < n_guesses; i++)
        out[i] = (char)ids[n + i];
    out[n_guesses] = '\0';
    return out;
}

static const char *guess_anew(const char *text, uint32_t most)
{
    draft_done(&draft);
    draft_init(&draft);
    return guess(text, most);
}

START_TEST(test_what_followed_before_is_guessed)
{
    ck_assert_str_eq(guess_anew("the cat sat. the c", 6), "at sat");
    ck_assert_str_eq(guess_anew("abXabYab", 1), "Y");       /* the latest */
    ck_assert_str_eq(guess_anew("wxabP..ab..xab", 1), "P"); /* but a longer match first */
    ck_assert_str_eq(guess_anew("abcdef", 4), "");
    ck_assert_str_eq(guess_anew("a.a", 4), ""); /* one token is no match */
    ck_assert_str_eq(guess_anew("", 4), "");
    ck_assert_str_eq(guess_anew("a", 4), "");
    ck_assert_str_eq(guess_anew("ab..ab", 0), "");
    draft_done(&draft);
}
END_TEST

START_TEST(test_what_goes_round_goes_on)
{
    ck_assert_str_eq(guess_anew("abcabc", 8), "abcabcab");
    ck_assert_str_eq(guess_anew("xxx", 5), "xxxxx");
    draft_done(&draft);
}
END_TEST

START_TEST(test_a_text_may_grow_by_any_number)
{
    guess_anew("one two three ", 4);
    ck_assert_str_eq(guess("one two three one t", 3), "wo ");
    ck_assert_str_eq(guess("one two three one two thre", 4), "e on");
    ck_assert_str_eq(guess("one two three one two three", 2), " o");
    draft_done(&draft);
}
END_TEST

/* Against the plain search that it stands for. */
static uint32_t slow_find(uint32_t n)
{
    for (uint32_t len = 4; len >= 2; len--)
        for (uint32_t end = n - 1; n > len && end >= len; end--)
            if (memcmp(ids + end - len, ids + n - len, len * sizeof(*ids)) == 0)
                return end;
    return 0;
}

START_TEST(test_random_texts_against_a_plain_search)
{
    uint32_t found = 0, same = 0;

    for (int run = 0; run < 20; run++) {
        srand((unsigned)run);
        draft_done(&draft);
        draft_init(&draft);
        int kinds = 2 + rand() % 60;
        for (uint32_t n = 0; n < 1000; n += 1 + (uint32_t)rand() % 5) {
            /* Beyond n stands what was guessed before, as it does in a request. */
            for (uint32_t i = n; i < n + 5; i++)
                ids[i] = rand() % kinds;
            uint32_t end = n > 0 ? slow_find(n) : 0;
            uint32_t n_guesses = draft_guess(&draft, ids, n, 4);
            ck_assert(n_guesses == 0 || n_guesses == 4);
            found += end != 0;
            same += end != 0 && n_guesses == 4 && ids[n] == ids[end];
            ck_assert(n_guesses == 0 || end != 0); /* what is guessed has stood there */
        }
    }
    ck_assert_uint_gt(found, 1000);
    ck_assert_uint_gt(same * 10, found * 9); /* few are lost to slots that collide */
    draft_done(&draft);
}
END_TEST

START_TEST(test_memory_is_bounded)
{
    static int32_t many[200016];

    draft_init(&draft);
    for (uint32_t i = 0; i < 200000; i++)
        many[i] = (int32_t)i;
    for (uint32_t i = 0; i < 100; i++)
        many[200000 - 100 + i] = (int32_t)(200000 - 1100 + i);
    ck_assert_uint_eq(draft_guess(&draft, many, 200000, 8), 8);
    ck_assert_int_eq(many[200000], 200000 - 1000);
    ck_assert_uint_le(draft.n_slots, 65536);
    draft_done(&draft);
}
END_TEST

START_TEST(test_chances_follow_what_was_right)
{
    guess_anew("abcdefghij..abcdefghij", 4); /* a match of 8 and more */
    double first = draft_chance(&draft, 0);
    ck_assert_double_eq_tol(draft_chance(&draft, 1), first * first, 1e-9);
    for (int i = 0; i < 50; i++)
        draft_saw(&draft, 4, 4);
    ck_assert_double_gt(draft_chance(&draft, 3), 0.95);
    for (int i = 0; i < 20; i++)
        draft_saw(&draft, 1, 0);
    ck_assert_double_lt(draft_chance(&draft, 0), 0.1);

    draft.match = 2; /* that is another matter */
    ck_assert_double_eq_tol(draft_chance(&draft, 0), first, 1e-9);
    draft_saw(&draft, 4, 1); /* right, then wrong; of the others nothing is known */
    ck_assert_double_gt(draft.right[2], first);
    ck_assert_double_lt(draft.right[3], first);
    ck_assert_double_eq_tol(draft.right[4], first, 1e-9);
    draft_done(&draft);
}
END_TEST

/* ---- whom to give rows ---- */

static void learn(struct pace *pace, double fixed, double per_row)
{
    pace_init(pace, 0);
    for (int round = 0; round < 20; round++)
        for (uint32_t n = 1; n <= 64; n++)
            pace_saw(pace, &(struct pace_step){.n_decoding = n}, fixed + per_row * n);
}

static void offer(struct draft_offer *offers, struct draft *drafts, unsigned n, double right)
{
    for (unsigned i = 0; i < n; i++) {
        drafts[i] = (struct draft){.n_guesses = 15, .match = 8};
        drafts[i].right[8] = right;
        offers[i].draft = &drafts[i];
    }
}

START_TEST(test_rows_go_where_they_make_most_tokens)
{
    struct draft_offer offers[16];
    struct draft drafts[16];
    struct pace pace;

    learn(&pace, 5000, 20); /* rows cost nearly nothing */
    offer(offers, drafts, 1, 0.9);
    ck_assert_uint_ge(draft_share(offers, 1, 1, 31, &pace), 14);
    offer(offers, drafts, 1, 0.5);
    uint32_t n = draft_share(offers, 1, 1, 31, &pace);
    ck_assert_uint_ge(n, 4);
    ck_assert_uint_le(n, 9); /* 0.5^n against 20 of 5000 */
    ck_assert_uint_eq(offers[0].n, n);
    ck_assert_uint_eq(draft_share(offers, 1, 1, 3, &pace), 3);

    offer(offers, drafts, 4, 0.2);
    drafts[2].right[8] = 0.95;
    n = draft_share(offers, 4, 4, 20, &pace);
    ck_assert_uint_eq(offers[0].n + offers[1].n + offers[2].n + offers[3].n, n);
    ck_assert_uint_ge(offers[2].n, 12);
    ck_assert_uint_le(offers[0].n, 3);
}
END_TEST

START_TEST(test_nothing_is_guessed_where_rows_cost_their_time)
{
    struct draft_offer offers[16];
    struct draft drafts[16];
    struct pace pace;

    learn(&pace, 10, 1000);
    offer(offers, drafts, 16, 0.9);
    ck_assert_uint_eq(draft_share(offers, 16, 16, 48, &pace), 0);
    ck_assert_uint_eq(offers[3].n, 0);
    pace_init(&pace, 0); /* nothing is known: nothing is risked */
    ck_assert_uint_eq(draft_share(offers, 16, 16, 48, &pace), 0);
    ck_assert_uint_eq(draft_share(offers, 0, 1, 8, &pace), 0);
}
END_TEST

RUN_SUITE("draft", test_what_followed_before_is_guessed, test_what_goes_round_goes_on,
          test_a_text_may_grow_by_any_number, test_random_texts_against_a_plain_search,
          test_memory_is_bounded, test_chances_follow_what_was_right,
          test_rows_go_where_they_make_most_tokens,
          test_nothing_is_guessed_where_rows_cost_their_time)
