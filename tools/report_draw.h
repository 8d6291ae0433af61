/* report_draw.h - what the report's writers share: fields of the document, text made harmless,
 * charts.
 *
 * Owner, memory, threads: functions over the caller's document and file.
 * Errors: a field that is missing reads as 0 or "". */
#ifndef OCTET_TOOLS_REPORT_DRAW_H
#define OCTET_TOOLS_REPORT_DRAW_H

#include <jansson.h>
#include <stdio.h>

/* A number, or a text, at "totals.bytes_in". */
double report_number(const json_t *from, const char *path);
const char *report_text(const json_t *from, const char *path);

/* Any bytes as text of a page: what HTML reads as more than text, and what is not UTF-8, is not left
 * as it is. */
void report_put_html(FILE *f, const char *text);

/* "blk.N.kind.weight" → N and kind ("attn_q") with its length; false: another name. */
int report_layer_of(const char *name, const char **ret_kind, int *ret_len);

/* Charts as inline SVG of class "chart", coloured by the page's style. */
void report_draw_histogram(FILE *f, const json_t *worst); /* an element of "worst" */
void report_draw_plans(FILE *f, const json_t *plans);

#endif
