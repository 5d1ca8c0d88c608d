/* layers_select.c - the loops of training that go with the kernels this machine runs. */
#include "compute/kernels.h"
#include "neural/layers.h"
#include "neural/normalize.h"

extern const struct seg_layer_kernels seg_layer_kernels_baseline;
extern const struct seg_normalize_kernels seg_normalize_kernels_baseline;
#if defined(__x86_64__)
extern const struct seg_layer_kernels seg_layer_kernels_v3, seg_layer_kernels_v4;
extern const struct seg_normalize_kernels seg_normalize_kernels_v3, seg_normalize_kernels_v4;
static const struct seg_layer_kernels *const LAYERS[] = { &seg_layer_kernels_v4,
                                                          &seg_layer_kernels_v3,
                                                          &seg_layer_kernels_baseline, NULL };
static const struct seg_normalize_kernels *const NORMALIZE[] = {
    &seg_normalize_kernels_v4, &seg_normalize_kernels_v3, &seg_normalize_kernels_baseline, NULL
};
#else
static const struct seg_layer_kernels *const LAYERS[] = { &seg_layer_kernels_baseline, NULL };
static const struct seg_normalize_kernels *const NORMALIZE[] = { &seg_normalize_kernels_baseline,
                                                                 NULL };
#endif

const struct seg_layer_kernels *const *seg_layer_kernels_all(void)
{
    return &LAYERS[seg_kernels_n_skipped()];
}

const struct seg_layer_kernels *seg_layer_kernels_get(void)
{
    return seg_layer_kernels_all()[0];
}

const struct seg_normalize_kernels *const *seg_normalize_kernels_all(void)
{
    return &NORMALIZE[seg_kernels_n_skipped()];
}

const struct seg_normalize_kernels *seg_normalize_kernels_get(void)
{
    return seg_normalize_kernels_all()[0];
}
