/* half.h - f16 → f32 in plain C, inline for the kernels. Exact; NaN stays NaN.
 *
 * A twin of f16_to_f32() of model/format/dequant.h, on purpose: kernels know nothing of files. The
 * conversion that rounds (f32 → f16) is there alone. */
#ifndef OCTET_MODEL_KERNELS_HALF_H
#define OCTET_MODEL_KERNELS_HALF_H

#include <stdint.h>
#include <string.h>

static inline float half_to_float(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000u) << 16, rest = h & 0x7FFFu, bits;
    float f;

    if (rest >= 0x7C00u) { /* infinity, NaN (made quiet, as the hardware does) */
        bits = sign | 0x7F800000u | (rest - 0x7C00u) << 13;
        if (rest > 0x7C00u)
            bits |= 0x00400000u;
        memcpy(&f, &bits, sizeof(f));
        return f;
    }
    /* Move the exponent up by scaling: denormals come out right without a case of their own. */
    bits = rest << 13;
    memcpy(&f, &bits, sizeof(f));
    f *= 0x1p112f;
    memcpy(&bits, &f, sizeof(bits));
    bits |= sign;
    memcpy(&f, &bits, sizeof(f));
    return f;
}

#endif
