/* number_select.c - the loops of number.h that go with the kernels this machine runs.
 * Both are built for the same instruction sets, best first, so the same number of variants is
 * skipped. */
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
#define N_ALL (sizeof ALL / sizeof *ALL - 1)

const struct seg_number_kernels *const *seg_number_kernels_all(void)
{
    const struct seg_kernels *const *all = seg_kernels_all();
    size_t n_run = 0;
    while (all[n_run] != NULL)
        n_run++;
    return &ALL[N_ALL - n_run];
}

const struct seg_number_kernels *seg_number_kernels_get(void)
{
    return seg_number_kernels_all()[0];
}
