/* A stored matrix of any kind, and a thread's part of its product with a few rows. The structures are
 * those of native.py.
 */
#ifndef MATRIX_H
#define MATRIX_H
#include <omp.h>
#include "blocks.h"
#include "rows.h"

enum { FLOAT32, BFLOAT16, INT8, INT4, WIDE_BFLOAT16, INT8_ROWS };

typedef struct {
    int64_t kind, outs, ins;
    const void *weight;
    const void *scale;     /* 8 bits: what a weight counts, float32 [outs]; INT4: the steps */
    const int32_t *totals; /* INT8: sums of the weights [outs] */
} Matrix;

/* What a product reads besides float32: the same rows in another order, as bfloat16, as numbers of
 * 14 bits, or as halves; their steps, and for 4 bits their sums. */
typedef struct {
    float *turned;
    uint16_t *narrow;
    int16_t *whole;
    uint8_t *halves;
    float *step;
    int32_t *totals;
} Ready;

/* This thread's share [low, high) of some things, in whole pieces. */
INLINE void share(long count, long piece, long *low, long *high) {
    long part = omp_get_thread_num(), parts = omp_get_num_threads();
    long pieces = (count + piece - 1) / piece;
    *low = pieces * part / parts * piece;
    *high = pieces * (part + 1) / parts * piece;
    *high = *high < count ? *high : count;
}

/* A row of x, ready for matrices of a kind. */
static void make_ready(const Ready *ready, const Matrix *m, const float *x, long row) {
    if (m->kind == BFLOAT16)
        for (long i = 0; i < m->ins; i++)
            ready->narrow[row * m->ins + i] = to_bfloat16(x[row * m->ins + i]);
    if (m->kind == WIDE_BFLOAT16)
        turn_row(x + row * m->ins, m->ins, ready->turned + row * m->ins);
    if (m->kind == INT8_ROWS)
        ready->step[row] = whole_of(x + row * m->ins, m->ins, ready->whole + row * m->ins);
#if HAS_BLOCKS
    uint8_t *halves = ready->halves + 2 * row * m->ins;
    if (m->kind == INT8) ready->step[row] = halves_of(x + row * m->ins, m->ins, halves);
    if (m->kind == INT4)
        ready->step[row] = digits_of(x + row * m->ins, m->ins, (int8_t *)halves,
                                     ready->totals + row * (m->ins / 32));
#endif
}

#if HAS_BLOCKS
/* Outputs o .. o + OUTS - 1 of y[row * stride + o]. */
static void times_block(const Matrix *m, const Ready *x, long rows, long o, float *y, long stride) {
    float sums[MOST * OUTS];
    if (m->kind == INT8) {
        int32_t whole[MOST * 2 * OUTS];
        const float *scale = m->scale;
        block_int8((const int8_t *)m->weight + o * m->ins, x->halves, m->ins, rows, whole);
        for (long r = 0; r < rows; r++)
            for (int k = 0; k < OUTS; k++) { /* 32768, which is too much, is 128 of the high byte */
                const int32_t *sum = whole + 2 * OUTS * r + k;
                float product = 256.f * (sum[0] - 128 * m->totals[o + k]) + sum[OUTS];
                y[r * stride + o + k] = product * (x->step[r] * scale[o + k]);
            }
        return;
    }
    if (m->kind == BFLOAT16)
        block_bfloat16((const uint16_t *)m->weight + o * m->ins, x->narrow, m->ins, rows, sums);
    else
        block_int4((const uint8_t *)m->weight + o * m->ins / 2,
                   (const uint16_t *)m->scale + o * m->ins / 16, (const int8_t *)x->halves,
                   x->totals, m->ins, rows, sums);
    for (long r = 0; r < rows; r++)
        for (int k = 0; k < OUTS; k++)
            y[r * stride + o + k] = sums[OUTS * r + k] * (m->kind == INT4 ? x->step[r] : 1);
}
#endif

/* This thread's outputs [low, high) of y[row * stride + o], not rounded. */
static void times(const Matrix *m, const float *x, const Ready *ready, long rows, float *y,
                  long stride, long *low, long *high) {
    int in_blocks = m->kind == BFLOAT16 || m->kind == INT8 || m->kind == INT4;
    share(m->outs, in_blocks ? OUTS : LANES, low, high);
    if (m->kind == FLOAT32)
        times_float32(m->weight, x, m->ins, rows, *low, *high, y, stride);
    else if (m->kind == WIDE_BFLOAT16)
        times_wide(m->weight, ready->turned, m->ins, rows, *low, *high, y, stride);
#if HAS_MADD
    else if (m->kind == INT8_ROWS) {
        times_madd(m->weight, ready->whole, m->ins, rows, *low, *high, y, stride);
        for (long r = 0; r < rows; r++)
            for (long o = *low; o < *high; o++)
                y[r * stride + o] *= ready->step[r] * ((const float *)m->scale)[o];
    }
#endif
#if HAS_BLOCKS
    else
        for (long o = *low; o < *high; o += OUTS) times_block(m, ready, rows, o, y, stride);
#endif
}
#endif
