/* normalize.c - the loops of normalize.h, compiled once for each instruction set (SEG_ISA). Rows
 * are lanes: plain loops over the 64 rows of a unit, which the compiler turns into vectors. */
#include "neural/normalize.h"

#include <math.h>
#include <stdint.h>
#include "compute/isa.h"
#include "compute/tiles.h"

#define ROWS SEG_TILE_ROWS

static void standardize(float *x, size_t m, float *inverse)
{
    float mean[ROWS] = { 0 }, spread[ROWS] = { 0 };
    float share = 1.0f / (float)m;
    for (size_t j = 0; j < m; j++)
        for (size_t r = 0; r < ROWS; r++)
            mean[r] += x[j * ROWS + r];
    for (size_t r = 0; r < ROWS; r++)
        mean[r] *= share;
    for (size_t j = 0; j < m; j++)
        for (size_t r = 0; r < ROWS; r++) {
            x[j * ROWS + r] -= mean[r];
            spread[r] += x[j * ROWS + r] * x[j * ROWS + r];
        }
    for (size_t r = 0; r < ROWS; r++)
        spread[r] = 1.0f / sqrtf(spread[r] * share + SEG_NORMALIZE_EPSILON);
    for (size_t j = 0; j < m; j++)
        for (size_t r = 0; r < ROWS; r++)
            x[j * ROWS + r] *= spread[r];
    for (size_t r = 0; inverse != NULL && r < ROWS; r++)
        inverse[r] = spread[r];
}

static void center(float *x, size_t m, const float *mean, const float *inverse)
{
    for (size_t j = 0; j < m; j++)
        for (size_t r = 0; r < ROWS; r++)
            x[j * ROWS + r] = (x[j * ROWS + r] - mean[j]) * inverse[j];
}

static void stretch(const float *z, size_t m, const float *gain, const float *shift, float *out)
{
    for (size_t j = 0; j < m; j++)
        for (size_t r = 0; r < ROWS; r++)
            out[j * ROWS + r] = gain[j] * z[j * ROWS + r] + shift[j];
}

/* Eight chains in a fixed order. */
static double sum_chains(const double part[8])
{
    return ((part[0] + part[1]) + (part[2] + part[3])) +
           ((part[4] + part[5]) + (part[6] + part[7]));
}

static void moments(const float *x, size_t m, size_t n_rows, double *mean, double *spread)
{
    double keep[ROWS]; /* 1 for a row, 0 for a lane without one */
    for (size_t r = 0; r < ROWS; r++)
        keep[r] = r < n_rows;
    for (size_t j = 0; j < m; j++) {
        const float *unit = x + j * ROWS;
        double sum[8] = { 0 }, square[8] = { 0 };
        for (size_t r = 0; r < ROWS; r += 8)
            for (size_t i = 0; i < 8; i++)
                sum[i] += keep[r + i] * (double)unit[r + i];
        mean[j] = sum_chains(sum) / (double)n_rows;
        for (size_t r = 0; r < ROWS; r += 8)
            for (size_t i = 0; i < 8; i++) {
                double off = (double)unit[r + i] - mean[j];
                square[i] += keep[r + i] * off * off;
            }
        spread[j] = sum_chains(square);
    }
}

static void sums(const float *delta, const float *z, size_t m, double *sum, double *sum_z)
{
    for (size_t j = 0; j < m; j++) {
        double part[8] = { 0 }, part_z[8] = { 0 };
        for (size_t r = j * ROWS; r < (j + 1) * ROWS; r += 8)
            for (size_t i = 0; i < 8; i++) {
                part[i] += (double)delta[r + i];
                part_z[i] += (double)delta[r + i] * (double)z[r + i];
            }
        sum[j] = sum_chains(part);
        sum_z[j] = sum_chains(part_z);
    }
}

static void standardize_back(float *delta, const float *z, size_t m, const float *gain,
                             const float *inverse)
{
    float mean[ROWS] = { 0 }, mean_z[ROWS] = { 0 };
    float share = 1.0f / (float)m;
    for (size_t j = 0; j < m; j++)
        for (size_t r = 0; r < ROWS; r++) {
            delta[j * ROWS + r] *= gain[j];
            mean[r] += delta[j * ROWS + r];
            mean_z[r] += delta[j * ROWS + r] * z[j * ROWS + r];
        }
    for (size_t r = 0; r < ROWS; r++) {
        mean[r] *= share;
        mean_z[r] *= share;
    }
    for (size_t j = 0; j < m; j++)
        for (size_t r = 0; r < ROWS; r++)
            delta[j * ROWS + r] =
                inverse[r] * (delta[j * ROWS + r] - mean[r] - z[j * ROWS + r] * mean_z[r]);
}

static void center_back(float *delta, const float *z, size_t m, size_t n_rows, const float *gain,
                        const float *inverse, const float *mean, const float *mean_z)
{
    for (size_t j = 0; j < m; j++) {
        float scale = gain[j] * inverse[j];
        for (size_t r = 0; r < ROWS; r++)
            delta[j * ROWS + r] =
                scale * (delta[j * ROWS + r] - mean[j] - z[j * ROWS + r] * mean_z[j]);
        for (size_t r = n_rows; r < ROWS; r++)
            delta[j * ROWS + r] = 0.0f;
    }
}

extern const struct seg_normalize_kernels ISA_SYMBOL(seg_normalize_kernels_);
const struct seg_normalize_kernels ISA_SYMBOL(seg_normalize_kernels_) = {
    .isa = ISA_TEXT,
    .standardize = standardize,
    .center = center,
    .stretch = stretch,
    .moments = moments,
    .sums = sums,
    .standardize_back = standardize_back,
    .center_back = center_back,
};
