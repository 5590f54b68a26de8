/* A few rows times a matrix in blocks, bound by reading it: for CPUs with AVX-512 and its products of
 * bfloat16 and of bytes.
 *
 * A block is 64 outputs: a run of steps, each the next K inputs of all of them, 256 bytes, so that one
 * stream is read from its beginning to its end. K is 2 for bfloat16 (the order that oneDNN packs it
 * into), 4 for 8 bits and 8 for 4 bits. Several rows take turns at a piece of a block that stays in
 * the cache meanwhile. Each output is the sum of its inputs' products in one order, however many rows
 * there are.
 */
#ifndef BLOCKS_H
#define BLOCKS_H
#include "vectors.h"

#define OUTS 64   /* of a block */
#define MOST 32   /* rows of one call */

#if defined(__AVX512BF16__) && defined(__AVX512VNNI__) && defined(__AVX512BW__) && \
    defined(__AVX512VL__)
#define HAS_BLOCKS 1
#define WIDE 4    /* registers of 16 numbers for a block's outputs */
#define PIECE 128 /* steps that several groups of rows read in turn: 32 KiB */

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

/* Of 16 numbers the lowest bytes of both kinds, four by four: 32 bytes. */
INLINE void put_halves(__m512i high, __m512i low, uint8_t *to) {
    __m128i h = _mm512_cvtepi32_epi8(high), l = _mm512_cvtepi32_epi8(low);
    _mm_storeu_si128((__m128i *)to, _mm_unpacklo_epi32(h, l));
    _mm_storeu_si128((__m128i *)(to + 16), _mm_unpackhi_epi32(h, l));
}

/* 8 bits. An activation is a whole number of 16 bits times its row's step; what is multiplied is
 * that number plus 32768, its high byte and its low byte apart: exact, so that no order matters.
 * halves: [ins / 4][4 high bytes, 4 low bytes] of a row, one row after the other. */
static float halves_of(const float *x, long ins, uint8_t *halves) {
    float step = step_of(x, ins, 32767);
    __m512 per_step = _mm512_set1_ps(1 / step);
    if (step != step) per_step = _mm512_setzero_ps(); /* what comes out is NaN by the step */
    for (long i = 0; i < ins; i += 16) {
        __m512 scaled = _mm512_mul_ps(_mm512_loadu_ps(x + i), per_step);
        __m512i whole = _mm512_add_epi32(_mm512_cvtps_epi32(scaled), _mm512_set1_epi32(32768));
        put_halves(_mm512_srli_epi32(whole, 8), whole, halves + 2 * i);
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

/* 4 bits: a byte holds input i of a step in its low half and input i + 4 in its high half; a step
 * is 8 inputs. 32 inputs share a scale and what the value 8 stands for, both bfloat16, which lie in
 * blocks as well: [ins / 32][OUTS][2]. An activation is 256 times one signed byte plus another.
 * halves: [ins / 4][4 high bytes, 4 low bytes] of a row; totals [ins / 32]: sums of the numbers. */
static float digits_of(const float *x, long ins, int8_t *halves, int32_t *totals) {
    float step = step_of(x, ins, 32512);
    __m512 per_step = _mm512_set1_ps(1 / step);
    if (step != step) per_step = _mm512_setzero_ps(); /* what comes out is NaN by the step */
    for (long i = 0; i < ins; i += 16) {
        __m512 scaled = _mm512_mul_ps(_mm512_loadu_ps(x + i), per_step);
        __m512i whole = _mm512_cvtps_epi32(scaled);
        __m512i high = _mm512_srai_epi32(_mm512_add_epi32(whole, _mm512_set1_epi32(128)), 8);
        __m512i low = _mm512_sub_epi32(whole, _mm512_slli_epi32(high, 8));
        put_halves(high, low, (uint8_t *)halves + 2 * i);
        totals[i / 32] = (i % 32 ? totals[i / 32] : 0) + _mm512_reduce_add_epi32(whole);
    }
    return step;
}

INLINE void add_int4(int rows, const uint8_t *w, const uint16_t *steps, const int8_t *x,
                     const int32_t *totals, long ins, long groups, float *sums) {
    const __m512i half = _mm512_set1_epi8(15), upper = _mm512_set1_epi32(0xffff0000);
    __m512 sum[2][WIDE];
    UNROLL for (int r = 0; r < rows; r++)
        UNROLL for (int c = 0; c < WIDE; c++) sum[r][c] = _mm512_loadu_ps(sums + OUTS * r + 16 * c);
    for (long g = 0; g < groups; g++) {
        __m512i high[2][WIDE], low[2][WIDE];
        UNROLL for (int r = 0; r < rows; r++)
            UNROLL for (int c = 0; c < WIDE; c++) high[r][c] = low[r][c] = _mm512_setzero_si512();
        for (long i = 4 * g; i < 4 * g + 4; i++)
            UNROLL for (int c = 0; c < WIDE; c++) {
                __m512i both = _mm512_loadu_si512(w + 4 * OUTS * i + 64 * c);
                __m512i first = _mm512_and_si512(both, half);
                __m512i second = _mm512_and_si512(_mm512_srli_epi16(both, 4), half);
                UNROLL for (int r = 0; r < rows; r++) {
                    const int8_t *at = x + 2 * (r * ins + 8 * i);
                    __m512i h = _mm512_set1_epi32(four_bytes(at));
                    __m512i l = _mm512_set1_epi32(four_bytes(at + 4));
                    high[r][c] = _mm512_dpbusd_epi32(high[r][c], first, h);
                    low[r][c] = _mm512_dpbusd_epi32(low[r][c], first, l);
                    h = _mm512_set1_epi32(four_bytes(at + 8));
                    l = _mm512_set1_epi32(four_bytes(at + 12));
                    high[r][c] = _mm512_dpbusd_epi32(high[r][c], second, h);
                    low[r][c] = _mm512_dpbusd_epi32(low[r][c], second, l);
                }
            }
        UNROLL for (int c = 0; c < WIDE; c++) {
            __m512i pair = _mm512_loadu_si512(steps + 2 * OUTS * g + 32 * c);
            __m512 scale = _mm512_castsi512_ps(_mm512_slli_epi32(pair, 16));
            __m512 eight = _mm512_castsi512_ps(_mm512_and_si512(pair, upper));
            UNROLL for (int r = 0; r < rows; r++) {
                int32_t total = totals[r * (ins / 32) + g];
                __m512i whole = _mm512_add_epi32(_mm512_slli_epi32(high[r][c], 8), low[r][c]);
                whole = _mm512_sub_epi32(whole, _mm512_set1_epi32(8 * total));
                sum[r][c] = _mm512_fmadd_ps(scale, _mm512_cvtepi32_ps(whole), sum[r][c]);
                sum[r][c] = _mm512_fmadd_ps(eight, _mm512_set1_ps(total), sum[r][c]);
            }
        }
    }
    UNROLL for (int r = 0; r < rows; r++)
        UNROLL for (int c = 0; c < WIDE; c++) _mm512_storeu_ps(sums + OUTS * r + 16 * c, sum[r][c]);
}

/* sums[rows][OUTS], of which each is to be multiplied by its row's step */
static void block_int4(const uint8_t *w, const uint16_t *steps, const int8_t *x,
                       const int32_t *totals, long ins, long rows, float *sums) {
    long all = ins / 32, piece = rows > 2 ? PIECE / 4 : all;
    memset(sums, 0, rows * OUTS * sizeof *sums);
    for (long at = 0; at < all; at += piece) {
        long groups = all - at < piece ? all - at : piece;
        const uint8_t *v = w + 16 * OUTS * at;
        for (long r = 0; r < rows; r += 2) {
            const int8_t *u = x + 2 * (r * ins + 32 * at);
            const int32_t *t = totals + r * all + at;
            if (rows - r > 1)
                add_int4(2, v, steps + 2 * OUTS * at, u, t, ins, groups, sums + OUTS * r);
            else
                add_int4(1, v, steps + 2 * OUTS * at, u, t, ins, groups, sums + OUTS * r);
        }
    }
}
#else
#define HAS_BLOCKS 0
#endif
#endif
