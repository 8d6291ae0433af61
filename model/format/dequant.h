/* dequant.h - blocks of every readable tensor type → f32, and the conversions of half-width floats.
 *
 * Owner:   pure functions, any thread.
 * Memory:  the caller's buffers; nothing is allocated.
 * Errors:  none: type and sizes were checked by gguf_open.
 * Formulas: block layouts as published by ggml (Q4_0 … Q6_K); bit-equal to its reference
 * dequantization. */
#ifndef OCTET_MODEL_FORMAT_DEQUANT_H
#define OCTET_MODEL_FORMAT_DEQUANT_H

#include <stddef.h>
#include <stdint.h>

/* src: n elements (a multiple of the type's block) of enum gguf_type type, any alignment → dst[n].
 */
void dequant_row(uint32_t type, const void *src, float *dst, size_t n);

float f16_to_f32(uint16_t h);
uint16_t f32_to_f16(float f); /* nearest, ties to even; overflow to infinity; NaN kept quiet */

#endif
