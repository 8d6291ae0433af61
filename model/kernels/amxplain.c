/* amxplain.c - amx.c over tiles in plain C: its loops and edges, for tests on CPUs without AMX. What
 * the hardware would refuse, shapes that don't fit together, stops here too. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

static _Thread_local struct {
    size_t rows, row_bytes;
    uint8_t bytes[16][64];
} tile[8];

/* The operand of ldtilecfg: row bytes from 16 on, u16 each, rows from 48 on. */
static void tile_config(const void *config)
{
    const uint8_t *c = config;

    memset(tile, 0, sizeof(tile));
    assert(c[0] == 1 && c[1] == 0);
    for (size_t t = 0; t < 8; t++) {
        tile[t].rows = c[48 + t];
        tile[t].row_bytes = c[16 + 2 * t] | (size_t)c[17 + 2 * t] << 8;
        assert(tile[t].rows <= 16 && tile[t].row_bytes <= 64);
        assert(!tile[t].rows == !tile[t].row_bytes);
    }
}

static void tile_end(void)
{
    memset(tile, 0, sizeof(tile));
}

static void tile_zero(size_t t)
{
    assert(tile[t].rows);
    memset(tile[t].bytes, 0, sizeof(tile[t].bytes));
}

static void tile_load(size_t t, const void *from, size_t stride)
{
    assert(tile[t].rows);
    memset(tile[t].bytes, 0, sizeof(tile[t].bytes));
    for (size_t r = 0; r < tile[t].rows; r++)
        memcpy(tile[t].bytes[r], (const uint8_t *)from + r * stride, tile[t].row_bytes);
}

static void tile_store(size_t t, void *to, size_t stride)
{
    assert(tile[t].rows);
    for (size_t r = 0; r < tile[t].rows; r++)
        memcpy((uint8_t *)to + r * stride, tile[t].bytes[r], tile[t].row_bytes);
}

/* sum[m][n] += s8[m][4k + e] * u8[k][4n + e] (Intel SDM vol. 2, TDPBSUD). */
static void tile_dot(size_t sum, size_t s8, size_t u8)
{
    assert(tile[sum].rows && tile[sum].rows == tile[s8].rows);
    assert(tile[s8].row_bytes == 4 * tile[u8].rows && tile[sum].row_bytes == tile[u8].row_bytes);
    for (size_t m = 0; m < tile[sum].rows; m++)
        for (size_t n = 0; n < tile[sum].row_bytes / 4; n++) {
            int32_t y;
            memcpy(&y, &tile[sum].bytes[m][4 * n], sizeof(y));
            for (size_t k = 0; k < tile[s8].row_bytes; k++)
                y += (int8_t)tile[s8].bytes[m][k] * tile[u8].bytes[k / 4][4 * n + k % 4];
            memcpy(&tile[sum].bytes[m][4 * n], &y, sizeof(y));
        }
}

#define AMX_NAME "amxplain"
#define AMX_TABLE kernels_amxplain
#define TILE_CONFIG(config) tile_config(config)
#define TILE_END() tile_end()
#define TILE_ZERO(t) tile_zero(t)
#define TILE_LOAD(t, from, stride) tile_load(t, from, stride)
#define TILE_STORE(t, to, stride) tile_store(t, to, stride)
#define TILE_DOT(sum, s8, u8) tile_dot(sum, s8, u8)
#include "model/kernels/amx.c"
