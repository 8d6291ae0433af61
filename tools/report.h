/* report.h - what quantizing did to each matrix and what was measured, as a page to look at: HTML
 * that needs nothing but itself, Markdown, or JSON.
 *
 * One JSON document holds all of it; the two others are drawn from that, so all three say the same.
 * Owner:   octet quantize.
 * Memory:  a document is the caller's; the writers keep nothing.
 * Errors:  an enum status and a sentence naming the file or the flag.
 * Threads: the main thread only. */
#ifndef OCTET_TOOLS_REPORT_H
#define OCTET_TOOLS_REPORT_H

#include <jansson.h>
#include <stdio.h>

#include "model/model.h"

struct report {
    const struct model_quantize_opts *opts;
    const struct model_quantize_report *result; /* with statistics */
    double seconds;
    json_t *evaluation; /* of evaluate_json(); NULL: nothing was measured */
    json_t *sweep;      /* lines of a sweep's file, units and plans; NULL: there was none */
};

/* Before the work: names by comma, each ending in .html, .md or .json, none of them a model that is
 * read or written (in, out), else ST_INVALID; each in a folder that can be written into, else
 * ST_IO. */
int report_check(const char *files, const char *in, const char *out, struct error *err);
/* NULL: out of memory. */
json_t *report_document(const struct report *report);
/* Each of the files whole or not at all. */
int report_write(const json_t *document, const char *files, struct error *err);

/* What lines of a sweep tell: [{"unit", "choice", "bytes", "kld"}], and [{"plan", "bytes", "kld",
 * "predicted", "chosen"}], kld where it was measured; file_bytes: of the plan taken. */
json_t *report_units(const json_t *lines);
json_t *report_plans(const json_t *lines, uint64_t file_bytes);

/* As write errors go, the file's own flag tells. */
void report_html(FILE *f, const json_t *document);
void report_markdown(FILE *f, const json_t *document);

#endif
