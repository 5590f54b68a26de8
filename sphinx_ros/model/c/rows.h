/* A few rows times a matrix whose rows lie one after the other, as in a linear layer.
 *
 * float32, and bfloat16 that meets float32: any CPU. 8 bits: CPUs with AVX2. With float32 each output
 * is the sum of its inputs' products in one order, however many rows there are.
 */
#ifndef ROWS_H
#define ROWS_H
#include "vectors.h"
#if defined(__AVX2__)
#include <immintrin.h>
#define HAS_MADD 1
#else
#define HAS_MADD 0
#endif

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

/* bfloat16 in rows times float32: 1 or 2 outputs of 1 to 4 rows, and one more accumulator each for 1
 * row. x: of each 2 * LANES inputs the even ones, then the odd ones, as the halves of the words that
 * weights are read as. */
INLINE void some_wide(int outs, int rows, const uint16_t *w, const float *x, long ins, float *y,
                      long stride) {
    floats even[2][4], odd[2][4], sum[LANES] = {0};
    memset(even, 0, sizeof even);
    memset(odd, 0, sizeof odd);
    for (long i = 0; i < ins; i += 2 * LANES) {
        floats first[2], second[2];
        UNROLL for (int a = 0; a < outs; a++) {
            words pairs;
            if (rows > 1) __builtin_prefetch(w + (outs + a) * ins + i);
            memcpy(&pairs, w + a * ins + i, sizeof pairs);
            first[a] = (floats)(pairs << 16), second[a] = (floats)(pairs & 0xffff0000u);
            HOLD(first[a]);
            HOLD(second[a]);
        }
        UNROLL for (int r = 0; r < rows; r++) {
            floats u = floats_at(x + r * ins + i), v = floats_at(x + r * ins + i + LANES);
            HOLD(u);
            HOLD(v);
            UNROLL for (int a = 0; a < outs; a++) {
                even[a][r] += first[a] * u;
                if (outs * rows < 4) odd[a][r] += second[a] * v; /* chains enough otherwise */
                else even[a][r] += second[a] * v;
            }
        }
    }
    UNROLL for (int r = 0; r < rows; r++) {
        UNROLL for (int a = 0; a < outs; a++) sum[a] = even[a][r] + odd[a][r];
        floats sums = sums_of(sum);
        UNROLL for (int a = 0; a < outs; a++) y[r * stride + a] = sums[a];
        memset(sum, 0, sizeof sum);
    }
}

/* A row as some_wide reads it. */
static void turn_row(const float *x, long ins, float *turned) {
    for (long i = 0; i < ins; i += 2 * LANES)
        for (int k = 0; k < LANES; k++) {
            turned[i + k] = x[i + 2 * k];
            turned[i + LANES + k] = x[i + 2 * k + 1];
        }
}

/* One row reads its weights as one stream; several read two rows of them at a time. */
#define TIMES_ROWS(name, some, weight, number)                                                     \
    static void name(const weight *w, const number *x, long ins, long rows, long low, long high,   \
                     float *y, long stride) {                                                      \
        for (long o = low; o < high; o += 2)                                                       \
            for (long r = 0; r < rows; r += 4) {                                                   \
                const number *u = x + r * ins;                                                     \
                float *v = y + r * stride + o;                                                     \
                switch (rows - r) {                                                                \
                case 1:                                                                            \
                    some(1, 1, w + o * ins, u, ins, v, stride);                                    \
                    some(1, 1, w + (o + 1) * ins, u, ins, v + 1, stride);                          \
                    break;                                                                         \
                case 2: some(2, 2, w + o * ins, u, ins, v, stride); break;                         \
                case 3: some(2, 3, w + o * ins, u, ins, v, stride); break;                         \
                default: some(2, 4, w + o * ins, u, ins, v, stride);                               \
                }                                                                                  \
            }                                                                                      \
    }

TIMES_ROWS(times_wide, some_wide, uint16_t, float)

/* A row as some_madd reads it; its step. */
static float whole_of(const float *x, long ins, int16_t *whole) {
    float step = step_of(x, ins, 8191), per_step = step == step ? 1 / step : 0;
    for (long i = 0; i < ins; i++) whole[i] = step == step ? lrintf(x[i] * per_step) : 0;
    return step;
}

#if HAS_MADD
/* 8 bits in rows times whole numbers of 14 bits: 1 or 2 outputs of 1 to 4 rows, to be multiplied by
 * the rows' steps. An eighth of a row's products fit into 32 bits, of up to 16384 inputs. */
INLINE void some_madd(int outs, int rows, const int8_t *w, const int16_t *x, long ins, float *y,
                      long stride) {
    __m256i sum[2][4];
    UNROLL for (int a = 0; a < outs; a++)
        UNROLL for (int r = 0; r < rows; r++) sum[a][r] = _mm256_setzero_si256();
    for (long i = 0; i < ins; i += 16) {
        __m256i v[2];
        UNROLL for (int a = 0; a < outs; a++) {
            if (rows > 1) __builtin_prefetch(w + (outs + a) * ins + i);
            v[a] = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(w + a * ins + i)));
        }
        UNROLL for (int r = 0; r < rows; r++) {
            __m256i u = _mm256_loadu_si256((const __m256i *)(x + r * ins + i));
            UNROLL for (int a = 0; a < outs; a++)
                sum[a][r] = _mm256_add_epi32(sum[a][r], _mm256_madd_epi16(v[a], u));
        }
    }
    UNROLL for (int a = 0; a < outs; a++)
        UNROLL for (int r = 0; r < rows; r++) { /* all eight together may be more than 32 bits */
            float all = 0;
            __m256 eight = _mm256_cvtepi32_ps(sum[a][r]);
            for (int k = 0; k < 8; k++) all += eight[k];
            y[r * stride + a] = all;
        }
}

TIMES_ROWS(times_madd, some_madd, int8_t, int16_t)
#endif
#endif
