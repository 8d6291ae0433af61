/* cpu.h - what this CPU and its operating system let us use.
 *
 * Owner: pure; any thread.  Memory: none.  Errors: none; on an unknown CPU every answer is false.
 */
#ifndef OCTET_MODEL_KERNELS_CPU_H
#define OCTET_MODEL_KERNELS_CPU_H

#include <stdbool.h>

struct cpu_features {
    bool avx2;       /* with FMA and F16C, ymm state saved by the OS */
    bool avx512vnni; /* with F, BW, DQ, VL and VNNI, zmm state saved by the OS */
};

struct cpu_features cpu_detect(void);

#endif
