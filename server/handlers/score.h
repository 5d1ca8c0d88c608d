/* score.h - a batch of decoded rows scored and written down, row by row, without a tree and without
 * an allocation a row: the part of scoring that every text format shares.
 * A struct score is made once a request and then read only, so that blocks of one batch may be
 * written by several workers at once. */
#ifndef SERVER_HANDLERS_SCORE_H
#define SERVER_HANDLERS_SCORE_H

#include <stdbool.h>
#include "base/arena.h"
#include "http/rows.h"
#include "model_cache.h"

/* Tiles of a block: 1,024 rows, about 50 microseconds of work. */
#define SCORE_BLOCK_TILES 16u
#define SCORE_BLOCK_ROWS  (SCORE_BLOCK_TILES * SEG_TILE_ROWS)

enum score_format {
    SCORE_JSON,   /* objects with a comma between them */
    SCORE_NDJSON, /* an object a line */
    SCORE_CSV,    /* a record a line */
};

struct score_text { /* growing bytes; when memory ran out `failed`, and nothing more is added */
    char *data;
    size_t len, cap;
    bool failed;
};
void score_text_release(struct score_text *t);
/* Room for n more bytes at data + len. */
bool score_text_reserve(struct score_text *t, size_t n);
__attribute__((format(printf, 2, 3))) void score_text_printf(struct score_text *t, const char *fmt,
                                                             ...);

struct score_tally {
    uint64_t n_ok, n_insufficient, n_invalid;
};

struct score;
/* Texts that are the same in every row, from the arena. NULL: no memory. served stays the caller's.
 */
struct score *score_new(struct seg_arena *arena, const struct served_model *served,
                        enum score_format format);
/* The header record of SCORE_CSV. */
void score_write_header(const struct score *s, struct score_text *out);
/* Scores rows first .. first + SCORE_BLOCK_ROWS - 1 of r, as far as they exist, and appends them.
 * first is a multiple of SCORE_BLOCK_ROWS. */
void score_write_block(const struct score *s, const struct rows *r, uint32_t first,
                       struct score_text *out, struct score_tally *tally);

#endif
