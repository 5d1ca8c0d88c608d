/* kernels_rows.h - between tiles and rows, once for each instruction set; private to the kernels,
 * whose header describes them. */
#ifndef SEG_COMPUTE_KERNELS_ROWS_H
#define SEG_COMPUTE_KERNELS_ROWS_H

#include "compute/kernels_lanes.h"

void ISA_SYMBOL(seg_to_rows_)(const float *x, size_t d, float *out);
void ISA_SYMBOL(seg_from_rows_)(const float *rows, size_t d, float *out);
void ISA_SYMBOL(seg_from_each_)(const float *const *row, size_t d, float *out);

#endif
