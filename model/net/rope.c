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

/* sin and cos of theta by quadrant. */
static void sin_cos(double theta, double *ret_sin, double *ret_cos)
{
    /* pi/2 in two parts; the first has 33 bits, so that n times it is exact (Cody and Waite 1980).
     */
    const double two_over_pi = 0x1.45f306dc9c883p-1, pio2_hi = 0x1.921fb544p+0,
                 pio2_lo = 0x1.0b4611a626331p-34;
    const double magic = 0x1.8p52; /* adding and subtracting it rounds to the nearest integer */
    double n = (theta * two_over_pi + magic) - magic;
    double r = (theta - n * pio2_hi) - n * pio2_lo;
    double s = sin_small(r), c = cos_small(r);
    int64_t quadrant = (int64_t)n & 3;
    double a = quadrant & 1 ? c : s, b = quadrant & 1 ? s : c;

    *ret_sin = quadrant >= 2 ? -a : a;
    *ret_cos = quadrant == 1 || quadrant == 2 ? -b : b;
}

void rope_angles(uint32_t pos, const double *inv_freq, size_t n_pairs, bool halves, float *cosv,
                 float *sinv)
{
    for (size_t i = 0; i < n_pairs; i++) {
        size_t first = halves ? i : 2 * i, second = halves ? i + n_pairs : 2 * i + 1;
        double s, c;
        sin_cos((double)pos * inv_freq[i], &s, &c);
        cosv[first] = cosv[second] = (float)c;
        sinv[first] = (float)-s;
        sinv[second] = (float)s;
    }
}
