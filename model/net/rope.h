/* rope.h - angles of the rotary position embedding (Su et al. 2021, section 3.2.2).
 *
 * Owner: pure.  Memory: the caller's.  Errors: none.  Threads: any.
 * Our own sine and cosine, in plain double arithmetic: libm's differ in the last bit between CPUs.
 */
#ifndef OCTET_MODEL_NET_ROPE_H
#define OCTET_MODEL_NET_ROPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* For the partners of pair i (neighbours, or halves of the head): cosv = cos(pos * inv_freq[i])
 * twice, sinv = -sin for the first and sin for the second. [2 * n_pairs] each. Error below 1e-7 for
 * positions up to 2^20. */
void rope_angles(uint32_t pos, const double *inv_freq, size_t n_pairs, bool halves, float *cosv,
                 float *sinv);

#endif
