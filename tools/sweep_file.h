/* sweep_file.h - the results of a sensitivity sweep as JSON lines, written one by one as they come, so
 * that one that was interrupted goes on where it stopped, and a second budget costs no second sweep.
 *
 * The first line says what they are of:
 *   {"octet_sweep": 1, "version", "source", "text", "calibration", "clip",
 *    "tokens", "ctx", "ids"}
 *     source: digest of the model's file; ids: of the text it was measured on, sequences of ctx
 *     tokens; text: their SHA-256; calibration: that of the text that errors were compensated by,
 *     null if they were not; clip: whether ranges were searched
 * then, in any order, what a unit loses when it alone is quantized, the rest in FP32:
 *   {"unit": "blk.0.attn_qkv", "modules": ["blk.0.attn_q", ...], "choice": "int8-h64-g32",
 *    "weights", "bytes", "kld"}
 *     bytes: of the unit in a file; kld: nats a token. The unit "kv" is the key/value cache in INT8
 * and the plans that were tried:
 *   {"plan": {...}, "bytes": of its matrices, "weights", "file_bytes", "kld_predicted": the sum of its
 *    units and kv, "kld": measured of the whole file; null: not yet}
 * Unknown lines and fields are left alone.
 *
 * Owner:   the subcommand.
 * Memory:  everything the file holds, until sweep_file_close.
 * Errors:  ST_IO, ST_FORMAT naming file and line; ST_INVALID for a file of another sweep.
 * Threads: the main thread only. */
#ifndef OCTET_TOOLS_SWEEP_FILE_H
#define OCTET_TOOLS_SWEEP_FILE_H

#include <jansson.h>
#include <stdio.h>

#include "model/model.h"

struct sweep_file {
    const char *path; /* NULL: nothing is kept */
    FILE *file;
    json_t *known; /* "unit choice" → its line */
    json_t *lines; /* units and plans, in order */
};

/* path: made if it is not there; its last line may be half a one. facts: of the sweep that goes on. */
int sweep_file_open(const char *path, const struct sweep_facts *facts, struct sweep_file *ret_file,
                    struct error *err);
void sweep_file_close(struct sweep_file *f);

/* The line of a unit's choice; NULL: not there. */
const json_t *sweep_file_find(const struct sweep_file *f, const char *unit, const char *choice);
/* Takes item's line into what is known, and to the end of the file. */
int sweep_file_add(struct sweep_file *f, const struct sweep_item *item, struct error *err);
/* A line of another kind, as it is; takes it over. */
int sweep_file_note(struct sweep_file *f, json_t *line, struct error *err);

#endif
