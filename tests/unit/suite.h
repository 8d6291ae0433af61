/* suite.h - main() of a Check program: one suite of one case, one exit status. */
#ifndef OCTET_TESTS_UNIT_SUITE_H
#define OCTET_TESTS_UNIT_SUITE_H

#include <check.h>
#include <stdlib.h>

/* tests: the START_TESTs, ended by NULL. timeout in seconds. */
static inline int suite_run(const char *name, const TTest *const *tests, double timeout)
{
    Suite *s = suite_create(name);
    TCase *t = tcase_create(name);
    SRunner *r = srunner_create(s);

    tcase_set_timeout(t, timeout);
    for (size_t i = 0; tests[i]; i++)
        tcase_add_test(t, tests[i]);
    suite_add_tcase(s, t);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

/* The main() itself, where 60 seconds a test are enough. */
#define RUN_SUITE(name, ...)                                                                       \
    int main(void)                                                                                 \
    {                                                                                              \
        const TTest *const tests[] = {__VA_ARGS__, NULL};                                          \
        return suite_run(name, tests, 60);                                                         \
    }

#endif
