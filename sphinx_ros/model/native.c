/* The packed pass of a decoder for a few tokens, and single products: compiled by native.py, whose
 * structures these are and whose functions say what is given. The arithmetic is that of layers.py:
 * where a network of bfloat16 rounds a tensor, `rounded` does.
 *
 * All threads go through all layers together. Between two barriers each computes some outputs of a
 * product, some heads or some rows, and reads what others wrote before the last barrier.
 */
#include <math.h>
#include <omp.h>
#include "products.h"

enum { FLOAT32, BFLOAT16, INT8, INT4, WIDE_BFLOAT16, INT8_ROWS };

typedef struct {
    int64_t kind, outs, ins;
    const void *weight;
    const void *scale;     /* INT8: what a weight counts, float32; INT4: its steps */
    const int32_t *totals; /* INT8: sums of the weights */
} Matrix;

typedef struct {
    const float *attention_norm, *ffn_norm;
    Matrix queries, keys, values, out, gate, up, down;
} Layer;

typedef struct {
    int64_t layers, dim, heads, keys, size, hidden;
    int64_t narrow; /* whether the network is of bfloat16 */
    double eps;
} Sizes;

typedef struct {
    char *cache; /* [layers, 2 * keys, length, size], keys before values */
    int64_t layer_bytes, length, tokens, used;
    const int64_t *slots;   /* [tokens] */
    const uint8_t *visible; /* [tokens, used] */
    int32_t *places;        /* memory for `used` numbers, up to whole vectors, and as many .. */
    float *added;           /* .. for each token */
    int64_t seen;           /* filled in: how many places any token sees, up to whole vectors */
} Span;

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

/* Memory of a pass, float32: rows of dim, of all heads, of the queries' heads, of hidden, of hidden;
 * and for each thread TOGETHER times `most` numbers, the longest span's `used` in whole vectors. */
typedef struct {
    float *normed, *heads, *seen, *gate, *up, *scores;
    int64_t most;
    Ready ready;
} Work;

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

/* Whether products of matrices in blocks, and of 8 bits in rows, are there. */
int has_blocks(void) { return HAS_BLOCKS; }
int has_madd(void) { return HAS_MADD; }

/* One product: x [rows, ins] to y [rows, outs], float32. ready: memory for x in every form. */
void product(const Matrix *m, const float *x, float *y, const Ready *ready, int64_t rows,
             int threads) {
    for (long r = 0; r < rows; r++) make_ready(ready, m, x, r);
#pragma omp parallel num_threads(threads)
    {
        long low, high;
        times(m, x, ready, rows, y, m->outs, &low, &high);
    }
}

/* Root mean square normalisation of a row of x. */
static void normalise(const float *x, const float *weight, float *out, const Sizes *s) {
    floats squares = {0};
    for (long i = 0; i < s->dim; i += LANES) squares += floats_at(x + i) * floats_at(x + i);
    float factor = 1 / sqrtf(sum_of(squares) / s->dim + (float)s->eps);
    for (long i = 0; i < s->dim; i++)
        out[i] = rounded(rounded(x[i] * factor, s->narrow) * weight[i], s->narrow);
}

/* Neighbouring channels of a head, rounded, turned by cosines and sines [size / 2, 2], in place. */
static void turn(float *x, const float *by, const Sizes *s) {
    for (long d = 0; d < s->size; d += 2) {
        float even = rounded(x[d], s->narrow), odd = rounded(x[d + 1], s->narrow);
        x[d] = rounded(even * by[d] - odd * by[d + 1], s->narrow);
        x[d + 1] = rounded(even * by[d + 1] + odd * by[d], s->narrow);
    }
}

/* A token's keys and values [2 * keys, size], rounded, to a slot of its cache. */
static void put(const Span *span, long layer, long slot, const float *new, const Sizes *s) {
    char *rows = span->cache + layer * span->layer_bytes;
    for (long h = 0; h < 2 * s->keys; h++)
        for (long d = 0; d < s->size; d++) {
            long at = (h * span->length + slot) * s->size + d;
            if (s->narrow)
                ((uint16_t *)rows)[at] = to_bfloat16(new[h * s->size + d]);
            else
                ((float *)rows)[at] = new[h * s->size + d];
        }
}

/* The places that any token of a span sees, and what is added to each token's scores: 0 or -inf. */
static void look_around(Span *span) {
    long seen = 0, padded;
    for (long p = 0; p < span->used; p++)
        for (long t = 0; t < span->tokens; t++)
            if (span->visible[t * span->used + p]) {
                span->places[seen++] = p;
                break;
            }
    padded = (seen + LANES - 1) / LANES * LANES;
    for (long p = seen; p < padded; p++) span->places[p] = span->places[0];
    for (long t = 0; t < span->tokens; t++)
        for (long p = 0; p < padded; p++) {
            int sees = p < seen && span->visible[t * span->used + span->places[p]];
            span->added[t * padded + p] = sees ? 0 : -INFINITY;
        }
    span->seen = padded;
}

#define TOGETHER (LANES / 4) /* queries that meet the same keys, where there are several */

/* scores [together, most] of queries with keys at some places; bytes: of a key */
INLINE void score(int together, const char *keys, const Span *span, const float *const *q,
                  long bytes, long size, float *scores, long most, int narrow) {
    int step = LANES / together;
    for (long p = 0; p < span->seen; p += step) {
        floats sum[LANES] = {0};
        for (long d = 0; d < size; d += LANES) {
            floats u[TOGETHER];
            UNROLL for (int n = 0; n < together; n++) {
                u[n] = floats_at(q[n] + d);
                HOLD(u[n]);
            }
            UNROLL for (int k = 0; k < step; k++) {
                floats key = channels_at(keys + span->places[p + k] * bytes, d, narrow);
                HOLD(key);
                UNROLL for (int n = 0; n < together; n++) sum[n * step + k] += u[n] * key;
            }
        }
        floats found = sums_of(sum);
        UNROLL for (int n = 0; n < together; n++)
            memcpy(scores + n * most + p, (float *)&found + n * step, step * sizeof *scores);
    }
}

/* Scores to weights, in place; 1 / their sum. */
INLINE float weigh(float *scores, const float *added, long count, float scale) {
    floats most = {0}, total = {0};
    most -= INFINITY;
    for (long p = 0; p < count; p += LANES) {
        floats score = floats_at(scores + p) * scale + floats_at(added + p);
        most = chosen(score > most, score, most);
        memcpy(scores + p, &score, sizeof score);
    }
    float largest = most[0];
    for (int k = 1; k < LANES; k++) largest = most[k] > largest ? most[k] : largest;
    for (long p = 0; p < count; p += LANES) {
        floats weight = exp_of(floats_at(scores + p) - largest);
        total += weight;
        memcpy(scores + p, &weight, sizeof weight);
    }
    return 1 / sum_of(total);
}

/* out[n][d ..] = what the weights make of some vectors of the values */
INLINE void mix(int together, int vectors, const char *values, const Span *span, long bytes, long d,
                const float *weights, long most, const float *part, float *const *out, int narrow) {
    floats sum[TOGETHER][2];
    memset(sum, 0, sizeof sum);
    for (long p = 0; p < span->seen; p++)
        UNROLL for (int k = 0; k < vectors; k++) {
            const char *row = values + span->places[p] * bytes;
            floats value = channels_at(row, d + k * LANES, narrow);
            HOLD(value);
            UNROLL for (int n = 0; n < together; n++) sum[n][k] += weights[n * most + p] * value;
        }
    UNROLL for (int n = 0; n < together; n++)
        UNROLL for (int k = 0; k < vectors; k++) {
            floats found = rounded_all(sum[n][k] * part[n], narrow);
            memcpy(out[n] + d + k * LANES, &found, sizeof found);
        }
}

/* Some queries that share a key head, from the first one on: query n is of token n / group. heads:
 * [tokens, heads + 2 * keys, size] of the span, seen: [tokens, heads, size]. */
INLINE void attend(int together, const Span *span, long layer, long key_head, long first,
                   const float *heads, float *seen, float *scores, long most, const Sizes *s,
                   int narrow) {
    long size = s->size, bytes = size * (narrow ? 2 : 4), group = s->heads / s->keys;
    const char *keys = span->cache + layer * span->layer_bytes + key_head * span->length * bytes;
    const char *values = keys + s->keys * span->length * bytes;
    const float *q[TOGETHER];
    float *out[TOGETHER], part[TOGETHER];
    for (long n = 0; n < together; n++) {
        long head = key_head * group + (first + n) % group, t = (first + n) / group;
        q[n] = heads + (t * (s->heads + 2 * s->keys) + head) * size;
        out[n] = seen + (t * s->heads + head) * size;
    }
    score(together, keys, span, q, bytes, size, scores, most, narrow);
    for (long n = 0; n < together; n++) {
        const float *added = span->added + (first + n) / group * span->seen;
        part[n] = weigh(scores + n * most, added, span->seen, 1 / sqrtf(size));
    }
    if (size % (2 * LANES) == 0)
        for (long d = 0; d < size; d += 2 * LANES)
            mix(together, 2, values, span, bytes, d, scores, most, part, out, narrow);
    else
        for (long d = 0; d < size; d += LANES)
            mix(together, 1, values, span, bytes, d, scores, most, part, out, narrow);
}

/* This thread's part of what all queries see. */
static void attend_all(const Span *spans, long count, long layer, const Work *w, const Sizes *s) {
    long row = 0, low, high;
    float *scores = w->scores + omp_get_thread_num() * TOGETHER * w->most;
    for (const Span *span = spans; span < spans + count; row += span->tokens, span++) {
        const float *heads = w->heads + row * (s->heads + 2 * s->keys) * s->size;
        float *seen = w->seen + row * s->heads * s->size;
        long queries = span->tokens * (s->heads / s->keys);
        share(s->keys * queries, 1, &low, &high);
        for (long n = low, step; n < high; n += step) {
            long key_head = n / queries, first = n % queries;
            step = queries - first < high - n ? queries - first : high - n;
            step = step >= TOGETHER ? TOGETHER : 1;
#define ATTEND(together, narrow) \
    attend(together, span, layer, key_head, first, heads, seen, scores, w->most, s, narrow)
            if (s->narrow && step > 1) ATTEND(TOGETHER, 1);
            else if (s->narrow) ATTEND(1, 1);
            else if (step > 1) ATTEND(TOGETHER, 0);
            else ATTEND(1, 0);
        }
    }
}

/* Rows of x [rows, dim] normalised, and ready for a matrix; up to a barrier. */
static void norm_rows(const float *x, const float *weight, const Matrix *m, const Work *w,
                      const Sizes *s, long rows) {
    for (long r = omp_get_thread_num(); r < rows; r += omp_get_num_threads()) {
        normalise(x + r * s->dim, weight, w->normed + r * s->dim, s);
        make_ready(&w->ready, m, w->normed, r);
    }
#pragma omp barrier
}

/* x += from times a matrix, up to a barrier. */
static void add_product(const Matrix *m, const float *from, float *x, const Work *w, const Sizes *s,
                        long rows) {
    long low, high;
    for (long r = omp_get_thread_num(); r < rows; r += omp_get_num_threads())
        make_ready(&w->ready, m, from, r);
#pragma omp barrier
    times(m, from, &w->ready, rows, w->normed, s->dim, &low, &high);
    for (long r = 0; r < rows; r++)
        for (long o = r * s->dim + low; o < r * s->dim + high; o++)
            x[o] = rounded(x[o] + rounded(w->normed[o], s->narrow), s->narrow);
#pragma omp barrier
}

static void attention(const Layer *l, long layer, const Span *spans, long count, float *x,
                      const float *turns, const Work *w, const Sizes *s, long rows) {
    long queries = s->heads * s->size, keys = s->keys * s->size, wide = queries + 2 * keys;
    long low, high, row = 0;
    norm_rows(x, l->attention_norm, &l->queries, w, s, rows);
    times(&l->queries, w->normed, &w->ready, rows, w->heads, wide, &low, &high);
    times(&l->keys, w->normed, &w->ready, rows, w->heads + queries, wide, &low, &high);
    times(&l->values, w->normed, &w->ready, rows, w->heads + queries + keys, wide, &low, &high);
#pragma omp barrier
    for (const Span *span = spans; span < spans + count; span++)
        for (long t = 0; t < span->tokens; t++, row++) {
            if (row % omp_get_num_threads() != omp_get_thread_num()) continue;
            float *heads = w->heads + row * wide;
            for (long h = 0; h < s->heads + s->keys; h++)
                turn(heads + h * s->size, turns + row * s->size, s);
            for (long d = queries + keys; d < wide; d++) heads[d] = rounded(heads[d], s->narrow);
            put(span, layer, span->slots[t], heads + queries, s);
        }
#pragma omp barrier
    attend_all(spans, count, layer, w, s);
#pragma omp barrier
    add_product(&l->out, w->seen, x, w, s, rows);
}

static void feed_forward(const Layer *l, float *x, const Work *w, const Sizes *s, long rows) {
    long low, high;
    norm_rows(x, l->ffn_norm, &l->gate, w, s, rows);
    times(&l->gate, w->normed, &w->ready, rows, w->gate, s->hidden, &low, &high);
    times(&l->up, w->normed, &w->ready, rows, w->up, s->hidden, &low, &high);
    for (long r = 0; r < rows; r++)
        gated(w->gate + r * s->hidden, w->up + r * s->hidden, low, high, s->narrow);
#pragma omp barrier
    add_product(&l->down, w->gate, x, w, s, rows);
}

/* All layers: x [rows, dim] of tokens in spans, in place. turns: [rows, size / 2, 2], of their
 * positions. */
void pass_of(const Layer *layers, const Sizes *s, Span *spans, int64_t count, float *x,
             const float *turns, const Work *w, int64_t rows, int threads) {
    for (long n = 0; n < count; n++) look_around(spans + n);
#pragma omp parallel num_threads(threads)
    for (long layer = 0; layer < s->layers; layer++) {
        attention(layers + layer, layer, spans, count, x, turns, w, s, rows);
        feed_forward(layers + layer, x, w, s, rows);
    }
}
