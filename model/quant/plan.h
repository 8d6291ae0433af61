/* plan.h - mixed precision: which module of a model is stored as what. A default scheme, and modules
 * or patterns of them that have choices of their own; of those that fit a module the last counts.
 *
 * A module is a matrix's name without ".weight": "blk.3.ffn_down", "token_embd", "output". In a
 * pattern a * stands for any letters: "blk.*.attn_v".
 *
 * Owner:   one thread writes, any may read after.
 * Memory:  opened plans are given back by quant_plan_free.
 * Errors:  ST_INVALID, ST_FORMAT naming the module and what would be right; ST_NOMEM, ST_TOOLONG. */
#ifndef OCTET_MODEL_QUANT_PLAN_H
#define OCTET_MODEL_QUANT_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config/status.h"
#include "model/quant/spec.h"

struct quant_plan;

/* scheme: as quant_scheme_parse takes it, what all modules are at first. */
int quant_plan_new(const char *scheme, struct quant_plan **ret_plan, struct error *err);
/* Modules that fit are `choice` from now on: "int8-g32", "int4-g64", "f16", "f32". */
int quant_plan_set(struct quant_plan *plan, const char *pattern, const char *choice,
                   struct error *err);
/* JSON, as format/plan_json.h has it: from a text (name: for messages), or a file. */
int quant_plan_parse(const char *name, const char *text, size_t len, struct quant_plan **ret_plan,
                     struct error *err);
int quant_plan_read(const char *path, struct quant_plan **ret_plan, struct error *err);
void quant_plan_free(struct quant_plan *plan);

/* The plan as JSON with its labels in full, one line a module; the caller frees it. NULL: no
 * memory. */
char *quant_plan_json(const struct quant_plan *plan);
/* "int8-h64-g64" where one scheme is all there is, else "mixed:int8-h64-g64". Returns buf. */
const char *quant_plan_label(const struct quant_plan *plan, char *buf, size_t len);
/* What standard Q8_0 can hold, and nothing else. */
bool quant_plan_is_q8_0(const struct quant_plan *plan);
/* Activations of one or more matrices are static: quantizing needs observations. */
bool quant_plan_is_static(const struct quant_plan *plan);
/* What is said of the embedding is not what is said of the head. */
bool quant_plan_embed_differs(const struct quant_plan *plan);
/* Pattern i in their order; NULL after the last. */
const char *quant_plan_pattern(const struct quant_plan *plan, size_t i);
bool quant_plan_fits(const char *pattern, const char *module);

/* What matrix `name` ("output.weight") is to be; tied: the embedding is the head. */
const struct quant_choice *quant_plan_choice(const struct quant_plan *plan, const char *name,
                                             bool tied);
/* Its spec: as quant_spec_for gives it, but that matrices which read the same input (q, k and v;
 * gate and up) agree on how it is quantized (the smallest blocks and groups, zero points if one has
 * them, static only if all are), that v is turned only where o is, and that an embedding has no step
 * a channel. */
struct quant_spec quant_plan_spec(const struct quant_plan *plan, const char *name,
                                  enum quant_role role, size_t k, uint32_t head_block, bool tied);

#endif
