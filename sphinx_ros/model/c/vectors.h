/* Numbers of the processor's vectors, and bfloat16 as the upper half of float32. */
#ifndef VECTORS_H
#define VECTORS_H
#include <math.h>
#include <stdint.h>
#include <string.h>
#if defined(__AVX512F__)
#include <immintrin.h>
#define LANES 16
#elif defined(__AVX2__)
#define LANES 8
#else
#define LANES 4
#endif

#define UNROLL _Pragma("GCC unroll 16")
#define INLINE static inline __attribute__((always_inline))

typedef float floats __attribute__((vector_size(4 * LANES)));
typedef int32_t ints __attribute__((vector_size(4 * LANES)));
typedef uint32_t words __attribute__((vector_size(4 * LANES)));
typedef uint16_t halves __attribute__((vector_size(2 * LANES)));

/* Keeps a vector in a register: gcc would load it again for each use. */
#if defined(__AVX512F__)
#define HOLD(vector) __asm__("" : "+v"(vector))
#elif defined(__x86_64__)
#define HOLD(vector) __asm__("" : "+x"(vector))
#else
#define HOLD(vector)
#endif

INLINE floats floats_at(const float *at) {
    floats values;
    memcpy(&values, at, sizeof values);
    return values;
}

/* Of two vectors' pairs of lanes that are n apart the sums: a's where the lane's number has not the
 * bit n, b's where it has. */
INLINE floats merged(floats a, floats b, int n) {
#if defined(__AVX512F__)
    __mmask16 bit = n == 8 ? 0xff00 : n == 4 ? 0xf0f0 : n == 2 ? 0xcccc : 0xaaaa;
    __m512 here = _mm512_mask_blend_ps(bit, (__m512)a, (__m512)b);
    __m512 there = _mm512_mask_blend_ps(bit, (__m512)b, (__m512)a);
    there = n == 8   ? _mm512_shuffle_f32x4(there, there, 0x4e)
            : n == 4 ? _mm512_shuffle_f32x4(there, there, 0xb1)
            : n == 2 ? _mm512_permute_ps(there, 0x4e)
                     : _mm512_permute_ps(there, 0xb1);
    return (floats)_mm512_add_ps(here, there);
#else
    ints here = {0}, there = {0};
    UNROLL for (int k = 0; k < LANES; k++) {
        here[k] = (k & n ? LANES : 0) + k;
        there[k] = (k & n ? LANES : 0) + (k ^ n);
    }
    return __builtin_shuffle(a, b, here) + __builtin_shuffle(a, b, there);
#endif
}

#define MERGE(n)                                                        \
    if (n < LANES)                                                      \
        UNROLL for (int k = 0; k < n; k++) v[k] = merged(v[k], v[(k + n) % LANES], n);

/* The sums of LANES vectors as one; each is added up in the same order. v is overwritten. */
INLINE floats sums_of(floats *v) {
    MERGE(8)
    MERGE(4)
    MERGE(2)
    MERGE(1)
    return v[0];
}

INLINE float sum_of(floats v) {
    floats all[LANES];
    UNROLL for (int k = 0; k < LANES; k++) all[k] = v;
    return sums_of(all)[0];
}

/* To the nearest bfloat16, of two the even one, where a network is of those. */
INLINE float rounded(float value, int64_t narrow) {
    uint32_t bits;
    if (!narrow || value != value) return value;
    memcpy(&bits, &value, sizeof bits);
    bits = (bits + 0x7fff + (bits >> 16 & 1)) & 0xffff0000u;
    memcpy(&value, &bits, sizeof value);
    return value;
}

INLINE uint16_t to_bfloat16(float value) {
    uint32_t bits;
    value = rounded(value, 1);
    memcpy(&bits, &value, sizeof bits);
    return bits >> 16;
}

/* Channels d .. d + LANES - 1 of a row of bfloat16 or float32. */
INLINE floats channels_at(const char *row, long d, int narrow) {
    if (!narrow) return floats_at((const float *)row + d);
    halves values;
    memcpy(&values, row + 2 * d, sizeof values);
#if defined(__AVX512F__)
    return (floats)_mm512_slli_epi32(_mm512_cvtepu16_epi32((__m256i)values), 16);
#else
    return (floats)(__builtin_convertvector(values, words) << 16);
#endif
}

INLINE floats chosen(ints where, floats yes, floats no) {
    return (floats)((where & (ints)yes) | (~where & (ints)no));
}

INLINE floats rounded_all(floats values, int64_t narrow) {
    words bits = (words)values;
    floats near = (floats)((bits + 0x7fff + (bits >> 16 & 1)) & 0xffff0000u);
    return narrow ? chosen(values == values, near, values) : values;
}

/* e to the power of x, with a relative error of 2e-7, as 2^n e^r with |r| < ln 2 / 2 and the series
 * of e^r up to its seventh power; 0 below -87, and not beyond that of 88. */
INLINE floats exp_of(floats x) {
    floats least = {0}, most = {0};
    least -= 87.f, most += 88.f;
    floats bounded = chosen(x < least, least, chosen(x > most, most, x));
    floats n = bounded * 1.44269504f + 12582912.f; /* 1.5 * 2^23: rounds to a whole number */
    ints power = ((ints)n - 0x4b400000) << 23;
    n -= 12582912.f;
    floats r = bounded - n * 0.693359375f + n * 2.12194440e-4f; /* ln 2 in two parts */
    floats e = r * (1.f / 5040) + 1.f / 720;
    e = e * r + 1.f / 120;
    e = e * r + 1.f / 24;
    e = e * r + 1.f / 6;
    e = e * r + 0.5f;
    e = e * r + 1.f;
    e = e * r + 1.f;
    floats found = (floats)((ints)e + power);
    return chosen(x < least, 0 * least, chosen(x == x, found, x));
}

/* gate[low .. high) = silu(gate) * up; whole vectors */
INLINE void gated(float *gate, const float *up, long low, long high, int64_t narrow) {
    for (long i = low; i < high; i += LANES) {
        floats g = rounded_all(floats_at(gate + i), narrow);
        g = rounded_all(g / (1.f + exp_of(-g)), narrow);
        g = rounded_all(g * rounded_all(floats_at(up + i), narrow), narrow);
        memcpy(gate + i, &g, sizeof g);
    }
}

/* What 1 stands for where the largest of a row stands for `most`; NaN where one is no number. */
static float step_of(const float *x, long ins, float most) {
    floats largest = {0}, odd = {0};
    for (long i = 0; i < ins; i += LANES) {
        floats v = floats_at(x + i), positive = chosen(v < 0, -v, v);
        largest = chosen(positive > largest, positive, largest);
        odd += v * 0; /* NaN of inf, too */
    }
    float found = 0, zero = sum_of(odd);
    for (int k = 0; k < LANES; k++) found = largest[k] > found ? largest[k] : found;
    return zero != 0 ? zero : found > 1e-30f ? found / most : 1;
}
#endif
