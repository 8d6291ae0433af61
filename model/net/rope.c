#include "model/net/rope.h"

/* Taylor series on [-pi/4, pi/4]: the first term left out is below 2e-14. */
static double sin_small(double x)
{
    double z = x * x;
    double p = -1.0 / 39916800.0;
    p = p * z + 1.0 / 362880.0;
    p = p * z - 1.0 / 5040.0;
    p = p * z + 1.0 / 120.0;
    p = p * z - 1.0 / 6.0;
    return x + x * z * p;
}

static double cos_small(double x)
{
    double z = x * x;
    double p = 1.0 / 479001600.0;
    p = p * z - 1.0 / 3628800.0;
    p = p * z + 1.0 / 40320.0;
    p = p * z - 1.0 / 720.0;
    p = p * z + 1.0 / 24.0;
    p = p * z - 0.5;
    return 1.0 + z * p;
}

void rope_angles(uint32_t pos, const double *inv_freq, size_t n_pairs, float *cosv, float *sinv)
{
    /* pi/2 in two parts; the first has 33 bits, so that n times it is exact (Cody and Waite 1980).
     */
    const double two_over_pi = 0x1.45f306dc9c883p-1, pio2_hi = 0x1.921fb544p+0,
                 pio2_lo = 0x1.0b4611a626331p-34;
    const double magic = 0x1.8p52; /* adding and subtracting it rounds to the nearest integer */

    for (size_t i = 0; i < n_pairs; i++) {
        double theta = (double)pos * inv_freq[i];
        double n = (theta * two_over_pi + magic) - magic;
        double r = (theta - n * pio2_hi) - n * pio2_lo;
        double s = sin_small(r), c = cos_small(r);
        switch ((int64_t)n & 3) {
        case 0:
            cosv[i] = (float)c;
            sinv[i] = (float)s;
            break;
        case 1:
            cosv[i] = (float)-s;
            sinv[i] = (float)c;
            break;
        case 2:
            cosv[i] = (float)-c;
            sinv[i] = (float)-s;
            break;
        default:
            cosv[i] = (float)s;
            sinv[i] = (float)-c;
        }
    }
}
