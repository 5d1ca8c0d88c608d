/* kernels_rows.h - between tiles and rows, once for each instruction set; private to the kernels,
 * whose header describes them. */
#ifndef SEG_COMPUTE_KERNELS_ROWS_H
#define SEG_COMPUTE_KERNELS_ROWS_H

#include "compute/kernels_lanes.h"

/* struct seg_kernels.to_rows: tile x (d, 64) to rows out (64, d), which may not overlap. */
void ISA_SYMBOL(seg_to_rows_)(const float *x, size_t d, float *out);
/* .from_rows: rows (64, d) to tile out (d, 64), which may not overlap. */
void ISA_SYMBOL(seg_from_rows_)(const float *rows, size_t d, float *out);
/* .from_each: the rows at row[0..63], each of d cells, to tile out (d, 64). */
void ISA_SYMBOL(seg_from_each_)(const float *const *row, size_t d, float *out);

#endif
