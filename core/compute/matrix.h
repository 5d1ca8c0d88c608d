/* matrix.h - a dense row-major float32 matrix: centroids, weights, small things.
 * Feature rows by the million live in tiles.h instead. A plain value; its owner releases it. */
#ifndef SEG_COMPUTE_MATRIX_H
#define SEG_COMPUTE_MATRIX_H

#include <stddef.h>
#include <stdint.h>
#include "base/status.h"

struct seg_matrix {
    size_t n_rows;
    size_t n_cols;
    float *data; /* (n_rows, n_cols), row-major, aligned to SEG_ALIGN; NULL when empty */
};

/* A zeroed matrix. SEG_ENOMEM. */
enum seg_status seg_matrix_init(struct seg_matrix *m, size_t n_rows, size_t n_cols);
/* A new matrix with the same numbers. SEG_ENOMEM. */
enum seg_status seg_matrix_copy(struct seg_matrix *ret_m, const struct seg_matrix *from);
/* Frees the data and empties the matrix; no-op on an empty one. */
void seg_matrix_release(struct seg_matrix *m);

static inline float *seg_matrix_row(const struct seg_matrix *m, size_t row)
{
    return m->data + row * m->n_cols;
}

#endif
