/* quantize_priv.h - what the two halves of `octet quantize` share: quantize.c makes a file,
 * quantize_keys.c the keys that say how to read it.
 *
 * Owner:   the thread of model_quantize().
 * Memory:  of the job, freed by quantize.c.
 * Errors:  as of gguf_write.h. */
#ifndef OCTET_MODEL_QUANTIZE_PRIV_H
#define OCTET_MODEL_QUANTIZE_PRIV_H

#include "model/compensated.h"
#include "model/model.h"
#include "model/net/weights.h"
#include "model/quant/source.h"

struct job {
    const struct model_quantize_opts *opts;
    const struct quant_plan *plan;
    bool as_stored;              /* matrices that the file has as octet has them stay as they are */
    char label[QUANT_LABEL_MAX]; /* the scheme's */
    bool q8_0;                   /* standard tensors are written */
    bool tied;                   /* the embedding is the head */
    bool *scale_f32;             /* [weights_tensor_at's i] a scale of it is beyond f16 */
    size_t n_roles;
    bool beyond_f16; /* why the last matrix failed */
    struct gguf *g;
    struct hparams hp;
    struct gguf_writer *out;
    struct prepared *prepared;       /* NULL: nothing is known of the inputs */
    struct compensated *compensated; /* NULL: weights are rounded one by one */
    struct observer_choice observer; /* of static activations */
    struct model_quantize_report report;
    struct source_noise sum;
    struct model_tensor_stats *tensors; /* [n_roles]; NULL: not asked for */
    size_t n_stats;                     /* of them, so far */
    uint64_t done, total;               /* weights, a byte each in the output: progress */
    struct error *err;
};

/* What tensor i of weights_tensor_at is to be. */
struct quant_spec quantize_spec(const struct job *j, size_t i, const struct tensor_role *t);
/* Is t a matrix that the source has? */
bool quantize_is_matrix(const struct job *j, const struct tensor_role *t);

/* The source's own keys, those of octet's that say what was done; and octet.linear.*. */
int quantize_write_keys(struct job *j);
int quantize_write_specs(struct job *j);

#endif
