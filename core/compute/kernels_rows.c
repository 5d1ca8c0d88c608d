/* kernels_rows.c - see kernels_rows.h. */
#include "compute/kernels_rows.h"

/* Columns go in strips, so that the lines of one strip stay in the first cache while its 64 rows
 * pass. */
#define STRIP_COLS 16u

void ISA_SYMBOL(seg_to_rows_)(const float *x, size_t d, float *out)
{
    for (size_t strip = 0; strip < d; strip += STRIP_COLS) {
        const size_t end = strip + STRIP_COLS < d ? strip + STRIP_COLS : d;
        for (size_t row = 0; row < ROWS; row++)
            for (size_t c = strip; c < end; c++)
                out[row * d + c] = x[c * ROWS + row];
    }
}

#if VECTOR_BYTES >= 32
/* Lane q of 4 floats: the cells of row[4 * q]. */
INLINE vfloat load_fours(const float *const *row, size_t c)
{
#if VECTOR_BYTES == 64
    __m512 a = _mm512_castps128_ps512(_mm_loadu_ps(row[0] + c));
    a = _mm512_insertf32x4(a, _mm_loadu_ps(row[4] + c), 1);
    a = _mm512_insertf32x4(a, _mm_loadu_ps(row[8] + c), 2);
    return (vfloat)_mm512_insertf32x4(a, _mm_loadu_ps(row[12] + c), 3);
#else
    const __m256 a = _mm256_castps128_ps256(_mm_loadu_ps(row[0] + c));
    return (vfloat)_mm256_insertf128_ps(a, _mm_loadu_ps(row[4] + c), 1);
#endif
}

#if VECTOR_BYTES == 64
#define UNPACK_LOW(a, b)        (vfloat) _mm512_unpacklo_ps((__m512)(a), (__m512)(b))
#define UNPACK_HIGH(a, b)       (vfloat) _mm512_unpackhi_ps((__m512)(a), (__m512)(b))
#define UNPACK_PAIRS_LOW(a, b)  (vfloat) _mm512_unpacklo_pd((__m512d)(a), (__m512d)(b))
#define UNPACK_PAIRS_HIGH(a, b) (vfloat) _mm512_unpackhi_pd((__m512d)(a), (__m512d)(b))
#else
#define UNPACK_LOW(a, b)        (vfloat) _mm256_unpacklo_ps((__m256)(a), (__m256)(b))
#define UNPACK_HIGH(a, b)       (vfloat) _mm256_unpackhi_ps((__m256)(a), (__m256)(b))
#define UNPACK_PAIRS_LOW(a, b)  (vfloat) _mm256_unpacklo_pd((__m256d)(a), (__m256d)(b))
#define UNPACK_PAIRS_HIGH(a, b) (vfloat) _mm256_unpackhi_pd((__m256d)(a), (__m256d)(b))
#endif

/* Columns of LANES rows to out, four at a time: squares of 4 x 4 cells turn inside 16 bytes of the
 * vectors. Returns the number of columns done. */
static size_t turn_fours(const float *const *row, size_t d, float *out)
{
    const size_t end = d - d % 4;
    for (size_t c = 0; c < end; c += 4) {
        const vfloat a = load_fours(row, c), b = load_fours(row + 1, c);
        const vfloat e = load_fours(row + 2, c), f = load_fours(row + 3, c);
        const vfloat ab = UNPACK_LOW(a, b), ef = UNPACK_LOW(e, f);
        const vfloat ab_high = UNPACK_HIGH(a, b), ef_high = UNPACK_HIGH(e, f);
        *(vfloat *)(out + c * ROWS) = UNPACK_PAIRS_LOW(ab, ef);
        *(vfloat *)(out + (c + 1) * ROWS) = UNPACK_PAIRS_HIGH(ab, ef);
        *(vfloat *)(out + (c + 2) * ROWS) = UNPACK_PAIRS_LOW(ab_high, ef_high);
        *(vfloat *)(out + (c + 3) * ROWS) = UNPACK_PAIRS_HIGH(ab_high, ef_high);
    }
    return end;
}
#else
static size_t turn_fours(const float *const *row, size_t d, float *out)
{
    (void)row, (void)d, (void)out;
    return 0;
}
#endif

void ISA_SYMBOL(seg_from_each_)(const float *const *row, size_t d, float *out)
{
    for (size_t r = 0; r < ROWS; r += LANES)
        for (size_t c = turn_fours(row + r, d, out + r); c < d; c++)
            for (size_t i = 0; i < LANES; i++)
                out[c * ROWS + r + i] = row[r + i][c];
}

void ISA_SYMBOL(seg_from_rows_)(const float *rows, size_t d, float *out)
{
    const float *row[ROWS];
    for (size_t r = 0; r < ROWS; r++)
        row[r] = rows + r * d;
    ISA_SYMBOL(seg_from_each_)(row, d, out);
}
