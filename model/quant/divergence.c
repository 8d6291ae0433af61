#include "model/quant/divergence.h"

#include <math.h>

/* e^x - 1 - x, which the difference of its terms would not give for a small x. */
static double beyond_linear(double x)
{
    if (fabs(x) < 0.03) /* the next term is 1e-8 of the first */
        return x * x * (1.0 / 2 + x * (1.0 / 6 + x * (1.0 / 24 + x * (1.0 / 120 + x / 720))));
    return exp(x) - 1.0 - x;
}

/* With d = x - ref less its mean under p = softmax(ref), KL(p || softmax(x)) = log(sum of p e^d) =
 * log(1 + sum of p (e^d - 1 - d)): nothing in it but squares and smaller, none of them negative. */
double divergence_row(const struct kernels *kernels, const float *ref, const float *x, size_t n,
                      float *p)
{
    const float max = ref[kernels->argmax(ref, n) % n];
    double sum = 0.0, mean = 0.0, beyond = 0.0;

    kernels->exp_sum(ref, max, 1.0f, p, n);
    for (size_t i = 0; i < n; i++) {
        sum += (double)p[i];
        mean += (double)p[i] * ((double)x[i] - (double)ref[i]);
    }
    mean /= sum;
    for (size_t i = 0; i < n; i++)
        beyond += (double)p[i] * beyond_linear((double)x[i] - (double)ref[i] - mean);
    return log1p(beyond / sum);
}
