#include "model/net/rope.h"

#include <math.h>

#include "unit/suite.h"

START_TEST(angles_agree_with_libm)
{
    double freq[32];
    float c[64], s[64];

    for (size_t i = 0; i < 32; i++)
        freq[i] = pow(100000.0, -2.0 * (double)i / 64.0);
    for (uint32_t pos = 0; pos < 1u << 20; pos = pos < 9000 ? pos + 1 : pos * 5 / 4) {
        bool halves = pos & 1;
        rope_angles(pos, freq, 32, halves, c, s);
        for (size_t i = 0; i < 64; i++) {
            size_t pair = halves ? i % 32 : i / 2;
            double sine = sin((double)pos * freq[pair]);
            bool first = halves ? i < 32 : i % 2 == 0;
            ck_assert_double_le(fabs(cos((double)pos * freq[pair]) - c[i]), 1e-7);
            ck_assert_double_le(fabs((first ? -sine : sine) - s[i]), 1e-7);
        }
    }
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {angles_agree_with_libm, NULL};
    return suite_run("rope", tests, 60);
}
