/* octet_observer BATCH: ranges of the f32s on stdin, as model/quant/observer.h finds them in batches of
 * so many. Lines "NAME MIN MAX SCALE ZERO", exact; for test_observer.py. */
#include <stdio.h>
#include <stdlib.h>

#include "model/quant/observer.h"

enum { MOST = 1 << 20, CHANNELS = 8 };

static float x[MOST];
static struct histogram h;

static void show(const char *name, struct range r, const struct levels *l)
{
    struct scale s = scale_of(&r, l);
    printf("%s %a %a %a %d\n", name, (double)r.min, (double)r.max, (double)s.scale, s.zero);
}

int main(int argc, char **argv)
{
    const struct levels s8 = {-127, 127, true}, u8 = {0, 255, false};
    const size_t n = fread(x, sizeof(*x), MOST, stdin);
    const size_t batch = argc == 2 ? strtoul(argv[1], NULL, 10) : 0;
    struct range all = {0}, moving = {0};

    if (batch == 0)
        return 2;
    for (size_t i = 0; i < n; i += batch) {
        size_t here = n - i < batch ? n - i : batch;
        if (range_add(&all, x + i, here, 1) != ST_OK ||
            range_add_moving(&moving, x + i, here, 1, 0.01f) != ST_OK ||
            histogram_add(&h, x + i, here) != ST_OK)
            return 1;
    }
    show("minmax-s8", all, &s8);
    show("minmax-u8", all, &u8);
    show("moving-s8", moving, &s8);
    show("moving-u8", moving, &u8);
    show("percentile-s8", histogram_percentile(&h, &s8, 0.999), &s8);
    show("percentile-u8", histogram_percentile(&h, &u8, 0.999), &u8);
    show("squares-s8", histogram_least_squares(&h, &s8), &s8);
    show("squares-u8", histogram_least_squares(&h, &u8), &u8);
    show("entropy-s8", histogram_entropy(&h), &s8);
    for (int c = 0; c < CHANNELS; c++) {
        struct range channel = {0};
        char name[32];
        snprintf(name, sizeof(name), "channel-%d", c);
        if (range_add(&channel, x + c, n / CHANNELS, CHANNELS) != ST_OK)
            return 1;
        show(name, channel, &s8);
    }
    printf("width %a 0 0 0\n", h.top / (HISTOGRAM_BINS / 2));
    return 0;
}
