#include "model/kernels/blas.h"

#include <cblas.h>
#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>

static pthread_once_t once = PTHREAD_ONCE_INIT;
static __typeof__(cblas_sgemm) *sgemm;
static __typeof__(cblas_sgemv) *sgemv;
static __typeof__(openblas_set_num_threads) *set_threads;

static void load(void)
{
    setenv("OPENBLAS_NUM_THREADS", "1", 1); /* read when the library is loaded */
    void *lib = dlopen("libopenblas.so.0", RTLD_NOW | RTLD_LOCAL);
    if (!lib)
        return;
    /* POSIX wants a data pointer turned into a function pointer this way round. */
    *(void **)&sgemm = dlsym(lib, "cblas_sgemm");
    *(void **)&sgemv = dlsym(lib, "cblas_sgemv");
    *(void **)&set_threads = dlsym(lib, "openblas_set_num_threads");
    if (set_threads)
        set_threads(1);
}

int blas_open(struct error *err)
{
    pthread_once(&once, load);
    if (sgemm && sgemv)
        return ST_OK;
    return error_set(
        err, ST_NOTFOUND,
        "FP32 needs OpenBLAS (libopenblas.so.0): install the package libopenblas0, or run "
        "with --precision int8");
}

void blas_gemm(const float *x, size_t rows, const float *w, size_t n, size_t k, float *y,
               size_t ldy, bool add)
{
    float beta = add ? 1.0f : 0.0f;

    if (rows == 0 || n == 0)
        return;
    if (rows == 1)
        sgemv(CblasRowMajor, CblasNoTrans, (blasint)n, (blasint)k, 1.0f, w, (blasint)k, x, 1, beta,
              y, 1);
    else
        sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (blasint)rows, (blasint)n, (blasint)k, 1.0f,
              x, (blasint)k, w, (blasint)k, beta, y, (blasint)ldy);
}
