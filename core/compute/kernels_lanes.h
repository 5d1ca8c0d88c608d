/* kernels_lanes.h - vectors of rows, as wide as the instruction set (SEG_ISA) that includes it is
 * compiled for; private to the kernels.
 * The sizes below fill the register file without spilling. */
#ifndef SEG_COMPUTE_KERNELS_LANES_H
#define SEG_COMPUTE_KERNELS_LANES_H

#include <stdbool.h>
#include <stdint.h>
#include "compute/isa.h"
#include "compute/kernels.h"
#include "compute/tiles.h"

#if defined(__AVX512F__) && !defined(SEG_HALF_VECTORS)
#include <immintrin.h>
#if defined(__AVX512VNNI__)
#define ISA_NAME "x86-64-v4 with VNNI"
#else
#define ISA_NAME "x86-64-v4"
#endif
#define VECTOR_BYTES 64
#define OUTS_MAX     6 /* 24 accumulators + 4 of x + 1 weight + 1 difference of 32 registers */
#define VECS         4
#elif defined(__AVX2__)
#include <immintrin.h>
#define VECTOR_BYTES 32
#define OUTS_MAX     6 /* 12 + 2 + 1 + 1 of 16 registers, or as above of 32 */
#if defined(__AVX512VL__)
#define ISA_NAME "x86-64-v4 in 256 bits"
#define VECS     4
#else
#define ISA_NAME "x86-64-v3"
#define VECS     2
#endif
#else
#define ISA_NAME     "baseline"
#define VECTOR_BYTES 16
#define OUTS_MAX     6
#if defined(__aarch64__)
#define VECS 4 /* 32 registers */
#else
#define VECS 2
#endif
#endif

#define INLINE static inline __attribute__((always_inline))

/* Stands before a loop over a register block: its arrays become registers only when unrolled. */
#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 8")
#endif

#define LANES      (VECTOR_BYTES / 4)
#define ROWS       SEG_TILE_ROWS
#define BLOCK_ROWS (VECS * LANES)
_Static_assert(ROWS % BLOCK_ROWS == 0, "row blocks fill a tile");

typedef float vfloat __attribute__((vector_size(VECTOR_BYTES), may_alias));
typedef int32_t vint __attribute__((vector_size(VECTOR_BYTES), may_alias));
/* The same at any address, for runs of floats that are no tiles. */
typedef float vfloat_loose __attribute__((vector_size(VECTOR_BYTES), may_alias, aligned(4)));

INLINE vfloat splat(float a)
{
    return a - (vfloat){ 0 };
}

INLINE vint splat_int(int32_t a)
{
    return a - (vint){ 0 };
}

/* What the vector extensions of C lack, in one instruction each: a < b, mask ? a : b, the lesser
 * and greater of two (b if either is NaN), a is NaN, a == b, a mask as bits, and table[index],
 * faster where the table has at most LANES (and room for them). */
#if VECTOR_BYTES == 64
typedef __mmask16 vmask;

INLINE vmask less(vfloat a, vfloat b)
{
    return _mm512_cmp_ps_mask((__m512)a, (__m512)b, _CMP_LT_OQ);
}

INLINE vfloat blend(vmask mask, vfloat a, vfloat b)
{
    return (vfloat)_mm512_mask_blend_ps(mask, (__m512)b, (__m512)a);
}

INLINE vfloat lesser(vfloat a, vfloat b)
{
    return (vfloat)_mm512_min_ps((__m512)a, (__m512)b);
}

INLINE vfloat greater(vfloat a, vfloat b)
{
    return (vfloat)_mm512_max_ps((__m512)a, (__m512)b);
}

INLINE vfloat root(vfloat a)
{
    return (vfloat)_mm512_sqrt_ps((__m512)a);
}

INLINE vmask is_nan(vfloat a)
{
    return _mm512_cmp_ps_mask((__m512)a, (__m512)a, _CMP_UNORD_Q);
}

INLINE vmask is_equal(vint a, vint b)
{
    return _mm512_cmpeq_epi32_mask((__m512i)a, (__m512i)b);
}

INLINE uint64_t lanes_of(vmask mask)
{
    return mask;
}

INLINE vfloat look_up(const float *table, vint index)
{
    return (vfloat)_mm512_i32gather_ps((__m512i)index, table, 4);
}

INLINE vfloat look_up_few(const float *table, vint index)
{
    return (vfloat)_mm512_permutexvar_ps((__m512i)index, _mm512_loadu_ps(table));
}
#elif VECTOR_BYTES == 32
typedef vint vmask;

INLINE vmask less(vfloat a, vfloat b)
{
    return (vmask)_mm256_cmp_ps((__m256)a, (__m256)b, _CMP_LT_OQ);
}

INLINE vfloat blend(vmask mask, vfloat a, vfloat b)
{
    return (vfloat)_mm256_blendv_ps((__m256)b, (__m256)a, (__m256)mask);
}

INLINE vfloat lesser(vfloat a, vfloat b)
{
    return (vfloat)_mm256_min_ps((__m256)a, (__m256)b);
}

INLINE vfloat greater(vfloat a, vfloat b)
{
    return (vfloat)_mm256_max_ps((__m256)a, (__m256)b);
}

INLINE vfloat root(vfloat a)
{
    return (vfloat)_mm256_sqrt_ps((__m256)a);
}

INLINE vmask is_nan(vfloat a)
{
    return (vmask)_mm256_cmp_ps((__m256)a, (__m256)a, _CMP_UNORD_Q);
}

INLINE vmask is_equal(vint a, vint b)
{
    return (vmask)(a == b);
}

INLINE uint64_t lanes_of(vmask mask)
{
    return (uint32_t)_mm256_movemask_ps((__m256)mask);
}

INLINE vfloat look_up(const float *table, vint index)
{
    return (vfloat)_mm256_i32gather_ps(table, (__m256i)index, 4);
}

INLINE vfloat look_up_few(const float *table, vint index)
{
    return (vfloat)_mm256_permutevar8x32_ps(_mm256_loadu_ps(table), (__m256i)index);
}
#else
typedef vint vmask;

INLINE vmask less(vfloat a, vfloat b)
{
    return (vmask)(a < b);
}

INLINE vfloat blend(vmask mask, vfloat a, vfloat b)
{
    return (vfloat)(((vint)a & mask) | ((vint)b & ~mask));
}

INLINE vfloat lesser(vfloat a, vfloat b)
{
    return blend(less(a, b), a, b);
}

INLINE vfloat greater(vfloat a, vfloat b)
{
    return blend(less(b, a), a, b);
}

INLINE vmask is_nan(vfloat a)
{
    return (vmask)(a != a);
}

INLINE vmask is_equal(vint a, vint b)
{
    return (vmask)(a == b);
}

INLINE uint64_t lanes_of(vmask mask)
{
    uint64_t lanes = 0;
    for (unsigned i = 0; i < LANES; i++)
        lanes |= (uint64_t)(mask[i] & 1) << i;
    return lanes;
}

INLINE vfloat look_up(const float *table, vint index)
{
    vfloat found = { 0 };
    for (unsigned i = 0; i < LANES; i++)
        found[i] = table[index[i]];
    return found;
}

INLINE vfloat look_up_few(const float *table, vint index)
{
    return look_up(table, index);
}
#endif

/* A block of rows narrower than a tile reads a part of each column, in strides that the processor
 * does not foresee, and memory rests while the other blocks are read. So each asks for its part of
 * the next tile in memory: a block of 16 rows for as many lines of 16 cells as there are columns.
 * Whatever stands there instead costs next to nothing. An address and no pointer, because behind
 * the last tile there is no object. 0: nothing, as where blocks are as wide as tiles. */
#define ASKS (BLOCK_ROWS < ROWS)

INLINE uintptr_t next_part(const float *x, size_t d, size_t row)
{
    return ASKS ? (uintptr_t)x + (ROWS + row) * d * sizeof *x : 0;
}

INLINE void ask(uintptr_t part, size_t c)
{
    if (!ASKS || part == 0) return;
    UNROLL
    for (size_t r = 0; r < BLOCK_ROWS; r += 16)
        __builtin_prefetch((const void *)(part + (c * BLOCK_ROWS + r) * sizeof(float)), 0, 2);
}

/* Outputs left are cut in blocks as equal as can be: 8 are 4 + 4, not 6 + 2, because few outputs
 * mean few chains of additions to hide the latency of each. */
INLINE size_t block_size(size_t n_left)
{
    const size_t n_blocks = (n_left + OUTS_MAX - 1) / OUTS_MAX;
    return (n_left + n_blocks - 1) / n_blocks;
}

/* Runs `call(n)` with the constant n = n_outs. */
#define WITH_CONSTANT(n_outs, call)                                                                \
    switch (n_outs) {                                                                              \
    case 1: call(1); break;                                                                        \
    case 2: call(2); break;                                                                        \
    case 3: call(3); break;                                                                        \
    case 4: call(4); break;                                                                        \
    case 5: call(5); break;                                                                        \
    default: call(OUTS_MAX); break;                                                                \
    }

#endif
