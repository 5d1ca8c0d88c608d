/* embedding_step.h - the gradient of embeddings over a mini-batch, and the step it leads to.
 * A batch has few of a table's codes: only their vectors have a gradient, and only those are
 * updated, moments included (as in the sparse Adam of PyTorch: a vector whose code a batch lacks
 * does not move). l2 does not apply. One task a table adds the rows up in the order of the batch,
 * so that every number is made in one order, whatever the number of workers. Used by batch.c
 * alone. */
#ifndef SEG_NEURAL_EMBEDDING_STEP_H
#define SEG_NEURAL_EMBEDDING_STEP_H

#include "neural/embedding.h"
#include "neural/optimizer.h"

/* What a batch does to one table. */
struct seg_embedding_step {
    uint32_t *place;    /* (n_codes) 1 + where the code stands in `touched`; 0: not in the batch */
    uint32_t *touched;  /* (n_max) codes of the batch, in order of first sight */
    float *grad;        /* (n_max, size) */
    uint32_t n_touched; /* <= n_max, the lesser of n_codes and the rows of a batch */
    double square_sum;  /* of grad */
};

struct seg_embedding_steps {
    struct seg_embeddings *e;         /* borrowed; its parameters are updated in place */
    uint32_t n;                       /* tables */
    struct seg_embedding_step *steps; /* (n) */
    size_t param_at;                  /* where the tables stand among the optimizer's parameters */
};

/* e has tables. n_rows: of the largest batch. SEG_ENOMEM. */
enum seg_status seg_embedding_steps_init(struct seg_embedding_steps *s, struct seg_embeddings *e,
                                         size_t n_rows, size_t param_at);
void seg_embedding_steps_release(struct seg_embedding_steps *s);

/* Forgets the batch before. */
void seg_embedding_steps_clear(struct seg_embedding_steps *s);
/* Adds the gradient of the first n rows of a tile to table i: codes x (n_in, 64), delta (n_out, 64)
 * by the columns after. Tables are independent; tiles of a table come in order. */
void seg_embedding_step_add(struct seg_embedding_steps *s, uint32_t i, const float *x,
                            const float *delta, unsigned n);
/* Sets square_sum of table i. */
void seg_embedding_step_measure(struct seg_embedding_steps *s, uint32_t i);
/* Updates table i by `shrink` times its gradient. */
void seg_embedding_step_update(struct seg_embedding_steps *s, uint32_t i, float shrink,
                               const struct seg_optimizer_state *o);
/* The gradient of all tables, dense (e->n_params). */
void seg_embedding_steps_gradient(const struct seg_embedding_steps *s, float *grad);

#endif
