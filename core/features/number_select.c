/* number_select.c - the loops of number.h that go with the kernels this machine runs. */
#include "features/number.h"

#include "compute/kernels.h"

extern const struct seg_number_kernels seg_number_kernels_baseline;
#if defined(__x86_64__)
extern const struct seg_number_kernels seg_number_kernels_v3, seg_number_kernels_v4;
static const struct seg_number_kernels *const ALL[] = { &seg_number_kernels_v4,
                                                        &seg_number_kernels_v3,
                                                        &seg_number_kernels_baseline, NULL };
#else
static const struct seg_number_kernels *const ALL[] = { &seg_number_kernels_baseline, NULL };
#endif

const struct seg_number_kernels *const *seg_number_kernels_all(void)
{
    return &ALL[seg_kernels_n_skipped()];
}

const struct seg_number_kernels *seg_number_kernels_get(void)
{
    return seg_number_kernels_all()[0];
}
