/* sites.h - which matrices of a network read the same input, and the linear layers they make.
 *
 * Owner:   plain values.  Memory, threads: none.
 * Errors:  ST_UNSUPPORTED naming file and matrices. */
#ifndef OCTET_MODEL_NET_SITES_H
#define OCTET_MODEL_NET_SITES_H

#include "model/net/hparams.h"
#include "model/net/linear.h"

/* A matrix and where its rows go: runs of `unit` outputs, `step` apart, from `at` on. */
struct part {
    char name[64];
    size_t n;
    int role; /* enum quant_role */
    size_t at, unit, step;
    struct quant_spec spec;
};

/* Matrices that read the same input: one linear layer of n outputs, or a part each of one where
 * their weights are stored unlike. */
struct site {
    struct part parts[3];
    size_t n_parts, n, k;
    bool online, alike;
    struct linear_desc descs[3]; /* of the parts; alike: the first is of all */
};

/* Of layer i, in the order in which it reads them: q k v, o, gate up, down. Specs are not known
 * yet. */
enum { SITES_OF_LAYER = 4 };
struct site site_of_layer(const struct hparams *hp, size_t ffn_unit, size_t i, size_t which);
/* The embedding, or a head of its own. */
struct site site_of_vocab(const struct hparams *hp, const char *name);
/* One linear layer of a spec; online: its input is still to be rotated. */
struct linear_desc site_desc(const struct quant_spec *spec, size_t n, size_t k, bool online);
/* Fills descs and alike, once parts have their specs; path: of the file, for messages. */
int site_describe(struct site *s, const char *path, struct error *err);

#endif
