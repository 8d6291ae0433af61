/* kernels.c - choose the set, once. */
#include "model/kernels/kernels.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/status.h"
#include "model/kernels/cpu.h"
#include "model/kernels/sets.h"

enum { SETS_MAX = 8 };

static const struct kernels *usable[SETS_MAX]; /* generic first, better ones after; written once */
static size_t n_usable;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void fill(void)
{
    struct cpu_features cpu = cpu_detect();

    (void)cpu;
    usable[n_usable++] = &kernels_generic;
#if defined(__x86_64__)
    if (cpu.avx2)
        usable[n_usable++] = &kernels_avx2;
    if (cpu.avx512vnni) {
        usable[n_usable++] = &kernels_avxvnni512vl;
        usable[n_usable++] = kernels_amxplain();
    }
    if (cpu.avxvnni)
        usable[n_usable++] = &kernels_avxvnni;
    if (cpu.avx512vnni)
        usable[n_usable++] = &kernels_avx512vnni;
    if (cpu.amx)
        usable[n_usable++] = kernels_amx();
#elif defined(__aarch64__)
    if (cpu.neon_dot)
        usable[n_usable++] = &kernels_neondot;
    if (cpu.neon_i8mm)
        usable[n_usable++] = &kernels_neoni8mm;
#endif
}

const struct kernels *kernels_at(size_t i)
{
    pthread_once(&once, fill);
    return i < n_usable ? usable[i] : NULL;
}

const struct kernels *kernels_named(const char *name)
{
    const struct kernels *k;
    for (size_t i = 0; (k = kernels_at(i)); i++)
        if (strcmp(k->name, name) == 0)
            return k;
    return NULL;
}

static int refuse(const char *want, struct error *err)
{
    char names[128] = "";
    const struct kernels *k;

    for (size_t i = 0, at = 0; (k = kernels_at(i)) && at < sizeof(names); i++)
        at += (size_t)snprintf(names + at, sizeof(names) - at, "%s%s", i ? ", " : "", k->name);
    return error_set(err, ST_INVALID, "OCTET_CPU=%.40s: no such kernel set on this CPU; it has %s",
                     want, names);
}

const struct kernels *kernels_get(struct error *err)
{
    const char *want = getenv("OCTET_CPU");
    const struct kernels *k;

    if (want && *want) {
        k = kernels_named(want);
        if (!k)
            refuse(want, err);
        return k;
    }
    pthread_once(&once, fill);
    return usable[n_usable - 1];
}
