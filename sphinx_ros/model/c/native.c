/* The packed pass of a decoder for a few tokens, and single products: compiled and called by native.py
 * and native_pass.py, whose structures these are and whose functions say what is given. The
 * arithmetic is that of layers.py: where a network of bfloat16 rounds a tensor, `rounded` does.
 *
 * All threads go through all layers together. Between two barriers each computes some outputs of a
 * product, some heads or some rows, and reads what others wrote before the last barrier.
 */
#include "attention.h"

typedef struct {
    const float *attention_norm, *ffn_norm;
    Matrix queries, keys, values, out, gate, up, down;
} Layer;

/* Memory of a pass, float32: rows of dim, of all heads, of the queries' heads, of hidden, of hidden;
 * and for each thread TOGETHER times `most` numbers, the longest span's `used` in whole vectors. */
typedef struct {
    float *normed, *heads, *seen, *gate, *up, *scores;
    int64_t most;
    Ready ready;
} Work;

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
    attend_all(spans, count, layer, w->heads, w->seen, w->scores, w->most, s);
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
