/* bench_report.h - what `octet bench engine` says of a cell: a row of a table, or a JSON line.
 *
 * Owner:   the subcommand.
 * Memory:  nothing is kept but the first cell of a batch size, which the others are held against.
 * Errors:  none.
 * Threads: the main thread only. */
#ifndef OCTET_TOOLS_BENCH_REPORT_H
#define OCTET_TOOLS_BENCH_REPORT_H

#include "tools/bench_roofline.h"

struct bench_cell {
    struct bench_shape shape;
    struct bench_times times;     /* its profiles are of a run of their own */
    struct machine_limits limits; /* the best so far, or zeros */
    struct bench_cost cost;
};

struct bench_report {
    bool json, roofline, profile, ctx; /* what was asked for */
    const char *precision;
    const struct model_info *model;
    bool begun;              /* the table has its head */
    struct bench_cell first; /* of this batch size, for --ctx */
};

void bench_report_cell(struct bench_report *report, const struct bench_cell *cell);
/* Under the table: the limits that the shares are of. */
void bench_report_end(const struct bench_report *report, const struct machine_limits *limits);

#endif
