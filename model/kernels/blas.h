/* blas.h - OpenBLAS, loaded when the first FP32 model is opened.
 *
 * Loaded at run time because the library starts a thread a core when it is loaded: an INT8 server
 * never pays for it.
 *
 * Owner:   process-wide; blas_open is idempotent and may be called from any thread.
 * Errors:  ST_NOTFOUND with a sentence saying which package brings the library.
 * Threads: after blas_open any thread may multiply; the library itself is held to one thread, the
 * pool does the rest. */
#ifndef OCTET_MODEL_KERNELS_BLAS_H
#define OCTET_MODEL_KERNELS_BLAS_H

#include <stdbool.h>
#include <stddef.h>

#include "config/status.h"

int blas_open(struct error *err);

/* y[r * ldy + i] (+)= sum_k x[r * k + k'] * w[i * k + k'], for rows r < rows and outputs i < n. */
void blas_gemm(const float *x, size_t rows, const float *w, size_t n, size_t k, float *y,
               size_t ldy, bool add);

#endif
