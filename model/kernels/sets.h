/* sets.h - the kernel sets that this build holds; kernels.c chooses among them. */
#ifndef OCTET_MODEL_KERNELS_SETS_H
#define OCTET_MODEL_KERNELS_SETS_H

#include "model/kernels/kernels.h"

extern const struct kernels kernels_generic;
#if defined(__x86_64__)
extern const struct kernels kernels_avx2;
extern const struct kernels kernels_avxvnni512vl;
extern const struct kernels kernels_avxvnni;
extern const struct kernels kernels_avx512vnni;
/* avx512vnni's, but for the product of many rows. Call once. */
const struct kernels *kernels_amxplain(void);
const struct kernels *kernels_amx(void);
#elif defined(__aarch64__)
extern const struct kernels kernels_neondot;
extern const struct kernels kernels_neoni8mm;
#endif

#endif
