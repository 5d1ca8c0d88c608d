/* score.h - a batch of decoded rows scored and written down, row by row, without a tree and without
 * an allocation a row: the part of scoring that every text format shares.
 * A struct score is read only, so that blocks of one batch may be written by several workers at
 * once. */
#ifndef SERVER_HANDLERS_SCORE_H
#define SERVER_HANDLERS_SCORE_H

#include <stdbool.h>
#include "base/alloc.h"
#include "base/arena.h"
#include "http/rows.h"
#include "served_model.h"

/* Tiles of a block: 1,024 rows, about 50 microseconds of work. */
#define SCORE_BLOCK_TILES 16u
#define SCORE_BLOCK_ROWS  (SCORE_BLOCK_TILES * SEG_TILE_ROWS)

enum score_format {
    SCORE_JSON,   /* objects with a comma between them */
    SCORE_NDJSON, /* an object a line */
    SCORE_CSV,    /* a record a line */
    SCORE_FORMATS,
};

struct score_text { /* growing bytes; when memory ran out `failed`, and nothing more is added */
    char *data;
    size_t len, cap;
    bool failed;
};
void score_text_release(struct score_text *t);
/* score_text_reserve where there is no room, of a text that has not failed. */
bool score_text_grow(struct score_text *t, size_t n);
/* Room for n more bytes at data + len. */
static inline bool score_text_reserve(struct score_text *t, size_t n)
{
    return !t->failed && (n <= t->cap - t->len || score_text_grow(t, n));
}
void score_text_append(struct score_text *t, const void *bytes, size_t n);
__attribute__((format(printf, 2, 3))) void score_text_printf(struct score_text *t, const char *fmt,
                                                             ...);

struct score_tally {
    uint64_t n_ok, n_insufficient, n_invalid;
};

/* The texts of an answer that are the same in every request, in the arena. NULL: no memory. A
 * served model has one for each format; served->model must outlive it. */
struct score;
struct score *score_new(struct seg_arena *arena, const struct served_model *served,
                        enum score_format format);
/* What stands before n_rows rows: {"model": …, "predictions": [ of SCORE_JSON, whose ]} is the
 * caller's; the header record of SCORE_CSV. Makes room for their first block as well. */
void score_write_head(const struct score *s, uint32_t n_rows, struct score_text *out);
/* Scores rows first .. first + SCORE_BLOCK_ROWS - 1 of r, as far as they exist, and appends them.
 * first is a multiple of SCORE_BLOCK_ROWS, below the number of rows. */
void score_write_block(const struct score *s, const struct rows *r, uint32_t first,
                       struct score_text *out, struct score_tally *tally);

/* What scoring a block of rows needs: memory that most models find in it, so on the stack. */
#define SCORE_WORK_FLOATS 16384u
#define SCORE_WORK_LANES  256u
struct score_work {
    float *scratch;    /* of seg_model_score_tile */
    uint64_t *missing; /* (n_features + n_derived) of the scores, and derived columns */
    uint64_t *unseen;  /* (n_features) of seg_model_unseen */
    uint64_t any_missing, any_unseen;
    struct seg_scores scores; /* with room for probabilities if the model gives any */
    float *floats;            /* the heap's share; NULL when all fits below */
    uint64_t *lanes;
    _Alignas(SEG_ALIGN) float near_floats[SCORE_WORK_FLOATS];
    uint64_t near_lanes[SCORE_WORK_LANES];
};
/* False: no memory. */
bool score_work_init(struct score_work *w, const struct seg_model *m);
void score_work_release(struct score_work *w);

#endif
