/* A few rows times a stored matrix, bound by reading the matrix: included by native.c.
 *
 * float32: the rows of the matrix one after the other, as in a linear layer; any CPU.
 *
 * bfloat16 and 8 bits: for CPUs with AVX-512 and its products of these. The matrix lies in blocks of
 * 64 outputs. A block is a run of steps: the next K inputs of each of its 64 outputs, 256 bytes, so
 * that one stream is read from its beginning to its end. K is 2 for bfloat16 (the order that oneDNN
 * packs it into) and 4 for 8 bits. Several rows take turns at a piece of a block that stays in the
 * cache meanwhile.
 *
 * Each output is the sum of its inputs' products in one order, however many rows there are.
 */
#include <stdint.h>
#include <string.h>
#include "vectors.h"
#if defined(__AVX512BF16__) && defined(__AVX512VNNI__) && defined(__AVX512BW__) && \
    defined(__AVX512VL__)
#define HAS_BLOCKS 1
#else
#define HAS_BLOCKS 0
#endif

#define OUTS 64   /* of a block */
#define WIDE 4    /* registers of 16 numbers for them */
#define PIECE 128 /* steps of a block that several groups of rows read in turn: 32 KiB */
#define MOST 16   /* rows of one call */

/* float32: some outputs from o on of y[row * stride + o], for the matrix at w [.., ins], as many as
 * vectors hold for 1, 2 or 4 rows, of which `real` are there. */
INLINE void some_float32(int rows, int real, const float *w, const float *x, long ins, long o,
                         float *y, long stride) {
    int outs = LANES / rows, group = outs < 4 ? outs : 4; /* more streams would be slower */
    floats sum[LANES] = {0};
    for (int first = 0; first < outs; first += group) {
        floats part[4][4];
        memset(part, 0, sizeof part);
        for (long i = 0; i < ins; i += LANES) {
            floats u[4];
            UNROLL for (int r = 0; r < real; r++) {
                u[r] = floats_at(x + r * ins + i);
                HOLD(u[r]);
            }
            UNROLL for (int a = 0; a < group; a++) {
                floats v = floats_at(w + (o + first + a) * ins + i);
                HOLD(v);
                UNROLL for (int r = 0; r < real; r++) part[r][a] += v * u[r];
            }
        }
        UNROLL for (int r = 0; r < real; r++)
            UNROLL for (int a = 0; a < group; a++) sum[r * outs + first + a] = part[r][a];
    }
    floats sums = sums_of(sum);
    UNROLL for (int r = 0; r < real; r++)
        memcpy(y + r * stride + o, (float *)&sums + r * outs, outs * sizeof *y);
}

/* float32: outputs low .. high - 1, in whole vectors, of y[row * stride + o]. All rows are multiplied
 * with some weights while these are in the cache. */
static void times_float32(const float *w, const float *x, long ins, long rows, long low, long high,
                          float *y, long stride) {
    for (long block = low; block < high; block += LANES)
        for (long r = 0, n; r < rows; r += n) {
            const float *u = x + r * ins;
            float *v = y + r * stride;
            n = rows - r < 4 ? rows - r : 4;
            long step = n > 2 ? LANES / 4 : LANES / n;
            for (long o = block; o < block + LANES; o += step) switch (n) {
                case 1: some_float32(1, 1, w, u, ins, o, v, stride); break;
                case 2: some_float32(2, 2, w, u, ins, o, v, stride); break;
                case 3: some_float32(4, 3, w, u, ins, o, v, stride); break;
                default: some_float32(4, 4, w, u, ins, o, v, stride);
                }
        }
}

#if HAS_BLOCKS
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
#endif
