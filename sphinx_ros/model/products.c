/* A few rows times a stored matrix, bound by reading the matrix: for CPUs with AVX-512, its bfloat16
 * and its 8-bit dot products. Compiled and called by native.py, whose functions say what is given.
 *
 * The matrix lies in blocks of 64 outputs. A block is a run of steps: the next K inputs of each of
 * its 64 outputs, 256 bytes, so that one stream is read from its beginning to its end. K is 2 for
 * bfloat16 (the order that oneDNN packs it into) and 4 for 8 bits. Each output is the sum of its
 * inputs' products in their order, however many rows there are.
 *
 * Several rows take turns at a piece of a block that stays in the cache meanwhile.
 */
#include <immintrin.h>
#include <omp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define OUTS 64  /* of a block */
#define WIDE 4   /* registers of 16 numbers for them */
#define PIECE 128 /* steps of a block that several groups of rows read in turn: 32 KiB */
#define MOST 16  /* rows of one call */

#define UNROLL _Pragma("GCC unroll 16")
#define INLINE static inline __attribute__((always_inline))

INLINE int32_t four_bytes(const void *at) {
    int32_t value;
    memcpy(&value, at, sizeof value);
    return value;
}

/* bfloat16: sums[rows][OUTS] float += steps of a block at w times rows of x, `ins` numbers apart */
INLINE void add_bfloat16(int rows, const uint16_t *w, const uint16_t *x, long ins, long steps,
                         float *sums) {
    __m512 sum[6][WIDE];
    UNROLL for (int r = 0; r < rows; r++)
        UNROLL for (int c = 0; c < WIDE; c++) sum[r][c] = _mm512_loadu_ps(sums + OUTS * r + 16 * c);
    for (long i = 0; i < steps; i++) {
        __m512bh v[WIDE];
        UNROLL for (int c = 0; c < WIDE; c++)
            v[c] = (__m512bh)_mm512_loadu_si512(w + 2 * OUTS * i + 32 * c);
        UNROLL for (int r = 0; r < rows; r++) {
            __m512bh u = (__m512bh)_mm512_set1_epi32(four_bytes(x + r * ins + 2 * i));
            UNROLL for (int c = 0; c < WIDE; c++) sum[r][c] = _mm512_dpbf16_ps(sum[r][c], v[c], u);
        }
    }
    UNROLL for (int r = 0; r < rows; r++)
        UNROLL for (int c = 0; c < WIDE; c++) _mm512_storeu_ps(sums + OUTS * r + 16 * c, sum[r][c]);
}

static void block_bfloat16(const uint16_t *w, const uint16_t *x, long ins, long rows, float *sums) {
    long all = ins / 2, piece = rows > 6 ? PIECE : all;
    memset(sums, 0, rows * OUTS * sizeof *sums);
    for (long at = 0; at < all; at += piece) {
        long steps = all - at < piece ? all - at : piece;
        for (long r = 0, n; r < rows; r += n) {
            const uint16_t *v = w + 2 * OUTS * at, *u = x + r * ins + 2 * at;
            float *s = sums + OUTS * r;
            n = rows - r < 6 ? rows - r : 6;
            switch (n) {
            case 1: add_bfloat16(1, v, u, ins, steps, s); break;
            case 2: add_bfloat16(2, v, u, ins, steps, s); break;
            case 3: add_bfloat16(3, v, u, ins, steps, s); break;
            case 4: add_bfloat16(4, v, u, ins, steps, s); break;
            case 5: add_bfloat16(5, v, u, ins, steps, s); break;
            default: add_bfloat16(6, v, u, ins, steps, s);
            }
        }
    }
}

/* x [rows, ins], y [rows, outs]: bfloat16 */
void product_bfloat16(const uint16_t *w, const uint16_t *x, uint16_t *y, long outs, long ins,
                      long rows, int threads) {
    long blocks = outs / OUTS;
#pragma omp parallel num_threads(threads)
    {
        long part = omp_get_thread_num(), parts = omp_get_num_threads();
        float sums[MOST * OUTS];
        for (long b = blocks * part / parts; b < blocks * (part + 1) / parts; b++) {
            block_bfloat16(w + b * OUTS * ins, x, ins, rows, sums);
            for (long r = 0; r < rows; r++)
                for (int c = 0; c < WIDE; c++) {
                    __m256bh short_ones = _mm512_cvtneps_pbh(_mm512_loadu_ps(sums + OUTS * r + 16 * c));
                    _mm256_storeu_si256((__m256i *)(y + r * outs + OUTS * b + 16 * c),
                                        (__m256i)short_ones);
                }
        }
    }
}

/* 8 bits. An activation is a whole number of 16 bits times its row's step; what is multiplied is
 * that number plus 32768, its high byte and its low byte apart: exact, so that no order matters.
 * halves: [ins / 4][4 high bytes, 4 low bytes] of a row, one row after the other. */
static float halves_of(const float *x, long ins, uint8_t *halves) {
    __m512 most = _mm512_setzero_ps(), odd = _mm512_setzero_ps(); /* odd: NaN where x is, or inf */
    for (long i = 0; i < ins; i += 16) {
        __m512 v = _mm512_loadu_ps(x + i);
        most = _mm512_max_ps(most, _mm512_abs_ps(v));
        odd = _mm512_fmadd_ps(v, _mm512_setzero_ps(), odd);
    }
    float largest = _mm512_reduce_max_ps(most), step = largest > 1e-30f ? largest / 32767 : 1;
    if (_mm512_reduce_add_ps(odd) != 0) { /* what comes out is NaN as well */
        memset(halves, 0, 2 * ins);
        return (float)__builtin_nan("");
    }
    __m512 per_step = _mm512_set1_ps(1 / step);
    for (long i = 0; i < ins; i += 16) {
        __m512i whole = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(x + i), per_step));
        whole = _mm512_add_epi32(whole, _mm512_set1_epi32(32768));
        __m128i high = _mm512_cvtepi32_epi8(_mm512_srli_epi32(whole, 8));
        __m128i low = _mm512_cvtepi32_epi8(whole);
        _mm_storeu_si128((__m128i *)(halves + 2 * i), _mm_unpacklo_epi32(high, low));
        _mm_storeu_si128((__m128i *)(halves + 2 * i + 16), _mm_unpackhi_epi32(high, low));
    }
    return step;
}

INLINE void add_int8(int rows, const int8_t *w, const uint8_t *x, long ins, long steps,
                     int32_t *sums) {
    __m512i high[3][WIDE], low[3][WIDE];
    UNROLL for (int r = 0; r < rows; r++)
        UNROLL for (int c = 0; c < WIDE; c++) {
            high[r][c] = _mm512_loadu_si512(sums + 2 * OUTS * r + 16 * c);
            low[r][c] = _mm512_loadu_si512(sums + 2 * OUTS * r + OUTS + 16 * c);
        }
    for (long i = 0; i < steps; i++) {
        __m512i v[WIDE];
        UNROLL for (int c = 0; c < WIDE; c++)
            v[c] = _mm512_loadu_si512(w + 4 * OUTS * i + 64 * c);
        UNROLL for (int r = 0; r < rows; r++) {
            const uint8_t *at = x + 2 * (r * ins + 4 * i);
            __m512i h = _mm512_set1_epi32(four_bytes(at)), l = _mm512_set1_epi32(four_bytes(at + 4));
            UNROLL for (int c = 0; c < WIDE; c++) {
                high[r][c] = _mm512_dpbusd_epi32(high[r][c], h, v[c]);
                low[r][c] = _mm512_dpbusd_epi32(low[r][c], l, v[c]);
            }
        }
    }
    UNROLL for (int r = 0; r < rows; r++)
        UNROLL for (int c = 0; c < WIDE; c++) {
            _mm512_storeu_si512(sums + 2 * OUTS * r + 16 * c, high[r][c]);
            _mm512_storeu_si512(sums + 2 * OUTS * r + OUTS + 16 * c, low[r][c]);
        }
}

static void block_int8(const int8_t *w, const uint8_t *x, long ins, long rows, int32_t *sums) {
    long all = ins / 4, piece = rows > 3 ? PIECE : all;
    memset(sums, 0, rows * 2 * OUTS * sizeof *sums);
    for (long at = 0; at < all; at += piece) {
        long steps = all - at < piece ? all - at : piece;
        for (long r = 0, n; r < rows; r += n) {
            const int8_t *v = w + 4 * OUTS * at;
            const uint8_t *u = x + 2 * (r * ins + 4 * at);
            int32_t *s = sums + 2 * OUTS * r;
            n = rows - r < 3 ? rows - r : 3;
            switch (n) {
            case 1: add_int8(1, v, u, ins, steps, s); break;
            case 2: add_int8(2, v, u, ins, steps, s); break;
            default: add_int8(3, v, u, ins, steps, s);
            }
        }
    }
}

/* x [rows, ins], y [rows, outs]: float32; scale [outs] of the weights, totals [outs] their sums.
 * halves: memory for 2 * rows * ins bytes. */
void product_int8(const int8_t *w, const float *scale, const int32_t *totals, const float *x,
                  float *y, uint8_t *halves, long outs, long ins, long rows, int threads) {
    long blocks = outs / OUTS;
    float step[MOST];
    for (long r = 0; r < rows; r++) step[r] = halves_of(x + r * ins, ins, halves + 2 * r * ins);
#pragma omp parallel num_threads(threads)
    {
        long part = omp_get_thread_num(), parts = omp_get_num_threads();
        int32_t sums[MOST * 2 * OUTS];
        for (long b = blocks * part / parts; b < blocks * (part + 1) / parts; b++) {
            block_int8(w + b * OUTS * ins, halves, ins, rows, sums);
            for (long r = 0; r < rows; r++)
                for (int k = 0; k < OUTS; k++) {
                    long o = OUTS * b + k;
                    int32_t *sum = sums + 2 * OUTS * r + k; /* 32768 is 128 of the high byte */
                    float whole = 256.f * (sum[0] - 128 * totals[o]) + sum[OUTS];
                    y[r * outs + o] = whole * (step[r] * scale[o]);
                }
        }
    }
}
