/* The peak loops: every set has them, and counts the turns it was told to make. How fast they are is
 * for `octet bench engine --roofline`. */
#include "model/kernels/kernels.h"
#include "unit/suite.h"

START_TEST(every_set_counts_its_turns)
{
    for (size_t i = 0; kernels_at(i); i++) {
        const struct kernels *k = kernels_at(i);
        ck_assert_msg(k->peak_i8 && k->peak_f32, "%s has no peaks", k->name);
        double i8 = k->peak_i8(1), f32 = k->peak_f32(1);
        ck_assert_msg(i8 >= 16 && f32 >= 16, "%s: one turn is nothing", k->name);
        ck_assert(k->peak_i8(1000) == 1000 * i8 && k->peak_f32(1000) == 1000 * f32);
        ck_assert(k->peak_i8(0) == 0 && k->peak_f32(0) == 0);
    }
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {every_set_counts_its_turns, NULL};
    return suite_run("peak", tests, 30);
}
