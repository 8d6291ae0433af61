/* fuzz_safetensors.c - any bytes as a .safetensors file: opened, every tensor's data read. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "model/format/safetensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What is read ends up here, so that no read is optimized away. */
static volatile uint64_t sink;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct safetensors *s;
    struct error err = {""};
    uint64_t n_bytes = 0;

    if (safetensors_open_memory("fuzz", data, size, &s, &err) != ST_OK) {
        if (strncmp(err.text, "fuzz", 4))
            abort();
        return 0;
    }
    for (size_t i = 0; i < safetensors_n(s); i++) {
        const struct safetensor *t = safetensors_at(s, i);
        uint64_t n = 1;

        for (uint32_t d = 0; d < 4; d++)
            n *= t->dims[d];
        if (n != t->n_elems || !*t->name || !*t->dtype)
            abort();
        for (uint64_t b = 0; b < t->n_bytes; b++)
            sink += t->data[b];
        n_bytes += t->n_bytes;
    }
    if (n_bytes > size)
        abort();
    safetensors_close(s);
    return 0;
}
