/* check.h - as much of Check as the kernel suites use, in a header: no library of it is packaged
 * for cross-compiling. The first failed assertion ends the program with status 1. */
#ifndef OCTET_TESTS_KERNELS_CROSS_CHECK_H
#define OCTET_TESTS_KERNELS_CROSS_CHECK_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    const char *name;
    void (*run)(void);
} TTest;

typedef struct {
    const char *name;
    const TTest *tests[32];
    int n;
} TCase;
typedef TCase Suite;
typedef TCase SRunner;

enum { CK_NORMAL };

#define START_TEST(test)                                                                           \
    static void test##_run(void);                                                                  \
    static const TTest test##_entry = {#test, test##_run};                                         \
    static const TTest *const test = &test##_entry;                                                \
    static void test##_run(void)
#define END_TEST

#define ck_assert_msg(holds, ...)                                                                  \
    do {                                                                                           \
        if (!(holds)) {                                                                            \
            fprintf(stderr, "%s:%d: error: " #holds ": ", __FILE__, __LINE__);                     \
            fprintf(stderr, "" __VA_ARGS__);                                                       \
            fputc('\n', stderr);                                                                   \
            exit(EXIT_FAILURE);                                                                    \
        }                                                                                          \
    } while (0)
#define ck_assert(holds) ck_assert_msg(holds, "does not hold")
#define ck_assert_int_eq(a, b)                                                                     \
    ck_assert_msg((a) == (b), "%lld, %lld", (long long)(a), (long long)(b))
#define ck_assert_uint_eq(a, b) ck_assert_int_eq(a, b)
#define ck_assert_double_le(a, b) ck_assert_msg((a) <= (b), "%g, %g", (double)(a), (double)(b))
#define ck_assert_str_eq(a, b) ck_assert_msg(strcmp(a, b) == 0, "\"%s\", \"%s\"", a, b)
#define ck_assert_ptr_eq(a, b)                                                                     \
    ck_assert_msg((a) == (b), "%p, %p", (const void *)(a), (const void *)(b))
#define ck_assert_ptr_null(a) ck_assert_ptr_eq(a, NULL)

/* One case that is its own suite and runner. */
static inline TCase *tcase_create(const char *name)
{
    static TCase only;
    only.name = name;
    return &only;
}
static inline Suite *suite_create(const char *name)
{
    return tcase_create(name);
}
static inline void tcase_set_timeout(TCase *t, double seconds)
{
    (void)t;
    (void)seconds;
}
static inline void tcase_add_test(TCase *t, const TTest *test)
{
    ck_assert(t->n < 32);
    t->tests[t->n++] = test;
}
static inline void suite_add_tcase(Suite *s, TCase *t)
{
    (void)s;
    (void)t;
}
static inline SRunner *srunner_create(Suite *s)
{
    return s;
}
static inline void srunner_run_all(SRunner *r, int mode)
{
    (void)mode;
    for (int i = 0; i < r->n; i++) {
        r->tests[i]->run();
        printf("%s: %s\n", r->name, r->tests[i]->name);
    }
}
static inline int srunner_ntests_failed(const SRunner *r)
{
    (void)r;
    return 0;
}
static inline void srunner_free(SRunner *r)
{
    (void)r;
}

#endif
