/* Every shape that is allowed has room in the arena, and none too much. */
#include "model/net/weights.h"

#include "unit/net/tiny.h"

START_TEST(every_shape_has_the_room_it_needs)
{
    static const struct tiny shapes[] = {
        {.d = 64, .ff = 96, .heads = 4, .kv = 2, .head = 16, .layers = 2, .ctx = 64},
        /* Heads much narrower than the panels that they begin. */
        {.d = 256, .ff = 32, .heads = 128, .kv = 128, .head = 2, .layers = 1, .ctx = 64},
        {.d = 320, .ff = 32, .heads = 8, .kv = 8, .head = 40, .layers = 1, .ctx = 64},
        {.d = 2, .ff = 1, .heads = 1, .kv = 1, .head = 2, .layers = 1, .ctx = 64},
        {.d = 31, .ff = 33, .heads = 1, .kv = 1, .head = 256, .layers = 1, .ctx = 64, .bias = true},
    };
    struct weights w;

    for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++)
        for (int precision = MODEL_INT8; precision <= MODEL_FP32; precision++) {
            struct tiny t = shapes[i];
            t.precision = (enum model_precision)precision;
            tiny_load(&t, &w);
            ck_assert_uint_eq(w.bytes, w.arena.used);
            /* Gate and up end a panel each, or one together. */
            ck_assert_uint_le(w.arena.bytes - w.arena.used,
                              t.layers * PANEL * (t.d + 32) * (precision == MODEL_FP32 ? 4 : 2));
            weights_done(&w);
        }
}
END_TEST

RUN_SUITE("weights", every_shape_has_the_room_it_needs)
