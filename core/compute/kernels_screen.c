/* kernels_screen.c - nearest centroids by products of 16-bit integers, with a bound on the error;
 * compiled once for each instruction set that has such products, at twice the rate of floats. */
#include <float.h>
#include <string.h>
#include "compute/kernels_lanes.h"
#include "compute/screen.h"

/* acc + the sums of products of neighbours: lane i holds two 16-bit integers of a and of b. */
#if defined(__AVX512VNNI__)
INLINE vint add_pair_products(vint acc, vint a, vint b)
{
    return (vint)_mm512_dpwssd_epi32((__m512i)acc, (__m512i)a, (__m512i)b);
}
#elif defined(__AVX512F__)
INLINE vint add_pair_products(vint acc, vint a, vint b)
{
    return acc + (vint)_mm512_madd_epi16((__m512i)a, (__m512i)b);
}
#else
INLINE vint add_pair_products(vint acc, vint a, vint b)
{
    return acc + (vint)_mm256_madd_epi16((__m256i)a, (__m256i)b);
}
#endif

/* Above the length whose square underflows. */
#define LENGTH_MIN 1e-15f

/* The bits of a key that hold a centroid's number, up to SEG_K_MAX, and what of a score they can
 * hide. */
#define KEY_BITS 10
#define KEY_LOSS 0x1p-12f

#if defined(__clang__)
#define UNROLL_MORE UNROLL
#else
#define UNROLL_MORE _Pragma("GCC unroll 16")
#endif

/* Adding it moves a float's integer part to its low bits. */
#define TO_INT 0x1.8p23f

/* What the rows of a block are to their codes. */
struct coded {
    vfloat length[VECS]; /* |x'|, rounded up */
    vfloat unit[VECS];   /* what 1 in a code stands for */
    vfloat off[VECS];    /* |x' - unit * code|, rounded up */
};

/* code (n_pairs, 64) from the block's first row: columns 2p and 2p + 1 in the low and high half. */
INLINE void encode(const struct seg_screen *s, const float *x, uintptr_t next, int32_t *code,
                   struct coded *coded)
{
    const size_t d = s->d;
    const float *centre = s->centre;
    vfloat length2[VECS], per_unit[VECS], off2[VECS];
    for (size_t v = 0; v < VECS; v++)
        length2[v] = off2[v] = splat(0.0f);
    for (size_t c = 0; c < d; c++) {
        ask(next, c);
        UNROLL
        for (size_t v = 0; v < VECS; v++) {
            const vfloat value = *(const vfloat *)(x + c * ROWS + v * LANES) - centre[c];
            length2[v] += value * value;
        }
    }
    for (size_t v = 0; v < VECS; v++) {
        coded->length[v] = root(length2[v]);
        per_unit[v] = SEG_SCREEN_LENGTH / greater(coded->length[v], splat(LENGTH_MIN));
        coded->unit[v] = 1.0f / per_unit[v];
        coded->length[v] *= 1 + s->widen;
    }
    for (size_t c = 0; c < d; c++) {
        UNROLL
        for (size_t v = 0; v < VECS; v++) {
            const vfloat value = *(const vfloat *)(x + c * ROWS + v * LANES) - centre[c];
            const vfloat shifted = value * per_unit[v] + TO_INT;
            const vfloat off = value * per_unit[v] - (shifted - TO_INT);
            vint *pair = (vint *)(code + c / 2 * ROWS + v * LANES);
            off2[v] += off * off;
            if (c % 2 == 0)
                *pair = (vint)shifted & 0xffff;
            else
                *pair |= (vint)shifted << 16;
        }
    }
    for (size_t v = 0; v < VECS; v++)
        coded->off[v] = root(off2[v]) * coded->unit[v] * (1 + s->widen);
}

/* |c'|^2 - 2 x' c' of the best and the second centroid so far. */
struct best {
    vfloat score[VECS];
    vfloat second[VECS];
    vint label[VECS];
    vfloat key[VECS][SEG_NEAR + 1]; /* the lowest scores, with the centroid in their last bits */
};

/* Puts a key among those of v, of which the highest drops out. */
INLINE void insert(struct best *best, size_t v, vfloat key)
{
    UNROLL_MORE
    for (size_t i = 0; i < SEG_NEAR + 1; i++) {
        const vfloat lower = lesser(key, best->key[v][i]);
        key = greater(key, best->key[v][i]);
        best->key[v][i] = lower;
    }
}

/* The centroids first..first + n_outs - 1 of s. factor: what a product of codes counts. */
INLINE void screen_block(const struct seg_screen *s, const int32_t *code, const vfloat *factor,
                         size_t first, struct best *best, const bool lists, const size_t n_outs)
{
    const size_t n_pairs = s->n_pairs;
    const int32_t *c = s->code + first * n_pairs;
    vint sum[OUTS_MAX][VECS];
    UNROLL
    for (size_t j = 0; j < n_outs; j++) {
        UNROLL
        for (size_t v = 0; v < VECS; v++)
            sum[j][v] = splat_int(0);
    }
    for (size_t p = 0; p < n_pairs; p++) {
        vint xp[VECS];
        UNROLL
        for (size_t v = 0; v < VECS; v++)
            xp[v] = *(const vint *)(code + p * ROWS + v * LANES);
        UNROLL
        for (size_t j = 0; j < n_outs; j++) {
            const vint cp = splat_int(c[j * n_pairs + p]);
            UNROLL
            for (size_t v = 0; v < VECS; v++)
                sum[j][v] = add_pair_products(sum[j][v], xp[v], cp);
        }
    }
    UNROLL
    for (size_t v = 0; v < VECS; v++) {
        vfloat least = best->score[v], second = best->second[v], label = (vfloat)best->label[v];
        UNROLL
        for (size_t j = 0; j < n_outs; j++) {
            const vfloat product = __builtin_convertvector(sum[j][v], vfloat);
            const vfloat score = splat(s->norm2[first + j]) + product * factor[v];
            const vmask is_nearer = less(score, least);
            label = blend(is_nearer, (vfloat)splat_int((int32_t)(first + j)), label);
            second = lesser(greater(score, least), second);
            least = lesser(score, least);
            if (lists)
                insert(best, v, (vfloat)(((vint)score & -(1 << KEY_BITS)) | (int32_t)(first + j)));
        }
        best->score[v] = least;
        best->second[v] = second;
        best->label[v] = (vint)label;
    }
}

/* By how much a score may be wrong: products of what the codes leave out, and (|x'| + |c'|)^2 times
 * some roundings. */
INLINE vfloat error_of(const struct seg_screen *s, const struct coded *coded, size_t v)
{
    const vfloat length = coded->length[v], off = coded->off[v], reach = length + s->length;
    return 2 * (off * s->length + (length + off) * s->off) + 0x1p-19f * reach * reach;
}

/* How much nearer the best centroid is than the second at least. l - u is (l^2 - u^2) / (l + u),
 * where |x'|^2 cancels. */
INLINE vfloat margin_of(const struct seg_screen *s, const struct coded *coded,
                        const struct best *best, size_t v)
{
    const vfloat error = error_of(s, coded, v), length2 = coded->length[v] * coded->length[v];
    const vfloat sum = root(greater(length2 + best->score[v] + error, splat(0.0f))) +
                       root(greater(length2 + best->second[v] + error, splat(0.0f)));
    return (best->second[v] - best->score[v] - 2 * error) / (sum * (1 + 0x1p-20f)) - s->widen * sum;
}

/* The centroids in the keys of v, and how far the others are at least. */
INLINE void list_near(const struct seg_screen *s, const struct coded *coded, struct best *best,
                      size_t v, uint16_t *near, float *rest)
{
    for (size_t i = 0; i < SEG_NEAR; i++) {
        vint number = (vint)best->key[v][i] & ((1 << KEY_BITS) - 1);
        number &= number < (int32_t)s->k; /* scores that are no numbers leave a key as it was */
        for (size_t r = 0; r < LANES; r++)
            near[r * SEG_NEAR + i] = (uint16_t)number[r];
    }
    const vfloat key = best->key[v][SEG_NEAR], size = greater(key, -key);
    const vfloat length2 = coded->length[v] * coded->length[v] * (1 - 4 * s->widen);
    const vfloat least2 = length2 + key - (size * KEY_LOSS + FLT_MIN) - error_of(s, coded, v);
    *(vfloat_loose *)rest = root(greater(least2, splat(0.0f))) * (1 - s->widen);
}

INLINE void screen_rows(const struct seg_screen *s, const float *x, uintptr_t next, int32_t *code,
                        uint32_t *label, float *margin, uint16_t *near, float *rest,
                        const bool lists)
{
    struct coded coded;
    struct best best;
    vfloat factor[VECS];
    encode(s, x, next, code, &coded);
    for (size_t v = 0; v < VECS; v++) {
        factor[v] = coded.unit[v] * (-2 * s->unit);
        best.score[v] = best.second[v] = splat(FLT_MAX);
        best.label[v] = splat_int(0);
        for (size_t i = 0; i < SEG_NEAR + 1; i++)
            best.key[v][i] = splat(FLT_MAX);
    }
    size_t n_outs;
    for (size_t j = 0; j < s->k; j += n_outs) {
        n_outs = block_size(s->k - j);
#define CALL(n) screen_block(s, code, factor, j, &best, lists, n)
        WITH_CONSTANT(n_outs, CALL)
#undef CALL
    }
    memcpy(label, best.label, sizeof best.label);
    for (size_t v = 0; v < VECS; v++) {
        *(vfloat_loose *)(margin + v * LANES) = margin_of(s, &coded, &best, v);
        if (lists) list_near(s, &coded, &best, v, near + v * LANES * SEG_NEAR, rest + v * LANES);
    }
}

static void screen(const struct seg_screen *s, const float *x, int32_t *code, uint32_t *label,
                   float *margin, uint16_t *near, float *rest)
{
    for (size_t row = 0; row < ROWS; row += BLOCK_ROWS) {
        const uintptr_t next = next_part(x, s->d, row);
        if (near != NULL)
            screen_rows(s, x + row, next, code + row, label + row, margin + row,
                        near + row * SEG_NEAR, rest + row, true);
        else
            screen_rows(s, x + row, next, code + row, label + row, margin + row, NULL, NULL, false);
    }
}

/* out (8) = the sums over the lanes of a (8). */
INLINE void sum_lanes(const vfloat *a, float *out)
{
    _Static_assert(SEG_NEAR == 8, "as many sums as a vector of AVX2 has lanes");
    __m256 h[8];
    UNROLL
    for (size_t i = 0; i < 8; i++) {
#if defined(__AVX512F__)
        const __m512 whole = (__m512)a[i];
        h[i] = _mm256_add_ps(_mm512_castps512_ps256(whole), _mm512_extractf32x8_ps(whole, 1));
#else
        h[i] = (__m256)a[i];
#endif
    }
    const __m256 low = _mm256_hadd_ps(_mm256_hadd_ps(h[0], h[1]), _mm256_hadd_ps(h[2], h[3]));
    const __m256 high = _mm256_hadd_ps(_mm256_hadd_ps(h[4], h[5]), _mm256_hadd_ps(h[6], h[7]));
    _mm256_storeu_ps(out, _mm256_add_ps(_mm256_permute2f128_ps(low, high, 0x20),
                                        _mm256_permute2f128_ps(low, high, 0x31)));
}

INLINE void among_row(const struct seg_screen *s, const float *row, const uint16_t *near,
                      float *dist2, const size_t n_outs)
{
    const size_t width = s->d_padded;
    const float *c[SEG_NEAR];
    vfloat sum[SEG_NEAR];
    UNROLL
    for (size_t m = 0; m < SEG_NEAR; m++) {
        c[m] = s->padded + (m < n_outs ? near[m] * width : 0);
        sum[m] = splat(0.0f);
    }
    for (size_t at = 0; at < width; at += LANES) {
        const vfloat value = *(const vfloat *)(row + at);
        UNROLL
        for (size_t m = 0; m < n_outs; m++) {
            const vfloat off = value - *(const vfloat *)(c[m] + at);
            sum[m] += off * off;
        }
    }
    sum_lanes(sum, dist2);
}

static void among(const struct seg_screen *s, const float *rows, size_t stride, unsigned n,
                  const uint16_t *const *near, float *dist2)
{
    for (unsigned i = 0; i < n; i++)
        among_row(s, rows + i * stride, near[i], dist2 + i * SEG_NEAR, SEG_NEAR);
}

static void among_few(const struct seg_screen *s, const float *rows, size_t stride, unsigned n,
                      const uint16_t *few, unsigned n_few, float *dist2)
{
    for (unsigned i = 0; i < n; i++) {
#define CALL(n_outs) among_row(s, rows + i * stride, few, dist2 + i * SEG_NEAR, n_outs)
        WITH_CONSTANT(n_few, CALL)
#undef CALL
    }
}

extern const struct seg_screen_kernel ISA_SYMBOL(seg_screen_kernel_);
const struct seg_screen_kernel ISA_SYMBOL(seg_screen_kernel_) = { ISA_NAME, screen, among,
                                                                  among_few };
