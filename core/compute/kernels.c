/* kernels.c - the loops of kernels.h, compiled once for each instruction set (SEG_ISA).
 * A block of outputs (or centroids) times a block of rows is accumulated in registers: each value
 * of x is loaded once for OUTS_MAX outputs and each weight once for VECS vectors of rows. The sizes
 * below fill the register file without spilling. Rows are lanes and no sum crosses lanes, so a
 * lane's operations are the same in every block shape: blocking never changes a bit. */
#include "compute/kernels.h"

#include <float.h>
#include <math.h>
#include <string.h>
#include "compute/kernels_lanes.h"
#include "compute/kernels_rows.h"

/* With more centroids a tile takes so long that memory is not what is waited for. */
#define ASK_MAX 16u

/* The sums of a register block, x (d, 64) from the block's first row and w (n_outs, d). n_outs and
 * n_vecs are constants at each call, so that the arrays become registers. */
INLINE void affine_sums(const float *x, size_t d, const float *w, const float *bias,
                        vfloat sum[OUTS_MAX][VECS], const size_t n_outs, const size_t n_vecs)
{
    UNROLL
    for (size_t j = 0; j < n_outs; j++) {
        UNROLL
        for (size_t v = 0; v < n_vecs; v++)
            sum[j][v] = splat(bias != NULL ? bias[j] : 0.0f);
    }
    for (size_t c = 0; c < d; c++) {
        vfloat xc[VECS];
        UNROLL
        for (size_t v = 0; v < n_vecs; v++)
            xc[v] = *(const vfloat *)(x + c * ROWS + v * LANES);
        UNROLL
        for (size_t j = 0; j < n_outs; j++) {
            const vfloat weight = splat(w[j * d + c]);
            UNROLL
            for (size_t v = 0; v < n_vecs; v++)
                sum[j][v] += xc[v] * weight;
        }
    }
}

/* The same for squared distances to c (n_outs, d). next: what to ask for meanwhile, or 0. */
INLINE void square_sums(const float *x, size_t d, const float *c, uintptr_t next,
                        vfloat sum[OUTS_MAX][VECS], const size_t n_outs)
{
    UNROLL
    for (size_t j = 0; j < n_outs; j++) {
        UNROLL
        for (size_t v = 0; v < VECS; v++)
            sum[j][v] = splat(0.0f);
    }
    for (size_t i = 0; i < d; i++) {
        vfloat xi[VECS];
        ask(next, i);
        UNROLL
        for (size_t v = 0; v < VECS; v++)
            xi[v] = *(const vfloat *)(x + i * ROWS + v * LANES);
        UNROLL
        for (size_t j = 0; j < n_outs; j++) {
            const vfloat center = splat(c[j * d + i]);
            UNROLL
            for (size_t v = 0; v < VECS; v++) {
                const vfloat diff = xi[v] - center;
                sum[j][v] += diff * diff;
            }
        }
    }
}

/* out (n_outs, 64) from the block's first row. */
INLINE void store_sums(vfloat sum[OUTS_MAX][VECS], float *out, const size_t n_outs,
                       const size_t n_vecs)
{
    UNROLL
    for (size_t j = 0; j < n_outs; j++) {
        UNROLL
        for (size_t v = 0; v < n_vecs; v++)
            *(vfloat *)(out + j * ROWS + v * LANES) = sum[j][v];
    }
}

INLINE void affine_block(const float *x, size_t d, const float *w, const float *bias, float *out,
                         const size_t n_outs, const size_t n_vecs)
{
    vfloat sum[OUTS_MAX][VECS];
    affine_sums(x, d, w, bias, sum, n_outs, n_vecs);
    store_sums(sum, out, n_outs, n_vecs);
}

/* n_vecs vectors of rows, a constant, from the first row of x and out. */
INLINE void affine_outs(const float *x, size_t d, const float *w, const float *bias, size_t m,
                        float *out, const size_t n_vecs)
{
    size_t n_outs;
    for (size_t j = 0; j < m; j += n_outs) {
        const float *wj = w + j * d, *bj = bias != NULL ? bias + j : NULL;
        n_outs = block_size(m - j);
#define CALL(n) affine_block(x, d, wj, bj, out + j * ROWS, n, n_vecs)
        WITH_CONSTANT(n_outs, CALL)
#undef CALL
    }
}

static void affine(const float *x, size_t d, const float *w, const float *bias, size_t m,
                   float *out)
{
    for (size_t row = 0; row < ROWS; row += BLOCK_ROWS)
        affine_outs(x + row, d, w, bias, m, out + row, VECS);
}

static void affine_few(const float *x, size_t d, const float *w, const float *bias, size_t m,
                       size_t n_rows, float *out)
{
    for (size_t row = 0; row < n_rows; row += BLOCK_ROWS) {
        switch ((n_rows - row + LANES - 1) / LANES) {
        case 1: affine_outs(x + row, d, w, bias, m, out + row, 1); break;
#if VECS == 4
        case 2: affine_outs(x + row, d, w, bias, m, out + row, 2); break;
        case 3: affine_outs(x + row, d, w, bias, m, out + row, 3); break;
#endif
        default: affine_outs(x + row, d, w, bias, m, out + row, VECS); break;
        }
    }
}

INLINE void squares_block(const float *x, size_t d, const float *c, uintptr_t next, float *out,
                          const size_t n_outs)
{
    vfloat sum[OUTS_MAX][VECS];
    square_sums(x, d, c, next, sum, n_outs);
    store_sums(sum, out, n_outs, VECS);
}

static void squares(const float *x, size_t d, const float *c, size_t k, float *out)
{
    for (size_t row = 0; row < ROWS; row += BLOCK_ROWS) {
        uintptr_t next = k <= ASK_MAX ? next_part(x, d, row) : 0;
        size_t n_outs;
        for (size_t j = 0; j < k; j += n_outs, next = 0) {
            n_outs = block_size(k - j);
#define CALL(n) squares_block(x + row, d, c + j * d, next, out + j * ROWS + row, n)
            WITH_CONSTANT(n_outs, CALL)
#undef CALL
        }
    }
}

/* The two nearest centroids so far of a block of rows. */
struct best {
    vfloat dist2[VECS];
    vfloat second2[VECS];
    vint label[VECS];
};

/* x (d, 64) from the block's first row, c (n_outs, d) the centroids first..first + n_outs - 1. */
INLINE void nearest_block(const float *x, size_t d, const float *c, size_t first, uintptr_t next,
                          struct best *best, const size_t n_outs)
{
    vfloat sum[OUTS_MAX][VECS];
    square_sums(x, d, c, next, sum, n_outs);
    UNROLL
    for (size_t v = 0; v < VECS; v++) {
        vfloat dist2 = best->dist2[v], second2 = best->second2[v], label = (vfloat)best->label[v];
        UNROLL
        for (size_t j = 0; j < n_outs; j++) {
            /* Not so at a tie: the lower index stays. */
            const vmask is_nearer = less(sum[j][v], dist2);
            label = blend(is_nearer, (vfloat)splat_int((int32_t)(first + j)), label);
            second2 = lesser(greater(sum[j][v], dist2), second2);
            dist2 = lesser(sum[j][v], dist2);
        }
        best->dist2[v] = dist2;
        best->second2[v] = second2;
        best->label[v] = (vint)label;
    }
}

static void nearest(const float *x, size_t d, const float *c, size_t k, uint32_t *label,
                    float *dist2, float *second2)
{
    for (size_t row = 0; row < ROWS; row += BLOCK_ROWS) {
        struct best best;
        for (size_t v = 0; v < VECS; v++) {
            best.dist2[v] = best.second2[v] = splat(FLT_MAX);
            best.label[v] = splat_int(0);
        }
        uintptr_t next = k <= ASK_MAX ? next_part(x, d, row) : 0;
        size_t n_outs;
        for (size_t j = 0; j < k; j += n_outs, next = 0) {
            n_outs = block_size(k - j);
#define CALL(n) nearest_block(x + row, d, c + j * d, j, next, &best, n)
            WITH_CONSTANT(n_outs, CALL)
#undef CALL
        }
        memcpy(label + row, best.label, sizeof best.label);
        memcpy(dist2 + row, best.dist2, sizeof best.dist2);
        if (second2 != NULL) memcpy(second2 + row, best.second2, sizeof best.second2);
    }
}

static void squares_to(const float *x, size_t d, const float *c, const uint32_t *label, float *out)
{
    for (size_t row = 0; row < ROWS; row += BLOCK_ROWS) {
        vint first[VECS]; /* cells of the centroids */
        vfloat sum[VECS];
        UNROLL
        for (size_t v = 0; v < VECS; v++) {
            memcpy(&first[v], label + row + v * LANES, sizeof first[v]);
            first[v] *= (int32_t)d;
            sum[v] = splat(0.0f);
        }
        for (size_t i = 0; i < d; i++) {
            UNROLL
            for (size_t v = 0; v < VECS; v++) {
                const vfloat center = look_up(c + i, first[v]);
                const vfloat diff = *(const vfloat *)(x + i * ROWS + row + v * LANES) - center;
                sum[v] += diff * diff;
            }
        }
        memcpy(out + row, sum, sizeof sum);
    }
}

/* Rounded down: the subtraction is the last that can round up, by less than widen leaves over. */
static void margin(const float *dist2, const float *second2, float widen, float tiny, float *out)
{
    for (size_t i = 0; i < ROWS; i++)
        out[i] = sqrtf(second2[i]) * (1 - widen) - sqrtf(dist2[i]) * (1 + widen) - tiny;
}

INLINE uint64_t spent_rows_by(const float *slack, const uint32_t *label, const float *spent,
                              float *least, vfloat (*look)(const float *, vint))
{
    vfloat low = splat(FLT_MAX);
    uint64_t has_left = 0;
    for (size_t row = 0; row < ROWS; row += LANES) {
        const vfloat had = *(const vfloat *)(slack + row);
        const vfloat gone = look(spent, *(const vint *)(label + row));
        low = lesser(had * (1 - 0x1p-20f) - gone, low);
        has_left |= lanes_of(less(gone, had)) << row;
    }
    *least = low[0];
    for (size_t i = 1; i < LANES; i++)
        *least = low[i] < *least ? low[i] : *least;
    return ~has_left;
}

static uint64_t spent_rows(const float *slack, const uint32_t *label, const float *spent, size_t m,
                           float *least)
{
    return m <= LANES ? spent_rows_by(slack, label, spent, least, look_up_few)
                      : spent_rows_by(slack, label, spent, least, look_up);
}

typedef double vdouble __attribute__((vector_size(8 * sizeof(double)), may_alias));
typedef float vfloat_8 __attribute__((vector_size(8 * sizeof(float)), may_alias));

static void survey(const float *x, size_t d, const float *shift, double *sum, double *square,
                   float *largest)
{
    for (size_t c = 0; c < d; c++, x += ROWS) {
        const vdouble from = (double)shift[c] - (vdouble){ 0 };
        vdouble s[2] = { { 0 } }, q[2] = { { 0 } };
        vfloat top = splat(largest[c]);
        UNROLL
        for (size_t r = 0; r < ROWS; r += 8) {
            const vdouble off = __builtin_convertvector(*(const vfloat_8 *)(x + r), vdouble) - from;
            s[r / 8 % 2] += off;
            q[r / 8 % 2] += off * off;
        }
        for (size_t r = 0; r < ROWS; r += LANES) {
            const vfloat value = *(const vfloat *)(x + r);
            top = greater(greater(value, -value), top);
        }
        s[0] += s[1];
        q[0] += q[1];
        for (size_t i = 0; i < 8; i++) {
            sum[c] += s[0][i];
            square[c] += q[0][i];
        }
        for (size_t i = 0; i < LANES; i++)
            largest[c] = top[i] > largest[c] ? top[i] : largest[c];
    }
}

/* e^x = 2^n e^r with |r| <= ln 2 / 2: n from rounding x / ln 2 by adding 1.5 * 2^23, r in two steps
 * (the high part of ln 2 has few bits, so n times it is exact), e^r by the polynomial of Cephes'
 * expf. NaN stays NaN. */
INLINE vfloat exp_lanes(vfloat x)
{
    const float to_int = 0x1.8p23f;
    x = lesser(splat(88.0f), greater(splat(-87.0f), x));
    const vfloat shifted = x * 1.44269504f + to_int;
    const vfloat n = shifted - to_int;
    const vfloat r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
    vfloat p = splat(1.9875691500e-4f);
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * (r * r) + r + 1.0f;
    /* The low bits of shifted are n; -126 <= n <= 127, so the power is a normal float. */
    const vint power = (((vint)shifted - (vint)splat(to_int)) + 127) << 23;
    return p * (vfloat)power;
}

INLINE vfloat sigmoid_lanes(vfloat x)
{
    return 1.0f / (1.0f + exp_lanes(-x));
}

/* Near 0 the polynomial of Cephes' tanhf, because 1 - 2 / (e^2x + 1) cancels there. */
INLINE vfloat tanh_lanes(vfloat x)
{
    const vint sign = (vint)x & INT32_MIN;
    const vfloat size = (vfloat)((vint)x ^ sign);
    const vfloat z = x * x;
    vfloat p = splat(-5.70498872745e-3f);
    p = p * z + 2.06390887954e-2f;
    p = p * z - 5.37397155531e-2f;
    p = p * z + 1.33314422036e-1f;
    p = p * z - 3.33332819422e-1f;
    const vfloat small = p * z * x + x;
    const vfloat large = 1.0f - 2.0f / (exp_lanes(size + size) + 1.0f);
    return blend(less(size, splat(0.625f)), small, (vfloat)((vint)large ^ sign));
}

/* x / 2 (1 + tanh u) = x sigmoid(2u), u = sqrt(2 / pi) (x + 0.044715 x^3), which does not cancel
 * for negative x. Below -10 the result is under 2e-37 in size: 0, also where x^3 overflows. */
INLINE vfloat gelu_lanes(vfloat x)
{
    const vfloat two_u = x * (1.59576912f + 0.0713548163f * (x * x));
    return blend(less(x, splat(-10.0f)), splat(0.0f), x * sigmoid_lanes(two_u));
}

INLINE vfloat relu_lanes(vfloat x)
{
    return greater(splat(0.0f), x); /* in this order NaN stays NaN */
}

/* x[i] = f(x[i]). The tail goes through a whole vector too: a value's bits do not depend on where
 * it stands. */
INLINE void map(float *x, size_t n, vfloat (*f)(vfloat))
{
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        *(vfloat_loose *)(x + i) = f(*(const vfloat_loose *)(x + i));
    if (i < n) {
        vfloat tail = { 0 };
        memcpy(&tail, x + i, (n - i) * sizeof *x);
        tail = f(tail);
        memcpy(x + i, &tail, (n - i) * sizeof *x);
    }
}

static void relu(float *x, size_t n)
{
    map(x, n, relu_lanes);
}

static void clamp(float *x, size_t n, float max)
{
    const vfloat top = splat(max), bottom = splat(-max);
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        vfloat_loose *at = (vfloat_loose *)(x + i);
        const vfloat v = blend(is_nan(*at), splat(0.0f), *at);
        *at = greater(lesser(v, top), bottom);
    }
    for (; i < n; i++) {
        const float v = x[i] == x[i] ? x[i] : 0.0f;
        x[i] = v > max ? max : v < -max ? -max : v;
    }
}

static void exp_map(float *x, size_t n)
{
    map(x, n, exp_lanes);
}

static void sigmoid(float *x, size_t n)
{
    map(x, n, sigmoid_lanes);
}

static void tanh_map(float *x, size_t n)
{
    map(x, n, tanh_lanes);
}

static void gelu(float *x, size_t n)
{
    map(x, n, gelu_lanes);
}

static void softmax(float *x, size_t m)
{
    for (size_t row = 0; row < ROWS; row += LANES) {
        vfloat *col = (vfloat *)(x + row); /* logit j of these rows is col[j * stride] */
        const size_t stride = ROWS / LANES;
        vfloat max = splat(-FLT_MAX), sum = splat(0.0f);
        for (size_t j = 0; j < m; j++)
            max = greater(col[j * stride], max);
        for (size_t j = 0; j < m; j++) {
            col[j * stride] = exp_lanes(col[j * stride] - max);
            sum += col[j * stride];
        }
        const vfloat scale = 1.0f / sum;
        for (size_t j = 0; j < m; j++)
            col[j * stride] *= scale;
    }
}

static void argmax(const float *x, size_t m, uint32_t *index, float *largest)
{
    for (size_t row = 0; row < ROWS; row += LANES) {
        const vfloat *col = (const vfloat *)(x + row);
        vfloat most = *col, which = (vfloat)splat_int(0);
        for (size_t j = 1; j < m; j++) {
            const vfloat value = col[j * (ROWS / LANES)];
            const vmask is_more = less(most, value);
            which = blend(is_more, (vfloat)splat_int((int32_t)j), which);
            most = greater(value, most);
        }
        memcpy(index + row, &which, sizeof which);
        memcpy(largest + row, &most, sizeof most);
    }
}

static void nan_rows(const float *x, size_t n_cols, uint64_t *rows)
{
    for (size_t c = 0; c < n_cols; c++, x += ROWS) {
        rows[c] = 0;
        for (size_t row = 0; row < ROWS; row += LANES)
            rows[c] |= lanes_of(is_nan(*(const vfloat *)(x + row))) << row;
    }
}

static uint64_t code_rows(const float *x, uint32_t code)
{
    const vint wanted = splat_int((int32_t)code);
    uint64_t rows = 0;
    for (size_t row = 0; row < ROWS; row += LANES)
        rows |= lanes_of(is_equal((vint) * (const vfloat *)(x + row), wanted)) << row;
    return rows;
}

extern const struct seg_kernels ISA_SYMBOL(seg_kernels_);
const struct seg_kernels ISA_SYMBOL(seg_kernels_) = {
    .isa = ISA_NAME,
    .affine = affine,
    .affine_few = affine_few,
    .squares = squares,
    .nearest = nearest,
    .squares_to = squares_to,
    .margin = margin,
    .spent_rows = spent_rows,
    .survey = survey,
    .relu = relu,
    .clamp = clamp,
    .exp = exp_map,
    .sigmoid = sigmoid,
    .tanh = tanh_map,
    .gelu = gelu,
    .softmax = softmax,
    .argmax = argmax,
    .nan_rows = nan_rows,
    .code_rows = code_rows,
    .to_rows = ISA_SYMBOL(seg_to_rows_),
    .from_rows = ISA_SYMBOL(seg_from_rows_),
    .from_each = ISA_SYMBOL(seg_from_each_),
};
