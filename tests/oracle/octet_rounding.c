/* octet_rounding - what octet makes of floats, and of integers, for test_onnx.py. Binary on stdout:
 *   octet_rounding activations|affine GROUP   the f32s on stdin, a row: scales f32, zeros i32, q s8
 *   octet_rounding rows FILE TENSOR N K       a matrix of a model file as f32s */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/kernels/kernels.h"
#include "model/quant/source.h"

enum { MOST = 1 << 20 };

static float x[MOST], scale[MOST];
static int32_t comp[MOST], zero[MOST];
static int8_t q[MOST + 16];

static int show_activations(bool affine, size_t group)
{
    const struct kernels *kernels = kernels_get(NULL);
    const size_t n = fread(x, sizeof(*x), MOST, stdin);
    const struct quant_rows to = {.q = q, .scale = scale, .comp = comp, .zero = zero};

    if (!kernels || group == 0 || n % group)
        return 1;
    if (affine)
        kernels->quantize_affine(x, n, 0, group, &to);
    else
        kernels->quantize(x, n, 0, group, q, scale, comp);
    fwrite(scale, sizeof(*scale), n / group, stdout);
    fwrite(zero, sizeof(*zero), n / group, stdout);
    fwrite(q, 1, n, stdout);
    return 0;
}

static int show_rows(const char *path, const char *tensor, size_t n, size_t k)
{
    const struct quant_spec floats = {0};
    struct source *s = NULL;
    struct gguf *g = NULL;
    struct error err = {""};
    int r = gguf_open(path, NULL, &g, &err);

    if (r == ST_OK)
        r = source_open(g, tensor, n, k, &floats, &s, &err);
    for (size_t i = 0; r == ST_OK && i < n; i++) {
        r = source_row_f32(s, i, x, &err);
        fwrite(x, sizeof(*x), k, stdout);
    }
    if (r != ST_OK)
        fprintf(stderr, "octet_rounding: %s\n", err.text);
    source_free(s);
    gguf_close(g);
    return r != ST_OK;
}

int main(int argc, char **argv)
{
    if (argc == 3)
        return show_activations(strcmp(argv[1], "affine") == 0, strtoul(argv[2], NULL, 10));
    if (argc == 6 && strcmp(argv[1], "rows") == 0)
        return show_rows(argv[2], argv[3], strtoul(argv[4], NULL, 10), strtoul(argv[5], NULL, 10));
    return 2;
}
