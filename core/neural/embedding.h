/* embedding.h - learned vectors for categories (Guo and Berkhahn 2016), in front of a network's
 * first layer. A column of the input holds codes 0..n_codes-1 as numbers and becomes the `size`
 * columns of the vector that its table has for the code; all other columns pass. The last code is
 * that of what training did not see or keep: its vector is learned from training rows that have it,
 * and without such rows it is the mean vector of the training rows.
 *
 * Immutable once trained; any number of threads may expand. A row's bits do not depend on its
 * neighbours. */
#ifndef SEG_NEURAL_EMBEDDING_H
#define SEG_NEURAL_EMBEDDING_H

#include <stdbool.h>
#include "base/rng.h"
#include "base/safetensors.h"
#include "base/status.h"
#include "compute/tiles.h"

#define SEG_EMBEDDING_SIZE_MAX  256u
#define SEG_EMBEDDING_CODES_MAX 65536u

struct seg_embedding_shape {
    uint32_t column;  /* of the input */
    uint32_t n_codes; /* 2..SEG_EMBEDDING_CODES_MAX */
    uint32_t size;    /* 1..SEG_EMBEDDING_SIZE_MAX */
};

struct seg_embeddings {
    uint32_t n;     /* tables; 0: none, and everything passes */
    uint32_t n_in;  /* columns before */
    uint32_t n_out; /* and after: in their order, a code replaced by its vector */
    struct seg_embedding_shape *shapes; /* (n) by column, ascending. Owned */
    size_t *at;                         /* (n) where each table stands among the parameters */
    size_t n_params;
    float *params; /* (n_params) tables (n_codes, size), one after the other */
};

/* The size that a column of n_codes gets when nobody says: 1.6 n_codes^0.56 rounded up, at most 50
 * (Howard and Gugger 2020). */
uint32_t seg_embedding_size(uint32_t n_codes);

/* shapes (n), by column, ascending, checked by the caller; n 0 makes none. Vectors are drawn
 * uniformly with an expected squared length of 1, that of a standardized column; the last code's is
 * 0. SEG_ENOMEM. */
enum seg_status seg_embeddings_init(struct seg_embeddings *e,
                                    const struct seg_embedding_shape *shapes, uint32_t n,
                                    uint32_t n_in, struct seg_rng *rng);
/* New ones, vector for vector. SEG_ENOMEM. */
enum seg_status seg_embeddings_copy(struct seg_embeddings *ret_e,
                                    const struct seg_embeddings *from);
void seg_embeddings_release(struct seg_embeddings *e);
/* Whether both have the same shapes. */
bool seg_embeddings_alike(const struct seg_embeddings *a, const struct seg_embeddings *b);

/* x (n_in, 64) -> out (n_out, 64). What is no code, in lanes without a row, counts as the last. */
void seg_embeddings_expand(const struct seg_embeddings *e, const float *x, float *out);
/* The code of a cell of column shapes[i]. */
static inline uint32_t seg_embeddings_code(const struct seg_embeddings *e, uint32_t i, float cell)
{
    const uint32_t last = e->shapes[i].n_codes - 1;
    return cell >= 0.0f && cell < (float)last ? (uint32_t)cell : last;
}

/* After training on x: gives a last code that no row has the mean vector of the rows. SEG_ENOMEM.
 */
enum seg_status seg_embeddings_settle(struct seg_embeddings *e, const struct seg_tiles *x);

/* Storage as <prefix>.embeddings (n, 3) and <prefix>.embedding_tables (n_params); nothing with n 0.
 * Loading takes n_out, the columns after, from the network's first layer. */
enum seg_status seg_embeddings_save(const struct seg_embeddings *e, const char *prefix,
                                    struct seg_tensors *ts);
enum seg_status seg_embeddings_load(const struct seg_tensors *ts, const char *prefix,
                                    uint32_t n_out, struct seg_embeddings *ret_e,
                                    struct seg_error *err);

#endif
