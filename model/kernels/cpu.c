#include "model/kernels/cpu.h"

#if defined(__x86_64__)
#include <cpuid.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

/* XCR0: which register states the OS saves (Intel SDM vol. 1, 13.3). Only legal after OSXSAVE was
 * seen. */
static uint64_t xcr0(void)
{
    uint32_t lo, hi;
    __asm__("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
    return (uint64_t)hi << 32 | lo;
}

/* Linux lends the tiles' 8 KiB of state only to who asks (arch_prctl, ARCH_REQ_XCOMP_PERM). */
static bool may_use_tiles(void)
{
    const uint64_t tiles = 0x60000;
    const int ask = 0x1023, tile_data = 18;

    return (xcr0() & tiles) == tiles && syscall(SYS_arch_prctl, ask, tile_data) == 0;
}

struct cpu_features cpu_detect(void)
{
    struct cpu_features f = {0};
    unsigned a, b, c, d;
    const uint64_t ymm = 0x6, zmm = 0xE6;

    if (!__get_cpuid(1, &a, &b, &c, &d))
        return f;
    const unsigned fma = 1u << 12, osxsave = 1u << 27, avx = 1u << 28, f16c = 1u << 29;
    unsigned need = fma | osxsave | avx | f16c;
    if ((c & need) != need || (xcr0() & ymm) != ymm)
        return f;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d))
        return f;
    f.avx2 = b & 1u << 5;
    const unsigned avx512 = 1u << 16 | 1u << 17 | 1u << 30 | 1u << 31; /* F, DQ, BW, VL */
    const unsigned vnni = 1u << 11;
    f.avx512vnni = f.avx2 && (b & avx512) == avx512 && (c & vnni) && (xcr0() & zmm) == zmm;
    const unsigned amx = 1u << 24 | 1u << 25; /* TILE, INT8 */
    f.amx = f.avx512vnni && (d & amx) == amx && may_use_tiles();
    if (a >= 1 && __get_cpuid_count(7, 1, &a, &b, &c, &d)) /* a: the last subleaf */
        f.avxvnni = f.avx2 && a & 1u << 4;
    return f;
}
#elif defined(__aarch64__)
#include <sys/auxv.h>

struct cpu_features cpu_detect(void)
{
    bool dot = getauxval(AT_HWCAP) & HWCAP_ASIMDDP;

    return (struct cpu_features){.neon_dot = dot,
                                 .neon_i8mm = dot && getauxval(AT_HWCAP2) & HWCAP2_I8MM};
}
#else
struct cpu_features cpu_detect(void)
{
    return (struct cpu_features){0};
}
#endif
