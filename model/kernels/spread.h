/* spread.h - a group of 4-bit weights as bytes, for sets whose products know bytes only.
 *
 * Plain C that compilers turn into the set's vectors. */
#ifndef OCTET_MODEL_KERNELS_SPREAD_H
#define OCTET_MODEL_KERNELS_SPREAD_H

#include "model/kernels/kernels.h"

/* nibbles [group / 8][PANEL][4] → to [group / step][PANEL][step], less `less` each. Returns to. */
static inline const uint8_t *spread_nibbles(const uint8_t *nibbles, size_t group, const size_t step,
                                            const uint8_t less, uint8_t *to)
{
    for (size_t k = 0; k < group; k += 8, nibbles += 4 * PANEL) {
        uint8_t *low = to + k * PANEL, *high = low + (step == 4 ? 4 * PANEL : 4);
        for (size_t c = 0; c < PANEL; c++)
            for (size_t e = 0; e < 4; e++) {
                low[c * step + e] = (uint8_t)((nibbles[4 * c + e] & 15) - less);
                high[c * step + e] = (uint8_t)((nibbles[4 * c + e] >> 4) - less);
            }
    }
    return to;
}

#endif
