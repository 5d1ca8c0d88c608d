/* gemm.h - matrix products over OpenBLAS, one thread each.
 * The pool is the only parallelism: seg_gemm_init sets OpenBLAS to one thread for the whole process
 * and must run before the first worker starts. Safe from any thread after that. All matrices are
 * row-major and dense. */
#ifndef SEG_COMPUTE_GEMM_H
#define SEG_COMPUTE_GEMM_H

#include <stdbool.h>
#include <stddef.h>
#include "base/status.h"

/* SEG_EINVAL when OpenBLAS is its OpenMP flavour, whose threads cannot be set here. */
enum seg_status seg_gemm_init(struct seg_error *err);
/* Allocates this thread's BLAS buffers; each worker calls it once. */
void seg_gemm_warm_up(void);
/* The kernel that OpenBLAS chose, e.g. "Cooperlake". Static storage. */
const char *seg_gemm_core_name(void);
/* What OPENBLAS_CORETYPE should say on a machine that runs the kernels isa (compute/kernels.h) but
 * got core: OpenBLAS takes a processor newer than itself for an old one. NULL: core is as good. */
const char *seg_gemm_better_core(const char *core, const char *isa);
/* c (m, n) = alpha * op(a) op(b) + beta * c, where op(a) is (m, k) and op(b) is (k, n); lda, ldb,
 * ldc are row strides. */
void seg_gemm(bool transpose_a, bool transpose_b, size_t m, size_t n, size_t k, float alpha,
              const float *a, size_t lda, const float *b, size_t ldb, float beta, float *c,
              size_t ldc);
/* c (n, n) += a a^T in float64, upper triangle alone; a (n, k), lda its row stride. */
void seg_gram_add(size_t n, size_t k, const double *a, size_t lda, double *c);

#endif
