/* suite.h - main() of a Check program: one list of tests, one exit status. */
#ifndef OCTET_TESTS_UNIT_SUITE_H
#define OCTET_TESTS_UNIT_SUITE_H

#include <check.h>

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
    return failed ? 1 : 0;
}

#endif
