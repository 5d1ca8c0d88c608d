/* matrix.c - storage of a dense matrix. */
#include "compute/matrix.h"

#include <string.h>
#include "base/alloc.h"

enum seg_status seg_matrix_init(struct seg_matrix *m, size_t n_rows, size_t n_cols)
{
    size_t n;
    if (__builtin_mul_overflow(n_rows, n_cols, &n)) return SEG_ENOMEM;
    float *data = seg_alloc_aligned(n, sizeof *data);
    if (data == NULL) return SEG_ENOMEM;
    memset(data, 0, n * sizeof *data);
    *m = (struct seg_matrix){ .n_rows = n_rows, .n_cols = n_cols, .data = data };
    return SEG_OK;
}

enum seg_status seg_matrix_copy(struct seg_matrix *ret_m, const struct seg_matrix *from)
{
    const size_t n = from->n_rows * from->n_cols;
    float *data = seg_alloc_aligned(n, sizeof *data);
    if (data == NULL) return SEG_ENOMEM;
    if (n > 0) memcpy(data, from->data, n * sizeof *data);
    *ret_m = (struct seg_matrix){ .n_rows = from->n_rows, .n_cols = from->n_cols, .data = data };
    return SEG_OK;
}

void seg_matrix_release(struct seg_matrix *m)
{
    seg_free(m->data);
    *m = (struct seg_matrix){ 0 };
}
