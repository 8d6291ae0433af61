/* dequant.h - blocks of every readable tensor type → f32, and the conversions of half-width floats.
 *
 * Owner:   pure functions, any thread.
 * Memory:  the caller's buffers; nothing is allocated.
 * Errors:  none: type and sizes were checked by gguf_open.
 * Source:  block layouts as published by ggml; bit-equal to its reference dequantization, except
 *          for the payload of a NaN. */
#ifndef OCTET_MODEL_FORMAT_DEQUANT_H
#define OCTET_MODEL_FORMAT_DEQUANT_H

#include <stddef.h>
#include <stdint.h>

/* src: n elements of a readable type, n a multiple of its block, any alignment → dst[n]. */
void dequant_row(uint32_t type, const void *src, float *dst, size_t n);

float f16_to_f32(uint16_t h); /* exact; a NaN is made quiet */
uint16_t f32_to_f16(float f); /* nearest, ties to even; too large: infinity; NaN stays, quiet */

#endif
