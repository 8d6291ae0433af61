/* cpu.h - what this CPU and its operating system let us use.
 *
 * Owner: pure; any thread.  Memory: none.  Errors: none; on an unknown CPU every answer is false.
 */
#ifndef OCTET_MODEL_KERNELS_CPU_H
#define OCTET_MODEL_KERNELS_CPU_H

#include <stdbool.h>

struct cpu_features {
    bool avx2;       /* with FMA and F16C, ymm state saved by the OS */
    bool avxvnni;    /* with avx2: vpdpbusd on ymm in its VEX form */
    bool avx512vnni; /* with avx2, F, BW, DQ, VL and VNNI, zmm state saved by the OS */
    bool amx;        /* with avx512vnni: int8 tiles, which the OS lets this process use */
    bool neon_dot;   /* arm64: sdot, udot */
    bool neon_i8mm;  /* arm64: smmla, with neon_dot */
};

struct cpu_features cpu_detect(void);

#endif
