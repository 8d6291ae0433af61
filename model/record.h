/* record.h - the record of a model's quality in its file's metadata: octet.quality.*.
 *
 * Owner, memory: the caller's. Errors: ST_NOTFOUND (no record), ST_FORMAT (a record that is not
 * whole or not possible, naming the key). Threads: any. */
#ifndef OCTET_MODEL_RECORD_H
#define OCTET_MODEL_RECORD_H

#include "config/quality.h"
#include "model/format/gguf.h"
#include "model/model.h"

int record_read(const struct gguf *g, struct quality *ret_quality, struct error *err);

/* gguf_digest(), its progress told the way of model.h; progress may be NULL. */
void record_digest(const struct gguf *g, const struct model_progress *progress,
                   char hex[static SHA256_HEX]);

#endif
