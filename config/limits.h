/* limits.h - compile-time ceilings. Everything from outside is held against one of these, once, at
 * the edge.
 *
 * Raising one? Say in its comment what memory or time it bounds. */
#ifndef OCTET_CONFIG_LIMITS_H
#define OCTET_CONFIG_LIMITS_H

/* Model files: counts come from an untrusted file and are multiplied with sizes. */
#define LIMIT_GGUF_TENSORS 65536u
#define LIMIT_GGUF_KEYS 65536u
#define LIMIT_GGUF_NAME 256u /* bytes of a tensor's or key's name */
#define LIMIT_GGUF_DIMS 4u
#define LIMIT_SAFETENSORS_HEADER 16777216u /* bytes of JSON; a tensor takes some 120 */
#define LIMIT_SHARDS 4096u                 /* files of one model */
#define LIMIT_MODEL_JSON_BYTES 67108864u   /* of tokenizer.json and its like; parsed: 20 times it */
#define LIMIT_MODEL_JSON_CONTAINERS 4194304u /* objects and arrays: some 100 bytes each */
#define LIMIT_PLAN_BYTES 1048576u            /* of mixed precision: a module takes some 30 */
#define LIMIT_PLAN_MODULES 16384u
#define LIMIT_VOCAB 1048576u /* tokens */
#define LIMIT_LAYERS 1024u
#define LIMIT_WIDTH 262144u    /* any of d_model, d_ff, rows of a head */
#define LIMIT_CONTEXT 1048576u /* positions */

/* Requests. */
#define LIMIT_BODY_BYTES 1048576u /* of a request; one more is 413 */
#define LIMIT_JSON_DEPTH 32u      /* jansson's own is 2048: a stack and memory bomb */
#define LIMIT_JSON_CONTAINERS                                                                      \
    4096u /* objects and arrays of a body: an empty one costs 80 times its bytes */
#define LIMIT_JSON_MEMBERS 8192u /* keys of all objects of a body */
#define LIMIT_STOP_STRINGS 16u
#define LIMIT_STOP_BYTES 1024u /* of one stop string */
#define LIMIT_MAX_BATCH 1024u
#define LIMIT_DRAFT 15u /* rows that one sequence adds to a step; model.h's MODEL_MAX_DRAFT */
#define LIMIT_MAX_QUEUE 65536u
#define LIMIT_THREADS 1024u
#define LIMIT_TIMEOUT_MS 2147483647u /* any setting or field that is a time: 24 days */
#define LIMIT_CONFIG_BYTES 1048576u  /* of a --config file */

#endif
