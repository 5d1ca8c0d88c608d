/* screen.c - see screen.h. The error bounds are those of kernels_screen.c. */
#include "compute/screen.h"

#include <math.h>
#include <string.h>
#include "base/alloc.h"
#include "compute/kernels.h"
#include "compute/worker_pool.h"

#if defined(__x86_64__)
extern const struct seg_screen_kernel seg_screen_kernel_v3, seg_screen_kernel_v4,
    seg_screen_kernel_v4_vnni;
static const struct seg_screen_kernel *const ALL[] = { &seg_screen_kernel_v4_vnni,
                                                       &seg_screen_kernel_v4, &seg_screen_kernel_v3,
                                                       NULL };

const struct seg_screen_kernel *const *seg_screen_kernels_all(void)
{
    const size_t n_skipped = seg_kernels_n_skipped();
    if (n_skipped == 0 && __builtin_cpu_supports("avx512vnni")) return &ALL[0];
    return &ALL[1 + n_skipped]; /* NULL where the baseline runs */
}
#else
static const struct seg_screen_kernel *const ALL[] = { NULL };

const struct seg_screen_kernel *const *seg_screen_kernels_all(void)
{
    return ALL;
}
#endif

const struct seg_screen_kernel *seg_screen_kernel_get(void)
{
    return seg_screen_kernels_all()[0];
}

enum seg_status seg_screen_init(struct seg_screen *s, size_t k, size_t d, const double *centre)
{
    *s = (struct seg_screen){ .d = d, .k = k, .n_pairs = (d + 1) / 2 };
    s->widen = (float)(d + 16) * 0x1p-24f;
    s->centre = seg_alloc(d, sizeof *s->centre);
    s->code = seg_alloc(k * s->n_pairs, sizeof *s->code);
    s->norm2 = seg_alloc(k, sizeof *s->norm2);
    s->d_padded = (d + SEG_SCREEN_PAD - 1) / SEG_SCREEN_PAD * SEG_SCREEN_PAD;
    s->padded = seg_alloc_aligned(k * s->d_padded, sizeof *s->padded);
    if (!s->centre || !s->code || !s->norm2 || !s->padded) {
        seg_screen_release(s);
        return SEG_ENOMEM;
    }
    memset(s->padded, 0, k * s->d_padded * sizeof *s->padded);
    for (size_t c = 0; c < d; c++)
        s->centre[c] = (float)centre[c];
    return SEG_OK;
}

void seg_screen_release(struct seg_screen *s)
{
    seg_free(s->centre);
    seg_free(s->code);
    seg_free(s->norm2);
    seg_free(s->padded);
    *s = (struct seg_screen){ 0 };
}

void seg_screen_set(struct seg_screen *s, const struct seg_matrix *c)
{
    double longest2 = 0, off2 = 0;
    for (size_t j = 0; j < s->k; j++) {
        const float *row = seg_matrix_row(c, j);
        double sum = 0;
        seg_pool_give_way();
        for (size_t i = 0; i < s->d; i++) {
            const double value = (double)(row[i] - s->centre[i]);
            sum += value * value;
        }
        s->norm2[j] = (float)sum;
        memcpy(s->padded + j * s->d_padded, row, s->d * sizeof *row);
        longest2 = fmax(longest2, sum);
    }
    const double unit = longest2 > 0 ? sqrt(longest2) / (double)SEG_SCREEN_LENGTH : 1;
    s->unit = (float)unit;
    s->length = (float)(sqrt(longest2) * (1 + 0x1p-20));
    for (size_t j = 0; j < s->k; j++) {
        const float *row = seg_matrix_row(c, j);
        double sum = 0;
        seg_pool_give_way();
        for (size_t i = 0; i < 2 * s->n_pairs; i++) {
            const double value = i < s->d ? (double)(row[i] - s->centre[i]) : 0;
            const int32_t code = (int32_t)lrint(value / (double)s->unit);
            const double off = value - code * (double)s->unit;
            const uint32_t bits = (uint32_t)code & 0xffffu;
            int32_t *pair = &s->code[j * s->n_pairs + i / 2];
            *pair = i % 2 == 0 ? (int32_t)bits : (int32_t)((uint32_t)*pair | bits << 16);
            sum += off * off;
        }
        off2 = fmax(off2, sum);
    }
    s->off = (float)(sqrt(off2) * (1 + 0x1p-20));
}

bool seg_screen_pays(size_t k, size_t d)
{
    /* Instructions for 16 rows: `nearest` takes about 5 d / 4 + 5 a centroid, screening d / 2 + 7
     * and 12 d for the codes. */
    return k * (3 * d) > 8 * k + 64 * d;
}
