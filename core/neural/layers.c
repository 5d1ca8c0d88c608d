/* layers.c - the inner loops of training, compiled once for each instruction set (SEG_ISA).
 * The two matrix products of the backward pass are blocked for registers: a block of sums stays
 * there while the units (or the rows) stream past. Towards the inputs, rows are vector lanes; for
 * the weights, inputs are, which wants the layer's input row by row as well. At an edge a block
 * repeats the last unit or column and does not store what it computed twice: no second code path.
 * Vectors are the compiler's (GCC and clang agree on them), so one source serves every machine. */
#include "neural/layers.h"

#include <math.h>
#include <string.h>
#if defined(__SSE2__)
#include <immintrin.h>
#endif
#include "compute/isa.h"
#include "compute/tiles.h"

#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif
#define ROWS SEG_TILE_ROWS

/* LANES floats a vector. The backward block is BACK_COLS inputs by BACK_VECS vectors of rows, the
 * gradient block 4 units by up to GRAD_VECS vectors of inputs, or 8 where few vectors are wanted:
 * as many sums as there are registers, less those that feed them. */
#if defined(__AVX512F__)
#define LANES     16
#define BACK_COLS 6
#define BACK_VECS 4
#define GRAD_VECS 4
#elif defined(__AVX2__)
#define LANES     8
#define BACK_COLS 6
#define BACK_VECS 2
#define GRAD_VECS 2
#else
#define LANES     4
#define BACK_COLS 6
#define BACK_VECS 2
#define GRAD_VECS 2
#endif
#define GRAD_UNITS_MAX 8
#define VECS           (ROWS / LANES)

typedef float vec __attribute__((vector_size(LANES * sizeof(float)), may_alias));
typedef float loose_vec __attribute__((vector_size(LANES * sizeof(float)), aligned(4), may_alias));
typedef int32_t ivec __attribute__((vector_size(LANES * sizeof(int32_t)), may_alias));
typedef float vec4 __attribute__((vector_size(16), may_alias));
typedef float loose_vec4 __attribute__((vector_size(16), aligned(4), may_alias));

/* Sum of a vector's lanes. */
static inline float sum_lanes(vec v)
{
#if LANES == 16
    typedef float vec8 __attribute__((vector_size(32), may_alias));
    vec8 half = __builtin_shufflevector(v, v, 0, 1, 2, 3, 4, 5, 6, 7) +
                __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15);
    vec4 quarter = __builtin_shufflevector(half, half, 0, 1, 2, 3) +
                   __builtin_shufflevector(half, half, 4, 5, 6, 7);
#elif LANES == 8
    vec4 quarter =
        __builtin_shufflevector(v, v, 0, 1, 2, 3) + __builtin_shufflevector(v, v, 4, 5, 6, 7);
#else
    vec4 quarter = v;
#endif
    return (quarter[0] + quarter[2]) + (quarter[1] + quarter[3]);
}

static void gather(const float *const *src, unsigned n_rows, size_t d, float *out)
{
    for (size_t c = 0; c < d; c++) {
        float *to = out + c * ROWS;
        for (unsigned r = 0; r < n_rows; r++)
            to[r] = src[r][c * ROWS];
        for (unsigned r = n_rows; r < ROWS; r++)
            to[r] = 0.0f;
    }
}

/* Four vectors of four, from a matrix, turned in registers. */
static inline void turn4(const float *const from[4], float *const to[4])
{
    vec4 a = *(const loose_vec4 *)from[0], b = *(const loose_vec4 *)from[1];
    vec4 c = *(const loose_vec4 *)from[2], d = *(const loose_vec4 *)from[3];
    vec4 ab_low = __builtin_shufflevector(a, b, 0, 4, 1, 5);
    vec4 ab_high = __builtin_shufflevector(a, b, 2, 6, 3, 7);
    vec4 cd_low = __builtin_shufflevector(c, d, 0, 4, 1, 5);
    vec4 cd_high = __builtin_shufflevector(c, d, 2, 6, 3, 7);
    *(loose_vec4 *)to[0] = __builtin_shufflevector(ab_low, cd_low, 0, 1, 4, 5);
    *(loose_vec4 *)to[1] = __builtin_shufflevector(ab_low, cd_low, 2, 3, 6, 7);
    *(loose_vec4 *)to[2] = __builtin_shufflevector(ab_high, cd_high, 0, 1, 4, 5);
    *(loose_vec4 *)to[3] = __builtin_shufflevector(ab_high, cd_high, 2, 3, 6, 7);
}

#if LANES == 16
#define LOW(a, b)                                                                                  \
    __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23)
#define HIGH(a, b)                                                                                 \
    __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31)
#elif LANES == 8
#define LOW(a, b)  __builtin_shufflevector(a, b, 0, 8, 1, 9, 2, 10, 3, 11)
#define HIGH(a, b) __builtin_shufflevector(a, b, 4, 12, 5, 13, 6, 14, 7, 15)
#else
#define LOW(a, b)  __builtin_shufflevector(a, b, 0, 4, 1, 5)
#define HIGH(a, b) __builtin_shufflevector(a, b, 2, 6, 3, 7)
#endif

/* LANES vectors, a square matrix, turned in registers: interleaving its halves log2(LANES) times
 * turns it. */
static inline __attribute__((always_inline)) void turn(vec v[LANES])
{
    UNROLL for (size_t round = 1; round < LANES; round *= 2)
    {
        vec t[LANES];
        UNROLL for (size_t i = 0; i < LANES / 2; i++)
        {
            t[2 * i] = LOW(v[i], v[i + LANES / 2]);
            t[2 * i + 1] = HIGH(v[i], v[i + LANES / 2]);
        }
        UNROLL for (size_t i = 0; i < LANES; i++) v[i] = t[i];
    }
}

/* Squares of LANES rows and columns, then of four, then what is left of the columns. */
static void scatter(const float *x, size_t d, float *const *to)
{
    size_t c = 0;
    for (; c + LANES <= d; c += LANES)
        for (size_t r0 = 0; r0 < ROWS; r0 += LANES) {
            vec v[LANES];
            UNROLL for (size_t i = 0; i < LANES; i++) v[i] =
                *(const vec *)(x + (c + i) * ROWS + r0);
            turn(v);
            UNROLL for (size_t i = 0; i < LANES; i++) * (loose_vec *)(to[r0 + i] + c) = v[i];
        }
    for (; c + 4 <= d; c += 4)
        for (size_t r = 0; r < ROWS; r += 4) {
            const float *at = x + c * ROWS + r;
            const float *const from[4] = { at, at + ROWS, at + 2 * ROWS, at + 3 * ROWS };
            float *const rows[4] = { to[r] + c, to[r + 1] + c, to[r + 2] + c, to[r + 3] + c };
            turn4(from, rows);
        }
    for (; c < d; c++)
        for (size_t r = 0; r < ROWS; r++)
            to[r][c] = x[c * ROWS + r];
}

static void to_rows(const float *x, size_t d, size_t stride, float *out)
{
    float *to[ROWS];
    for (size_t r = 0; r < ROWS; r++)
        to[r] = out + r * stride;
    scatter(x, d, to);
}

static void from_rows(const float *rows, size_t stride, unsigned n_rows, size_t d, float *out)
{
    static const float zeros[LANES] __attribute__((aligned(64)));
    for (size_t r0 = 0; r0 < ROWS; r0 += LANES) {
        size_t c = 0;
        for (; c + LANES <= d; c += LANES) {
            vec v[LANES];
            UNROLL for (size_t i = 0; i < LANES; i++)
            {
                const float *row = r0 + i < n_rows ? rows + (r0 + i) * stride + c : zeros;
                v[i] = *(const loose_vec *)row;
            }
            turn(v);
            UNROLL for (size_t i = 0; i < LANES; i++) * (vec *)(out + (c + i) * ROWS + r0) = v[i];
        }
        for (; c + 4 <= d; c += 4)
            for (size_t r = r0; r < r0 + LANES; r += 4) {
                float *at = out + c * ROWS + r;
                const float *from[4];
                float *const to[4] = { at, at + ROWS, at + 2 * ROWS, at + 3 * ROWS };
                for (size_t i = 0; i < 4; i++)
                    from[i] = r + i < n_rows ? rows + (r + i) * stride + c : zeros;
                turn4(from, to);
            }
        for (; c < d; c++)
            for (size_t r = r0; r < r0 + LANES; r++)
                out[c * ROWS + r] = r < n_rows ? rows[r * stride + c] : 0.0f;
    }
}

static void slope(enum seg_activation activation, const float *act, size_t n, float *out)
{
    switch (activation) {
    case SEG_RELU:
        for (size_t i = 0; i < n; i++)
            out[i] = act[i] > 0.0f ? 1.0f : 0.0f;
        break;
    case SEG_SIGMOID:
        for (size_t i = 0; i < n; i++)
            out[i] = act[i] * (1.0f - act[i]);
        break;
    case SEG_TANH:
        for (size_t i = 0; i < n; i++)
            out[i] = 1.0f - act[i] * act[i];
        break;
    case SEG_GELU: /* see gelu_outer */
    case SEG_LINEAR:
        for (size_t i = 0; i < n; i++)
            out[i] = 1.0f;
        break;
    }
}

#define GELU_SCALE 0.7978845608f /* sqrt(2 / pi) */
#define GELU_CUBE  0.044715f

static void gelu_inner(const float *z, size_t n, float *inner)
{
    for (size_t i = 0; i < n; i++)
        inner[i] = GELU_SCALE * (z[i] + GELU_CUBE * z[i] * z[i] * z[i]);
}

static void gelu_outer(float *act, size_t n, float *out)
{
    for (size_t i = 0; i < n; i++) {
        float z = act[i], t = out[i];
        float inner_slope = GELU_SCALE * (1.0f + 3.0f * GELU_CUBE * z * z);
        act[i] = 0.5f * z * (1.0f + t);
        out[i] = 0.5f * (1.0f + t) + 0.5f * z * (1.0f - t * t) * inner_slope;
    }
}

static void drop(const uint16_t *bits, uint32_t below, float scale, size_t n, float *act,
                 float *out)
{
    for (size_t i = 0; i < n; i++) {
        float keep = bits[i] < below ? scale : 0.0f;
        act[i] *= keep;
        out[i] *= keep;
    }
}

static void backward(const float *delta, size_t m, const float *w, size_t d, float *out)
{
    for (size_t c0 = 0; c0 < d; c0 += BACK_COLS) {
        size_t col[BACK_COLS];
        size_t n_cols = d - c0 < BACK_COLS ? d - c0 : BACK_COLS;
        for (size_t c = 0; c < BACK_COLS; c++)
            col[c] = c0 + (c < n_cols ? c : n_cols - 1);
        for (size_t r0 = 0; r0 < ROWS; r0 += BACK_VECS * LANES) {
            vec sum[BACK_COLS][BACK_VECS] = { 0 };
            for (size_t j = 0; j < m; j++) {
                const vec *from = (const vec *)(delta + j * ROWS + r0);
                const float *w_row = w + j * d;
                UNROLL for (size_t c = 0; c < BACK_COLS; c++)
                {
                    UNROLL for (size_t v = 0; v < BACK_VECS; v++) sum[c][v] +=
                        w_row[col[c]] * from[v];
                }
            }
            UNROLL for (size_t c = 0; c < BACK_COLS; c++)
            {
                if (c >= n_cols) break;
                vec *to = (vec *)(out + (c0 + c) * ROWS + r0);
                UNROLL for (size_t v = 0; v < BACK_VECS; v++) to[v] *= sum[c][v];
            }
        }
    }
}

/* The first n lanes (all, if n is more) to `to`, on top of what is there if add. */
static inline void store(float *to, vec v, size_t n, bool add)
{
    if (n >= LANES) {
        if (add) v += *(const loose_vec *)to;
        *(loose_vec *)to = v;
        return;
    }
    for (size_t i = 0; i < n; i++)
        to[i] = add ? to[i] + v[i] : v[i];
}

/* grad_w of `units` units by `vecs` vectors of inputs, from unit j0 and column c0 on: rows stream
 * past the block of sums. Always inlined, with `units` and `vecs` constant: both loops over the
 * block unroll. */
static inline __attribute__((always_inline)) void gradient_block(const struct seg_gradient *g,
                                                                 size_t j0, size_t c0, size_t units,
                                                                 size_t vecs)
{
    vec sum[GRAD_UNITS_MAX][GRAD_VECS] = { 0 };
    const float *unit[GRAD_UNITS_MAX];
    size_t n_units = g->m - j0 < units ? g->m - j0 : units;
    for (size_t j = 0; j < units; j++)
        unit[j] = g->delta + (j0 + (j < n_units ? j : n_units - 1)) * ROWS;
    for (size_t t = 0; t < g->n_tiles; t++) {
        const float *row = g->rows + t * g->rows_stride + c0;
        for (size_t r = t * g->stride; r < t * g->stride + ROWS; r++) {
            UNROLL for (size_t v = 0; v < vecs; v++)
            {
                vec x = *(const loose_vec *)(row + v * LANES);
                UNROLL for (size_t j = 0; j < units; j++) sum[j][v] += unit[j][r] * x;
            }
            row += g->row_stride;
        }
    }
    UNROLL for (size_t j = 0; j < units; j++)
    {
        UNROLL for (size_t v = 0; v < vecs; v++)
        {
            size_t c = c0 + v * LANES;
            if (j < n_units) store(g->grad_w + (j0 + j) * g->d + c, sum[j][v], g->d - c, g->add);
        }
    }
}

static void gradient(const struct seg_gradient *g)
{
    for (size_t c0 = 0; c0 < g->d; c0 += GRAD_VECS * LANES) {
        size_t n_vecs = (g->d - c0 + LANES - 1) / LANES;
        if (n_vecs == 1)
            for (size_t j = 0; j < g->m; j += 8)
                gradient_block(g, j, c0, 8, 1);
        else if (n_vecs == 2 || GRAD_VECS == 2)
            for (size_t j = 0; j < g->m; j += GRAD_VECS * 2)
                gradient_block(g, j, c0, GRAD_VECS * 2, 2);
#if GRAD_VECS == 4
        else if (n_vecs == 3)
            for (size_t j = 0; j < g->m; j += 4)
                gradient_block(g, j, c0, 4, 3);
        else
            for (size_t j = 0; j < g->m; j += 4)
                gradient_block(g, j, c0, 4, 4);
#endif
    }
    for (size_t j = 0; j < g->m; j++) {
        vec sum = { 0 };
        for (size_t t = 0; t < g->n_tiles; t++)
            for (size_t v = 0; v < VECS; v++)
                sum += *(const vec *)(g->delta + j * ROWS + t * g->stride + v * LANES);
        g->grad_b[j] = (g->add ? g->grad_b[j] : 0.0f) + sum_lanes(sum);
    }
}

static void sum(const float *parts, size_t n_parts, size_t stride, size_t n, float *to)
{
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        vec total = *(const loose_vec *)(parts + i);
        for (size_t p = 1; p < n_parts; p++)
            total += *(const loose_vec *)(parts + p * stride + i);
        *(loose_vec *)(to + i) = total;
    }
    for (; i < n; i++) {
        float total = parts[i];
        for (size_t p = 1; p < n_parts; p++)
            total += parts[p * stride + i];
        to[i] = total;
    }
}

static void scale(float *x, size_t n, float factor)
{
    for (size_t i = 0; i < n; i++)
        x[i] *= factor;
}

/* Natural logarithm of positive normal floats, to 1 ulp: mantissa to [sqrt(1/2), sqrt(2)), then the
 * polynomial of Cephes logf (Moshier 1989). */
static inline vec log_vec(vec x)
{
    const int32_t sqrt_half = 0x3f3504f3; /* bits of sqrt(1/2) */
    ivec bits = (ivec)x - sqrt_half;
    vec e = __builtin_convertvector(bits >> 23, vec);
    ivec mantissa = (bits & 0x007fffff) + sqrt_half;
    vec f = (vec)mantissa - 1.0f;
    vec f2 = f * f;
    vec p = 7.0376836292e-2f * f - 1.1514610310e-1f;
    p = p * f + 1.1676998740e-1f;
    p = p * f - 1.2420140846e-1f;
    p = p * f + 1.4249322787e-1f;
    p = p * f - 1.6668057665e-1f;
    p = p * f + 2.0000714765e-1f;
    p = p * f - 2.4999993993e-1f;
    p = p * f + 3.3333331174e-1f;
    vec y = p * f * f2 - 2.12194440e-4f * e - 0.5f * f2;
    return f + y + 0.693359375f * e;
}

/* Sum of 64 floats in float64, eight chains in a fixed order. */
static double sum_rows(const float *x)
{
    double part[8] = { 0 };
    for (size_t r = 0; r < ROWS; r += 8)
        for (size_t i = 0; i < 8; i++)
            part[i] += (double)x[r + i];
    return ((part[0] + part[1]) + (part[2] + part[3])) +
           ((part[4] + part[5]) + (part[6] + part[7]));
}

/* Eight chains in a fixed order; a rest shorter than eight comes last. */
static double square_sum(const float *x, size_t n)
{
    double part[8] = { 0 }, rest = 0.0;
    size_t i = 0;
    for (; i + 8 <= n; i += 8)
        for (size_t j = 0; j < 8; j++)
            part[j] += (double)x[i + j] * (double)x[i + j];
    for (; i < n; i++)
        rest += (double)x[i] * (double)x[i];
    return ((part[0] + part[1]) + (part[2] + part[3])) +
           ((part[4] + part[5]) + (part[6] + part[7])) + rest;
}

/* The target's part of the gradient, taken off delta, and of_y (64), the target's mean logit. */
static void aim(const float *logits, size_t m, const uint16_t *y, float smoothing, float *delta,
                float *of_y)
{
    for (size_t r = 0; r < ROWS; r++) {
        of_y[r] = (1.0f - smoothing) * logits[y[r] * ROWS + r];
        delta[y[r] * ROWS + r] -= 1.0f - smoothing;
    }
    if (smoothing == 0.0f) return;
    float share = smoothing / (float)m;
    for (size_t j = 0; j < m; j++)
        for (size_t r = 0; r < ROWS; r++) {
            of_y[r] += share * logits[j * ROWS + r];
            delta[j * ROWS + r] -= share;
        }
}

static double cross_entropy(const float *logits, size_t m, const uint16_t *y, const float *weight,
                            float smoothing, float scale, float *delta)
{
    /* -log p(y) = log sum exp(z - max) + max - z(y), and the sum is 1 / max p: never log 0; so for
     * a target that is a mean of classes, with its mean of z */
    float top[ROWS] __attribute__((aligned(64)));
    float top_p[ROWS] __attribute__((aligned(64)));
    float of_y[ROWS] __attribute__((aligned(64)));
    memcpy(top, logits, sizeof top);
    memcpy(top_p, delta, sizeof top_p);
    for (size_t j = 1; j < m; j++)
        for (size_t r = 0; r < ROWS; r++) {
            float z = logits[j * ROWS + r], p = delta[j * ROWS + r];
            top[r] = z > top[r] ? z : top[r];
            top_p[r] = p > top_p[r] ? p : top_p[r];
        }
    aim(logits, m, y, smoothing, delta, of_y);
    float loss[ROWS] __attribute__((aligned(64)));
    float factor[ROWS] __attribute__((aligned(64)));
    for (size_t v = 0; v < ROWS; v += LANES) {
        vec w = *(const vec *)(weight + v);
        vec beaten_by = *(const vec *)(top + v) - *(const vec *)(of_y + v);
        *(vec *)(loss + v) = w * (beaten_by - log_vec(*(const vec *)(top_p + v)));
        *(vec *)(factor + v) = w * scale;
    }
    for (size_t j = 0; j < m; j++)
        for (size_t r = 0; r < ROWS; r++)
            delta[j * ROWS + r] *= factor[r];
    return sum_rows(loss);
}

static double squared_error(const float *out, const float *target, size_t m, const float *weight,
                            float scale, float *delta)
{
    float loss[ROWS] = { 0 };
    for (size_t j = 0; j < m; j++)
        for (size_t r = 0; r < ROWS; r++) {
            float off = out[j * ROWS + r] - target[j * ROWS + r];
            loss[r] += weight[r] * off * off;
            delta[j * ROWS + r] *= 2.0f * scale * weight[r] * off;
        }
    return sum_rows(loss);
}

#define ADAM_BETA_1  0.9f
#define ADAM_BETA_2  0.999f
#define ADAM_EPSILON 1e-8f

static void adam(const struct seg_update *u)
{
    float *restrict w = u->w, *restrict first = u->first, *restrict second = u->second;
    const float *restrict grad = u->grad;
    float rate = u->rate, l2 = u->l2, decay = u->decay, unbias = u->unbias;
    for (size_t i = 0; i < u->n; i++) {
        float g = grad[i] + l2 * w[i];
        first[i] = ADAM_BETA_1 * first[i] + (1.0f - ADAM_BETA_1) * g;
        second[i] = ADAM_BETA_2 * second[i] + (1.0f - ADAM_BETA_2) * g * g;
        w[i] -= decay * w[i] + rate * first[i] / (sqrtf(second[i]) * unbias + ADAM_EPSILON);
    }
}

static void sgd(const struct seg_update *u)
{
    float *restrict w = u->w, *restrict velocity = u->first;
    const float *restrict grad = u->grad;
    float rate = u->rate, l2 = u->l2, momentum = u->momentum;
    for (size_t i = 0; i < u->n; i++) {
        velocity[i] = momentum * velocity[i] + grad[i] + l2 * w[i];
        w[i] -= rate * velocity[i];
    }
}

/* Stores that go past the caches: the next reader, on whatever processor, has them from memory, and
 * no line has to be taken away from it first. */
static void publish(const float *from, size_t n, float *to)
{
#if defined(__SSE2__)
    size_t i = 0;
    for (; i < n && (uintptr_t)(to + i) % sizeof(vec4) != 0; i++)
        to[i] = from[i];
    for (; i + 4 <= n; i += 4)
        _mm_stream_ps(to + i, _mm_loadu_ps(from + i));
    for (; i < n; i++)
        to[i] = from[i];
    _mm_sfence();
#else
    memcpy(to, from, n * sizeof *to);
#endif
}

extern const struct seg_layer_kernels ISA_SYMBOL(seg_layer_kernels_);
const struct seg_layer_kernels ISA_SYMBOL(seg_layer_kernels_) = {
    .isa = ISA_TEXT,
    .gather = gather,
    .scatter = scatter,
    .from_rows = from_rows,
    .to_rows = to_rows,
    .slope = slope,
    .gelu_inner = gelu_inner,
    .gelu_outer = gelu_outer,
    .drop = drop,
    .backward = backward,
    .gradient = gradient,
    .sum = sum,
    .scale = scale,
    .square_sum = square_sum,
    .cross_entropy = cross_entropy,
    .squared_error = squared_error,
    .adam = adam,
    .sgd = sgd,
    .publish = publish,
};
