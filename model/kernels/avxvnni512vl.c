/* avxvnni512vl.c - avxvnni.c with the AVX512VL form of its instruction: the same code, for tests on
 * CPUs that have AVX512-VNNI but not AVX-VNNI. Never chosen by itself: avx512vnni is there too. */
#define AVXVNNI_NAME "avxvnni512vl"
#define AVXVNNI_TABLE kernels_avxvnni512vl
#define AVXVNNI_DOT _mm256_dpbusd_epi32
#include "model/kernels/avxvnni.c"
