/* rows.h - a tile's number of rows as a constant, so that its sums stay in registers.
 *
 * ROWS_TO_4(n, f(a, ROWS)) calls f with ROWS = n, 1 <= n <= 4 (anything else is undefined); each
 * call is a copy of an inlined f.
 */
#ifndef OCTET_MODEL_KERNELS_ROWS_H
#define OCTET_MODEL_KERNELS_ROWS_H

#define ROWS_CASE(n, call)                                                                         \
    case n: {                                                                                      \
        enum { ROWS = n };                                                                         \
        call;                                                                                      \
        break;                                                                                     \
    }

#define ROWS_CASES_4(call)                                                                         \
    ROWS_CASE(1, call)                                                                             \
    ROWS_CASE(2, call)                                                                             \
    ROWS_CASE(3, call)                                                                             \
    ROWS_CASE(4, call)
#define ROWS_CASES_6(call)                                                                         \
    ROWS_CASES_4(call)                                                                             \
    ROWS_CASE(5, call)                                                                             \
    ROWS_CASE(6, call)
#define ROWS_CASES_12(call)                                                                        \
    ROWS_CASES_6(call)                                                                             \
    ROWS_CASE(7, call)                                                                             \
    ROWS_CASE(8, call)                                                                             \
    ROWS_CASE(9, call)                                                                             \
    ROWS_CASE(10, call)                                                                            \
    ROWS_CASE(11, call)                                                                            \
    ROWS_CASE(12, call)

#define ROWS_SWITCH(n, cases)                                                                      \
    switch (n) {                                                                                   \
        cases default : __builtin_unreachable();                                                   \
    }

#define ROWS_TO_4(n, call) ROWS_SWITCH(n, ROWS_CASES_4(call))
#define ROWS_TO_6(n, call) ROWS_SWITCH(n, ROWS_CASES_6(call))
#define ROWS_TO_12(n, call) ROWS_SWITCH(n, ROWS_CASES_12(call))

#endif
