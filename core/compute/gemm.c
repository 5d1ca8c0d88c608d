/* gemm.c - the one file that includes cblas.h. */
#include "compute/gemm.h"

#include <assert.h>
#include <cblas.h>
#include <limits.h>
#include <string.h>
#include <strings.h>

#define OPENBLAS_PARALLEL_OPENMP 2
/* Above the size to which OpenBLAS multiplies without a buffer (about 100 x 100 x 100). */
#define WARM_UP_SIZE 128
/* Long enough, about a millisecond, for the calls of threads released together to overlap: OpenBLAS
 * keeps one buffer for each call in flight, not for each thread. */
#define WARM_UP_CALLS 24

enum seg_status seg_gemm_init(struct seg_error *err)
{
    if (openblas_get_parallel() == OPENBLAS_PARALLEL_OPENMP)
        return seg_fail(err, SEG_EINVAL,
                        "OpenBLAS is its OpenMP flavour (install libopenblas0-pthread)");
    openblas_set_num_threads(1);
    return SEG_OK;
}

void seg_gemm_warm_up(void)
{
    static const float zeros[WARM_UP_SIZE * WARM_UP_SIZE];
    float c[WARM_UP_SIZE * WARM_UP_SIZE];
    for (int i = 0; i < WARM_UP_CALLS; i++)
        seg_gemm(false, false, WARM_UP_SIZE, WARM_UP_SIZE, WARM_UP_SIZE, 1.0f, zeros, WARM_UP_SIZE,
                 zeros, WARM_UP_SIZE, 0.0f, c, WARM_UP_SIZE);
}

const char *seg_gemm_core_name(void)
{
    return openblas_get_corename();
}

static bool is_one_of(const char *name, const char *const *names)
{
    while (*names != NULL && strcasecmp(*names, name) != 0) /* a BLAS for one processor shouts */
        names++;
    return *names != NULL;
}

const char *seg_gemm_better_core(const char *core, const char *isa)
{
    static const char *const OF_V4[] = { "SkylakeX", "Cooperlake", "SapphireRapids", NULL };
    static const char *const OF_V3[] = { "Haswell", "Zen", "Excavator", NULL };
    if (is_one_of(core, OF_V4)) return NULL;
    if (strcmp(isa, "x86-64-v4") == 0) return OF_V4[0];
    return strcmp(isa, "x86-64-v3") == 0 && !is_one_of(core, OF_V3) ? OF_V3[0] : NULL;
}

void seg_gemm(bool transpose_a, bool transpose_b, size_t m, size_t n, size_t k, float alpha,
              const float *a, size_t lda, const float *b, size_t ldb, float beta, float *c,
              size_t ldc)
{
    assert(m <= INT_MAX && n <= INT_MAX && k <= INT_MAX);
    assert(lda <= INT_MAX && ldb <= INT_MAX && ldc <= INT_MAX);
    cblas_sgemm(CblasRowMajor, transpose_a ? CblasTrans : CblasNoTrans,
                transpose_b ? CblasTrans : CblasNoTrans, (blasint)m, (blasint)n, (blasint)k, alpha,
                a, (blasint)lda, b, (blasint)ldb, beta, c, (blasint)ldc);
}

void seg_gram_add(size_t n, size_t k, const double *a, size_t lda, double *c)
{
    assert(n <= INT_MAX && k <= INT_MAX && lda <= INT_MAX);
    cblas_dsyrk(CblasRowMajor, CblasUpper, CblasNoTrans, (blasint)n, (blasint)k, 1.0, a,
                (blasint)lda, 1.0, c, (blasint)n);
}
