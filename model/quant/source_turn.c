/* source_turn.c - a rotation along the outputs of a matrix. */
#include <assert.h>
#include <math.h>

#include "model/quant/source.h"

void source_turn(float *x, size_t n, size_t k, size_t block)
{
    float norm = 1.0f / sqrtf((float)block);

    if (block < 2)
        return;
    assert(n % block == 0);
    for (size_t s = 1; s < block; s *= 2)
        for (size_t i = 0; i < n; i++)
            for (size_t c = 0; !(i & s) && c < k; c++) {
                float a = x[i * k + c], b = x[(i + s) * k + c];
                x[i * k + c] = a + b;
                x[(i + s) * k + c] = a - b;
            }
    for (size_t i = 0; i < n * k; i++)
        x[i] *= norm;
}
