/* label_score.h - what a model says about blocks of raw rows out of the database, whose categories
 * are numbered by the table they were loaded into.
 *
 * Operation: init, map whenever the table's dictionaries have grown, score the tiles of a block,
 * ask for its labels. Safety: tiles of one block may be scored by several threads at once. */
#ifndef SERVER_JOBS_LABEL_SCORE_H
#define SERVER_JOBS_LABEL_SCORE_H

#include "compute/scratch.h"
#include "db/labels.h"
#include "jobs/row_spool.h"
#include "model/model.h"

#define LABEL_BLOCK_ROWS  ROW_SPOOL_BLOCK_ROWS
#define LABEL_BLOCK_TILES (LABEL_BLOCK_ROWS / SEG_TILE_ROWS)

struct label_scorer {
    const struct seg_model *model; /* borrowed */
    const struct seg_schema *inputs;
    uint32_t **codes; /* (n_features) table's code -> model's code; NULL for numbers */
    uint32_t *n_codes;
    struct seg_scratch scratch; /* the model's, and behind it cells in the model's codes */
    struct seg_scores *scores;  /* (n_tiles) */
};

/* For blocks of n_tiles, scored over pool, or when that is NULL by one thread. False: no memory;
 * release it all the same. */
bool label_scorer_init(struct label_scorer *s, const struct seg_model *m, struct seg_pool *pool,
                       size_t n_tiles);
void label_scorer_release(struct label_scorer *s);
/* Learns the categories that have come into the table, whose first features are the model's. False:
 * no memory. */
bool label_scorer_map(struct label_scorer *s, const struct seg_schema *table);
/* Scores the first n_rows of tile `index` of a block, of which raw has the model's cells in front.
 */
void label_scorer_tile(struct label_scorer *s, size_t index, const float *raw, unsigned n_rows);
/* The label of a row of the block's tile `index`, named by id, which it borrows. False: the id is
 * none that a route could name. */
bool label_scorer_label(const struct label_scorer *s, size_t index, unsigned lane, const char *id,
                        size_t id_len, struct label *ret_l);

#endif
