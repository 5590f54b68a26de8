/* Attention of a few tokens to the caches that they lie in. The structures are those of native_pass.py;
 * a network of bfloat16 rounds what comes out of each operation.
 */
#ifndef ATTENTION_H
#define ATTENTION_H
#include "matrix.h"

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

/* This thread's part of what all queries see. heads: [rows, heads + 2 * keys, size], seen: [rows,
 * heads, size], of all spans; all_scores: for each thread TOGETHER times `most` numbers. */
static void attend_all(const Span *spans, long count, long layer, const float *heads, float *seen,
                       float *all_scores, long most, const Sizes *s) {
    long low, high;
    float *scores = all_scores + omp_get_thread_num() * TOGETHER * most;
    for (const Span *span = spans; span < spans + count; span++) {
        long queries = span->tokens * (s->heads / s->keys);
        share(s->keys * queries, 1, &low, &high);
        for (long n = low, step; n < high; n += step) {
            long key_head = n / queries, first = n % queries;
            step = queries - first < high - n ? queries - first : high - n;
            step = step >= TOGETHER ? TOGETHER : 1;
#define ATTEND(together, narrow) \
    attend(together, span, layer, key_head, first, heads, seen, scores, most, s, narrow)
            if (s->narrow && step > 1) ATTEND(TOGETHER, 1);
            else if (s->narrow) ATTEND(1, 1);
            else if (step > 1) ATTEND(TOGETHER, 0);
            else ATTEND(1, 0);
        }
        heads += span->tokens * (s->heads + 2 * s->keys) * s->size;
        seen += span->tokens * s->heads * s->size;
    }
}
#endif
