/* model.h - the only door to the model: open, text, sequences, step, sample, close, in path order.
 *
 * A model is what was loaded: weights and vocabulary, immutable once open. A runner is what changes
 * while it runs: key/value pages, scratch, the compute threads. A sequence is one text growing
 * inside a runner.
 *
 * Owner:   a model may be shared; a runner, its sequences and samplers belong to one thread (the
 *          engine's).
 * Memory:  whatever *_open or *_new returned is given back with the matching *_free; NULL is fine
 *          there.
 * Errors:  ST_OK or a negative enum status; ret_* change only on ST_OK; err (may be NULL) gets
 *          one sentence.
 * Threads: functions that take a const struct model may be called from any thread at once. */
#ifndef OCTET_MODEL_MODEL_H
#define OCTET_MODEL_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config/quality.h"
#include "config/status.h"

struct model;
struct runner;
struct sampler;
struct detok;

enum model_precision { MODEL_INT8, MODEL_FP32 };
enum model_kv { MODEL_KV_INT8, MODEL_KV_F16, MODEL_KV_F32 };

/* Called now and then from the thread that called the long function; done and total share a unit
 * (bytes, where nothing else is said). */
struct model_progress {
    void (*fn)(void *arg, const char *what, uint64_t done, uint64_t total);
    void *arg;
};

/* ---- model ---- */

/* Mixed precision: which module (a matrix's name without ".weight") is stored as what. JSON:
 *   {"version": 1, "default": "int8", "modules": {"blk.0.ffn_down": "f16", "blk.*.attn_v": "int4"}}
 * Of modules that fit (* is any letters) the last counts. ST_INVALID, ST_FORMAT name what is wrong,
 * also a module that the model's file has not. */
struct quant_plan;
int model_plan_read(const char *path, const char *model, struct quant_plan **ret_plan,
                    struct error *err);
int model_plan_parse(const char *name, const char *text, size_t len, struct quant_plan **ret_plan,
                     struct error *err);
bool model_plan_is_static(const struct quant_plan *plan);
void model_plan_free(struct quant_plan *plan);

struct model_opts {
    const char *path;
    enum model_precision
        precision; /* INT8: octet's and Q8_0 files as stored, others converted; FP32: dequantized */
    const struct quant_plan *plan; /* INT8: converts to it, whatever the file is; NULL: as said */
    bool vocab_only;               /* only the text part: any architecture, tensors not looked at */
    bool check_quality; /* hold the file's record of its quality, if any, against its content */
    struct model_progress progress;
};

struct model_info {
    const char *name;    /* the file's base name without .gguf */
    const char *arch;    /* "llama", "qwen2" */
    const char *scheme;  /* "int8-h64-g64", "q8_0", "fp32" */
    const char *kernels; /* kernel set in use: "generic", "avx2", "avx512vnni", … */
    enum model_precision precision;
    uint32_t n_layer, d_model, d_ff, n_head, n_kv_head, head_dim, n_ctx_train, n_vocab;
    uint64_t n_params;     /* weights counted once, tied ones too */
    uint64_t weight_bytes; /* as held in memory */
    /* What a step costs: multiply-adds of the products of a row, and of a row's logits; bytes of
     * weights that it reads (an embedding that is not the head as well is only looked up). */
    uint64_t row_macs, head_macs, step_bytes;
    const struct quality *quality; /* the file's record; NULL: none */
    bool quality_stale;            /* with check_quality: the file is not the one measured */
};

int model_open(const struct model_opts *opts, struct model **ret_model, struct error *err);
void model_free(struct model *model);
const struct model_info *model_info(const struct model *model);

/* Is what OCTET_CPU asks for, if anything, a kernel set that this CPU has? ST_INVALID names those
 * it has. */
int model_check_cpu(struct error *err);

/* Observations: what the linear layers of a model read, as its FP32 form runs over a text. For each
 * input of the network: how large each channel gets, and the sum of x x^T, from which quantizing
 * learns which errors of the weights matter. They belong to the model, not to a scheme: one pass
 * serves many. 208 MB for SmolLM2-135M. */
struct observations;
struct model_observe_opts {
    const char *in;   /* the model's file */
    const char *text; /* UTF-8, at least one sequence long; NULL: the model draws its own, each
                         sequence from BOS, the same for the same seed */
    size_t text_len;
    const char *text_name; /* for messages */
    uint32_t n_tokens;     /* at most so many; 0: 32,768 */
    uint32_t n_ctx;        /* of a sequence; 0: 512 */
    float temperature;     /* of drawing; 0: 1 */
    uint64_t seed;
    unsigned threads;               /* 0: 1 */
    struct model_progress progress; /* "drawing text" and "observing" count tokens */
};
int model_observe(const struct model_observe_opts *opts, struct observations **ret_observations,
                  struct error *err);
void observations_free(struct observations *o);
uint64_t observations_tokens(const struct observations *o);
/* A file of them: GGUF, atomically written. */
int observations_write(const struct observations *o, const char *path, struct error *err);
int observations_read(const char *path, struct observations **ret_observations, struct error *err);

/* Make an INT8 file. scheme: "int8" (symmetric, groups of 64, H64 input transform), "q8_0", "fast",
 * "int4", or a label (quant/spec.h: quant_scheme_parse). NULL: "int8", but a compressed-tensors
 * directory stays as it is. Writes OUT atomically (temporary file, fsync, rename). */
struct model_quantize_opts {
    const char *in, *out, *scheme;
    const struct quant_plan *plan;           /* in place of scheme; NULL: none */
    const struct observations *observations; /* NULL: none, and nothing that learns from them: */
    bool plain;  /* each weight is rounded by itself; else others make up for its error (GPTQ) */
    bool smooth; /* inputs are made easier to round, weights harder (SmoothQuant) */
    float alpha; /* of that: 0 .. 1; below 0: searched for each input */
    bool clip;   /* ranges with the least error, weighted by the energy of the input */
    const char *observer; /* of static activations, which need them; NULL: "percentile" */
    bool statistics;      /* fill the report's list of tensors, which reads the weights once more */
    unsigned threads;     /* of compensation; 0: 1 */
    struct model_progress progress; /* "preparing" counts inputs, "quantizing" weights */
};
/* What became of one matrix. Its weights are taken as they are rounded: after the Hadamard
 * transform. A weight's place on the grid is weight / scale + zero; the bins part the whole grid
 * (-128 .. 127, or -8 .. 7, half a step more at either end) evenly, and what lies beyond the
 * integers that may be used is in no bin but clipped. */
enum { MODEL_STATS_BINS = 256 };
struct model_tensor_stats {
    char name[64];
    uint64_t rows, columns;
    uint64_t bytes_in, bytes_out;             /* as the source stores it, and as the file does */
    uint32_t bits, group, block;              /* Hadamard block; 0: none */
    bool affine;                              /* zero points are stored */
    float min, max;                           /* weights */
    float scale_min, scale_median, scale_max; /* magnitudes: a 4-bit scale may be negative */
    int zero_min, zero_max;
    uint64_t clipped;
    double snr_db; /* as in the report below */
    uint64_t bins[MODEL_STATS_BINS];
};
struct model_quantize_report {
    uint64_t n_tensors, n_quantized; /* tensors in all, and turned into integers */
    uint64_t bytes_in, bytes_out;    /* of the files */
    uint64_t n_weights;              /* that became integers or f16 */
    double snr_db;                   /* signal over rounding noise of all of them */
    char worst_name[256];            /* tensor with the least signal over noise */
    double worst_snr_db;
    char note[256];    /* what could not be as the scheme says, "" if nothing */
    char warning[256]; /* to those whose source is quantized already, "" to others */
    char scheme[192];  /* its label, in full */
    uint64_t n_kept;   /* values of norms and biases, stored as f32 */
    bool compensated;  /* by observations */
    struct model_tensor_stats *tensors; /* [n_stats], in the network's order; the caller frees it.
                                           NULL unless asked for */
    size_t n_stats;
};
/* ST_INVALID: no scheme, or no observer, with a sentence of what is one. */
int model_check_scheme(const char *scheme, struct error *err);
int model_check_observer(const char *observer, struct error *err);
/* Activations are to be static, so that quantizing needs observations. */
bool model_scheme_is_static(const char *scheme);
int model_quantize(const struct model_quantize_opts *opts, struct model_quantize_report *ret_report,
                   struct error *err);

/* A sensitivity sweep: what a model loses if one of its units alone is quantized, the rest in FP32, as
 * KL divergence from its FP32 form on text that it drew itself. A unit is the matrices that read the
 * same input ("blk.3.attn_qkv"), as errors of the input are theirs in common; "output", the head and
 * a tied embedding; "embedding" of its own; and "kv", the key/value cache in INT8.
 * What is measured once of a model serves every budget. 0.9 GB for SmolLM2-135M. */
struct sweep;
struct sweep_opts {
    const char *in;                          /* the model's file */
    const struct observations *observations; /* NULL: weights are rounded one by one; else GPTQ */
    bool clip;                               /* with them: ranges are searched */
    uint32_t n_tokens, n_ctx; /* of the text, and of each of its sequences; 0: 1,024 and 256 */
    uint64_t seed;
    unsigned threads;               /* 0: 1 */
    struct model_progress progress; /* "drawing text" and "sweeping" count tokens */
};
struct sweep_item {
    char unit[64];
    char modules[3][64];       /* as a plan names them; "": none further */
    char choice[64];           /* its label in full */
    uint64_t n_weights, bytes; /* of the unit, as a file holds it */
    double kld;                /* nats a token; NAN: not measured */
};
/* What the sweep is given and gives, item by item: units in order, choices in theirs. */
struct sweep_items {
    const char *const *choices; /* labels of a plan */
    size_t n_choices;
    /* item->kld is NAN: set it if it is known from before. Not ST_OK stops the sweep. */
    int (*know)(void *arg, struct sweep_item *item);
    /* The same item, measured. */
    int (*take)(void *arg, const struct sweep_item *item, struct error *err);
    void *arg;
};
int sweep_open(const struct sweep_opts *opts, struct sweep **ret_sweep, struct error *err);
void sweep_free(struct sweep *sweep);
/* What a sweep is of: results belong together where these are the same. */
struct sweep_facts {
    char source[SHA256_HEX];      /* digest of the model's file */
    char text[SHA256_HEX];        /* of the ids of the text */
    char calibration[SHA256_HEX]; /* text of the observations; "": none */
    bool clip;                    /* ranges were searched */
    uint32_t n_tokens, n_ctx;     /* in all, and of each sequence */
    const int32_t *ids;           /* [n_tokens]; the sweep's */
};
const struct sweep_facts *sweep_facts(const struct sweep *sweep);
int sweep_run(struct sweep *sweep, const struct sweep_items *items, struct error *err);
/* The same for a whole file as it is served, with keys and values in INT8. */
int sweep_measure(struct sweep *sweep, const char *path, double *ret_kld, struct error *err);

/* The digest that a record of quality names: of the tensors and of the keys that say how they are
 * used, but not of the record itself. progress may be NULL. */
int model_digest(const char *path, const struct model_progress *progress,
                 char hex[static SHA256_HEX], struct error *err);
/* Write what was measured into the file's metadata in place of an earlier record; everything else
 * is copied byte for byte, atomically as by model_quantize(). ST_INVALID if the file's digest is
 * no longer quality->digest. */
int model_record(const char *path, const struct quality *quality,
                 const struct model_progress *progress, struct error *err);

/* What `octet info` shows. Text of a few lines a person reads, or a JSON document; caller frees. */
struct model_describe_opts {
    bool json;
    bool check; /* hold a record of quality against the tensors, which reads all of them */
    struct model_progress progress;
};
int model_describe(const char *path, const struct model_describe_opts *opts, char **ret_text,
                   struct error *err);

/* ---- text ---- */

enum {
    MODEL_TEXT_BOS = 1, /* put BOS first */
    MODEL_TEXT_BOS_AUTO =
        2, /* put BOS first if the file's add_bos says so, unless the text begins with it */
    MODEL_TEXT_SPECIAL = 4, /* parse control tokens' names; else they are plain text */
};

/* UTF-8 (invalid bytes are kept as bytes where the vocabulary can) → ids; *ret_ids is freed with
 * free(). Empty text gives n = 0 and a NULL or freeable pointer. */
int model_tokenize(const struct model *model, const char *text, size_t len, unsigned flags,
                   int32_t **ret_ids, size_t *ret_n, struct error *err);

/* The most bytes of text that could ever fit n_tokens: longer text is refused untokenized. */
size_t model_max_text_bytes(const struct model *model, size_t n_tokens);

/* End tokens: eos, eot, eom of the file and the control tokens that design.md names. Never
 * rendered. */
bool model_is_end(const struct model *model, int32_t id);
int32_t model_bos(const struct model *model); /* -1: none */
bool model_add_bos(const struct model *model);
/* The name of one token as the vocabulary writes it ("\u0120world"), not the text it stands for;
 * not NUL-terminated. */
int model_token_bytes(const struct model *model, int32_t id, const char **ret_bytes,
                      size_t *ret_len);

/* ids → text that is safe to show: never half a UTF-8 character, never part of a stop string.
 * stops are copied. Invalid UTF-8 becomes U+FFFD. */
int detok_open(const struct model *model, const char *const *stops, size_t n_stops,
               struct detok **ret_detok);
void detok_free(struct detok *detok);
/* Feed one id. *ret_text (owned by detok, valid until the next call; may be empty) is what may now
 * be shown; *ret_stop is the index of the stop string that has appeared, or -1. After a stop
 * nothing more comes out. */
int detok_push(struct detok *detok, int32_t id, const char **ret_text, size_t *ret_len,
               int *ret_stop);
/* The end came another way: hand out what was held back. */
int detok_finish(struct detok *detok, const char **ret_text, size_t *ret_len);

/* ---- running ---- */

struct runner_opts {
    uint32_t n_ctx;        /* longest sequence; 0: the model's own */
    uint32_t max_seqs;     /* sequences alive at once; 0: 32 */
    uint32_t max_rows;     /* rows of one step; 0: 256 + max_seqs */
    uint32_t max_logits;   /* rows of one step that may want logits; 0: max_seqs */
    uint64_t kv_bytes;     /* bound of the key/value pages, touched on use; 0: n_ctx x max_seqs */
    uint64_t prefix_bytes; /* memory may grow by so much for texts nobody has asked for twice;
                              0: half of kv_bytes, at most 24 MiB */
    enum model_kv kv;
    unsigned threads; /* compute threads, the caller's included; 0: 1 */
};
struct runner_info {
    uint32_t n_ctx, max_seqs, max_rows,
        max_logits; /* n_ctx is less than asked for where the pages can't hold it */
    uint32_t page_tokens, n_pages;
    uint64_t page_bytes;
    unsigned threads;
    enum model_kv kv;
};

int runner_open(const struct model *model, const struct runner_opts *opts,
                struct runner **ret_runner, struct error *err);
void runner_free(struct runner *runner);
const struct runner_info *runner_info(const struct runner *runner);
/* Pages that runner_seq_reserve can get: free ones, and those that only the prefix cache holds. */
uint32_t runner_pages_free(const struct runner *runner);
uint32_t runner_pages_for(const struct runner *runner, uint32_t n_tokens);

/* ST_FULL when max_seqs are alive. Ids are small integers, reused. */
int runner_seq_new(struct runner *runner, uint32_t *ret_seq);
void runner_seq_free(struct runner *runner, uint32_t seq); /* its pages go back */
/* Make sure pages for n_tokens positions are there: ST_FULL if not (what it had, it keeps),
 * ST_TOOLONG beyond n_ctx. */
int runner_seq_reserve(struct runner *runner, uint32_t seq, uint32_t n_tokens);
uint32_t runner_seq_pages(const struct runner *runner, uint32_t seq); /* that it has, shared too */

/* Prefix cache. Pages whose tokens are known stay findable after their sequence is gone, until
 * their room is needed (least recently used first), and are lent to sequences that begin alike.
 * tenant: only pages published under the same number are found, so that one tenant's timing says
 * nothing of another's texts.
 *
 * Memory: pages that only the cache holds count as free. Before a page is touched that never was,
 * the oldest of them is used again, unless there are fewer than prefix_bytes and what lookups have
 * found so far (up to half of all pages): so memory is what the running sequences ever needed at
 * once, prefix_bytes, and more only for texts that come back. (SmolLM2-135M: 0.78 MB a page.)
 *
 * attach: give an empty sequence what is stored of ids[0 .. n): at most n - 1 positions, as the
 * last row has to run. Whole pages are shared; of a page that begins alike a copy is made (none
 * free: left out). Returns the positions that are stored now; they count as reserved. A page that
 * others use costs no free one, any other costs one. */
uint32_t runner_seq_attach(struct runner *runner, uint32_t seq, uint64_t tenant, const int32_t *ids,
                           uint32_t n);
/* ids[0 .. n) are stored in seq: its whole pages may be found from now on. With last, nothing more
 * is written to it, and its part of a page may be found too. Positions published are never written
 * again (a step with such a row is ST_INVALID). Calls of one sequence have the same tenant and ids
 * that begin with the earlier ones, and cost what is new. Pages that equal published ones are
 * exchanged for those: runner_pages_free() may rise. */
void runner_seq_publish(struct runner *runner, uint32_t seq, uint64_t tenant, const int32_t *ids,
                        uint32_t n, bool last);
struct runner_prefix_stats {
    uint64_t lookup_tokens, hit_tokens; /* since open: asked for by attach, and given by it */
    uint64_t evicted_pages;             /* since open: given up because their room was needed */
    uint32_t cached_pages;              /* findable now */
};
struct runner_prefix_stats runner_prefix_stats(const struct runner *runner);

/* One row of a step: token at position pos of its sequence. Rows of one sequence are neighbours,
 * positions ascending by one and following on what earlier steps stored. */
struct batch_row {
    int32_t token;
    uint32_t seq;
    uint32_t pos;
    bool logits; /* wants logits: next-token scores after this row */
};

/* Run the network over the rows: stores keys and values, makes logits. Pages must have been
 * reserved. ST_INVALID for a broken promise about the rows (nothing was changed). */
int runner_step(struct runner *runner, const struct batch_row *rows, size_t n_rows);
/* Logits of row i of the last step: n_vocab floats, valid until the next step; NULL if it did not
 * want them. */
const float *runner_logits(const struct runner *runner, size_t row);

/* Run fn(arg, worker, n_workers) once on each compute thread, return when all are done. */
void runner_parallel(struct runner *runner,
                     void (*fn)(void *arg, unsigned worker, unsigned n_workers), void *arg);

/* Where compute threads spend their time, for `octet bench engine --profile`. Off at first: a clock
 * read costs about as much as a small row. */
enum runner_part {
    PART_EMBED,   /* lookup, angles */
    PART_PREPARE, /* norm, Hadamard, quantization of what a product reads */
    PART_QKV,     /* the products */
    PART_O,
    PART_GATE_UP,
    PART_DOWN,
    PART_HEAD,
    PART_STORE,     /* RoPE, keys and values into the cache */
    PART_ATTENTION, /* scores, softmax, weighted values */
    PART_ACTIVATE,  /* SwiGLU */
    PART_SAMPLE,
    PART_WAIT, /* barriers, and workers that have nothing to do */
    RUNNER_PARTS
};
const char *runner_part_name(enum runner_part part); /* "embed", ... "wait" */
struct runner_profile {
    double seconds[RUNNER_PARTS];      /* summed over compute threads */
    double product_macs[RUNNER_PARTS]; /* multiply-adds of the products among them */
};
/* Zero it and start (on) or stop. */
void runner_profile_set(struct runner *runner, bool on);
void runner_profile_get(const struct runner *runner, struct runner_profile *ret_profile);

/* What this machine can do at most, on the runner's own threads at once: the limits that
 * `octet bench engine --roofline` holds the network against. Each is the best of a few short rounds;
 * about a third of a second in all, and 256 MiB for that long. near_bytes: how much is read for
 * read_near. ST_NOMEM. */
struct machine_limits {
    double read_far, read_near; /* bytes a second: beyond the caches; near_bytes over and over */
    double peak_i8, peak_f32;   /* multiply-adds a second of the kernel set, on registers alone */
};
int runner_measure_machine(struct runner *runner, uint64_t near_bytes,
                           struct machine_limits *ret_limits);

/* ---- sampling ---- */

struct sampler_opts {
    float temperature;        /* 0: greedy */
    uint32_t top_k;           /* 0: off */
    float top_p, min_p;       /* 1 and 0: off */
    float repetition_penalty; /* 1: off */
    uint64_t seed;
    bool ban_end; /* end tokens get no chance (ignore_eos) */
};
int sampler_open(const struct model *model, const struct sampler_opts *opts,
                 struct sampler **ret_sampler);
void sampler_free(struct sampler *sampler);
/* Tell it a token of the prompt (sampled ones it knows by itself). */
int sampler_accept(struct sampler *sampler, int32_t id);

/* Draw for each job, in parallel. Same sampler, same logits, same draw number: same id, on any
 * machine.
 *
 * A job may carry a draft: tokens guessed to come next, which the step has run as the rows after
 * its own. Then logits is n_draft + 1 rows of n_vocab one after another, and draws go on as long as
 * the last one equals the guess: exactly the ids (and the sampler's state) that one step a token
 * would have given (Leviathan et al. 2023 with a guess that is a certainty). */
enum { MODEL_MAX_DRAFT = 15 };
struct sample_job {
    struct sampler *sampler;
    const float *logits;
    const int32_t *draft; /* [n_draft]; NULL if 0 */
    uint32_t n_draft;
    int32_t id[MODEL_MAX_DRAFT + 1]; /* out: what was drawn */
    uint32_t n_ids;                  /* out: 1 .. n_draft + 1; the last is not stored yet */
    int status; /* out: ST_INTERNAL if the logits hold a NaN or nothing is left to draw from */
};
void runner_sample(struct runner *runner, struct sample_job *jobs, size_t n_jobs);

#endif
