/* kernels_select.c - the best kernels this machine runs.
 * The compiler's runtime reads cpuid (and whether the kernel saves the registers) once at start;
 * nothing is stored here. f16c, lzcnt and movbe, also part of x86-64-v3, are not asked for: every
 * processor with AVX2, FMA and BMI2 has them, and not every compiler knows their names here. */
#include "compute/kernels.h"

#include <stdbool.h>

extern const struct seg_kernels seg_kernels_baseline;

#if defined(__x86_64__)
extern const struct seg_kernels seg_kernels_v3, seg_kernels_v4, seg_kernels_v4_256;

static bool runs_v3(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
           __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2") &&
           __builtin_cpu_supports("popcnt");
}

static bool runs_v4(void)
{
    return runs_v3() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vl");
}

static const struct seg_kernels *const ALL[] = { &seg_kernels_v4, &seg_kernels_v4_256,
                                                 &seg_kernels_v3, &seg_kernels_baseline, NULL };
static const struct seg_kernels *const ALL_BUT_V4[] = { &seg_kernels_v3, &seg_kernels_baseline,
                                                        NULL };

/* A machine that runs one of them runs all that follow. */
size_t seg_kernels_n_skipped(void)
{
    return runs_v4() ? 0 : runs_v3() ? 1 : 2;
}

const struct seg_kernels *const *seg_kernels_all(void)
{
    size_t n = seg_kernels_n_skipped();
    return n == 0 ? ALL : &ALL_BUT_V4[n - 1];
}

const struct seg_kernels *seg_kernels_brief(void)
{
    return runs_v4() && __builtin_cpu_is("intel") ? &seg_kernels_v4_256 : seg_kernels_get();
}
#else
static const struct seg_kernels *const ALL[] = { &seg_kernels_baseline, NULL };

size_t seg_kernels_n_skipped(void)
{
    return 0;
}

const struct seg_kernels *const *seg_kernels_all(void)
{
    return ALL;
}

const struct seg_kernels *seg_kernels_brief(void)
{
    return seg_kernels_get();
}
#endif

const struct seg_kernels *seg_kernels_get(void)
{
    return seg_kernels_all()[0];
}
