/* kmeans_run.h - the parts that kmeans.c puts together; private to core/cluster.
 *
 * Sums are exact: a value counts as the integer trunc(x * scale), where the column's scale is the
 * power of two that lets n_rows of the largest value fit in 61 bits. Integers add in any order to
 * the same bits, so sums can be updated by the rows that moved and gathered by any worker, and
 * still equal those taken afresh. (With 2^20 rows a value keeps 41 bits below the column's largest:
 * more than the 24 of a float.) */
#ifndef SEG_CLUSTER_KMEANS_RUN_H
#define SEG_CLUSTER_KMEANS_RUN_H

#include <stdatomic.h>
#include "base/alloc.h"
#include "base/rng.h"
#include "cluster/kmeans.h"
#include "compute/kernels.h"
#include "compute/screen.h"

/* Centroids times columns that a tile may be measured against, some 15 microseconds, before the
 * processor is offered. */
#define KMEANS_OFFER_CELLS 8192u
/* Offers it once *n_cells comes to that, after n_more of them. */
static inline void kmeans_offer(size_t *n_cells, size_t n_more)
{
    *n_cells += n_more;
    if (*n_cells < KMEANS_OFFER_CELLS) return;
    *n_cells = 0;
    seg_pool_give_way();
}

/* What is known of the data before the first start; shared by all starts. */
struct kmeans_data {
    const struct seg_tiles *x;
    float *scale;         /* (d) powers of two */
    double *mean;         /* (d) */
    double variance_mean; /* mean over columns of the variance (n) */
    double scatter;       /* sum of squared distances of the rows to the mean */
};
/* Surveys x (n >= 1, d), which is borrowed, in one pass. SEG_ENOMEM. */
enum seg_status kmeans_data_init(struct kmeans_data *data, struct seg_pool *pool,
                                 const struct seg_tiles *x);
/* Frees it; an empty one is fine, here and in the releases below. */
void kmeans_data_release(struct kmeans_data *data);

/* The largest power of two that keeps the sum of n_rows values, none beyond `largest`, within 61
 * bits: what a column's values are multiplied by. */
float kmeans_sum_scale(float largest, size_t n_rows);

struct kmeans_sums {
    size_t k, d;
    int64_t *sum;   /* (k, d) of scaled values */
    int64_t *count; /* (k) rows */
};
/* No row in any cluster. SEG_ENOMEM. */
enum seg_status kmeans_sums_init(struct kmeans_sums *s, size_t k, size_t d);
/* Frees the arrays. */
void kmeans_sums_release(struct kmeans_sums *s);
/* Back to no row in any cluster. */
void kmeans_sums_clear(struct kmeans_sums *s);
/* Adds the row whose first cell is *cell, each of the others `step` further on (SEG_TILE_ROWS in a
 * tile), to cluster `to` and takes it from cluster `from`, which may be k for none. */
void kmeans_sums_move(struct kmeans_sums *s, const float *scale, const float *cell, size_t step,
                      uint32_t from, uint32_t to);
/* s += other; empties other. */
void kmeans_sums_drain(struct kmeans_sums *s, struct kmeans_sums *other);
/* Means of the clusters that have rows into c (k, d); the others keep their centroid. */
void kmeans_sums_means(const struct kmeans_sums *s, const struct kmeans_data *data,
                       struct seg_matrix *c);
/* Sum of squared distances of the rows to the mean of their cluster: scatter - sum n_c |mean_c -
 * mean|^2. */
double kmeans_sums_inertia(const struct kmeans_sums *s, const struct kmeans_data *data);

/* SEG_EINVAL unless the columns of given start centroids are those of x, and all is finite. */
enum seg_status kmeans_check_start(const struct seg_tiles *x, const struct seg_matrix *start,
                                   struct seg_error *err);
/* Start centroids c (k, d) drawn from the rows. closest: scratch of one float a row, whole tiles.
 * With fewer distinct rows than k the spare centroids repeat the last one found. */
enum seg_status kmeans_seed(struct seg_pool *pool, const struct seg_tiles *x,
                            enum seg_kmeans_init init, struct seg_rng *rng, float *closest,
                            const struct seg_progress *progress, struct seg_matrix *c);

/* Of sums by chunk, added in chunk order. */
double kmeans_total(const double *sums, size_t n_chunks);
/* The chunk in which the running total of sums (n_chunks), none negative, passes *at, which is
 * lowered to what is left of it there. Rounding may carry past the end: then the last chunk whose
 * sum is not 0. */
size_t kmeans_draw_chunk(const double *sums, size_t n_chunks, double *at);

/* The same for SEG_INIT_PARALLEL, which kmeans_seed calls; takes 4 more bytes a row. */
enum seg_status kmeans_seed_parallel(struct seg_pool *pool, const struct seg_tiles *x,
                                     struct seg_rng *rng, float *closest,
                                     const struct seg_progress *progress, struct seg_matrix *c);

/* Fills centroids, sizes and inertia of km, whose n_distinct is known: c (k, d) largest cluster
 * first, of the rows by label (n), whose squared distances to their centroid are dist2 (n).
 * SEG_ENOMEM. */
enum seg_status kmeans_put_in_order(const struct seg_matrix *c, const uint32_t *label,
                                    const float *dist2, size_t n, struct seg_kmeans *km);

/* seg_kmeans_assign, but rows keep what label and dist2 hold once progress is cancelled; either may
 * be NULL. */
void kmeans_assign(struct seg_pool *pool, const struct seg_tiles *x, const struct seg_matrix *c,
                   const struct seg_progress *progress, uint32_t *label, float *dist2);

/* Rows from anywhere, put together to be measured at once. */
struct kmeans_batch {
    float *cells;                /* (d, 64) */
    uint32_t row[SEG_TILE_ROWS]; /* their numbers */
    unsigned n;
};

/* The workspace of one worker. As sums are exact it does not matter who summed what. */
struct kmeans_desk {
    atomic_flag taken;
    struct kmeans_sums moved;     /* what rows that changed cluster add and take */
    uint64_t n_moved;             /* their number */
    uint64_t n_awake;             /* rows that have spent their slack */
    uint64_t n_idle;              /* rows asleep in tiles of which others were read */
    uint64_t n_screened;          /* rows */
    uint64_t n_tried, n_found;    /* rows looked for among the centroids they remember */
    uint64_t n_doubtful;          /* those of them that had to be measured exactly */
    size_t n_cells;               /* see kmeans_offer */
    float *cells;                 /* (d, 64) rows that are measured together */
    struct kmeans_batch doubtful; /* see kmeans_assign.c */
    float *rows;                  /* (64, rows_stride) of them, padded for screen_kernel */
    size_t rows_stride;
    int32_t *code; /* scratch of screen_kernel */
};
/* A desk that is not taken, with what every run needs. After a failure it wants the release too.
 * SEG_ENOMEM. */
enum seg_status kmeans_desk_init(struct kmeans_desk *desk, size_t k, size_t d);
/* Frees what it has; nobody may hold the desk. */
void kmeans_desk_release(struct kmeans_desk *desk);

/* One start. `label` and `slack` hold whole tiles. */
struct kmeans_run {
    struct seg_pool *pool;
    const struct kmeans_data *data;
    const struct seg_progress *progress;
    const struct seg_kernels *kernels;
    const struct seg_screen_kernel *screen_kernel; /* or NULL */
    struct seg_screen screen;                      /* of c; empty if that does not pay */
    bool is_screened;
    uint16_t *near;           /* (n, SEG_NEAR) centroids around a row; NULL if not kept */
    float *rest;              /* (n) distance to all others when listed, plus drift then */
    bool keeps_lists;         /* screening fills near and rest */
    bool looks_near;          /* rows that wake are first looked for there */
    uint16_t movers[SEG_FEW]; /* centroids whose last way drift leaves out: rows that are not
                                 screened are measured against them as well */
    unsigned n_movers;
    uint64_t n_awake;         /* rows that had spent their slack in the last iteration */
    double longest_way;       /* of the last move of the other centroids */
    double failed_way;        /* the longest way when that found too few, or infinite */
    double drift;             /* sum of the longest ways so far */
    float drift_lo, drift_hi; /* the same, rounded down and up */
    float margin_tiny;        /* what underflow of squares can make of a distance, at most */
    struct seg_matrix c;      /* (k, d) */
    struct seg_matrix was;    /* (k, d) before the last move */
    double *way;              /* (k) length of the last move, rounded up */
    uint32_t *label;          /* (n) cluster of each row; k = none yet */
    float *slack;             /* (n) see kmeans_assign.c */
    double *asleep;           /* (n_tiles) no row of the tile wakes while spent_any is under this */
    struct kmeans_sums sums;  /* of the rows by label */
    double *spent;            /* (k + 1) slack spent so far by rows of a cluster; 0 for none */
    float *spent_lo;          /* (k + 1) the same, rounded down */
    float *spent_hi;          /* (k + 1) the same, rounded up */
    double spent_any;         /* no row has spent more */
    double *pace;             /* (k) what the last move of the centroids added to spent */
    struct seg_tiles *own;    /* data->x if its tiles may be turned meanwhile, else NULL */
    bool is_turned;           /* the cells of each tile of data->x are row after row */
    uint64_t n_idle;          /* rows asleep in tiles that were read, over the iterations */
    struct kmeans_desk *desks;
    size_t n_desks;
    double *curve; /* (n_iter_max) */
    uint32_t n_iter;
    bool converged;
    double inertia; /* of the last partition around its means */
};
/* Room for starts of p->k centroids on data, which is borrowed; own: data->x if it may be reordered
 * meanwhile, else NULL. Empty after a failure: SEG_ENOMEM. */
enum seg_status kmeans_run_init(struct kmeans_run *run, struct seg_pool *pool,
                                const struct kmeans_data *data, struct seg_tiles *own,
                                const struct seg_kmeans_params *p,
                                const struct seg_progress *progress);
/* Frees all but what it borrowed: pool, data, own and progress. */
void kmeans_run_release(struct kmeans_run *run);
/* Iterates from run->c to convergence or n_iter_max. SEG_ECANCELED. */
enum seg_status kmeans_run_iterate(struct kmeans_run *run, const struct seg_kmeans_params *p,
                                   uint32_t start, uint32_t n_starts);

/* The nearest assignment to run->c, label and slack (as squared distances). is_last: c is what the
 * last start ended with. Void if the run is cancelled meanwhile. */
void kmeans_run_label(struct kmeans_run *run, bool is_last);

/* A desk that nobody else has: there is one for every thread that can be here. */
struct kmeans_desk *kmeans_desk_take(struct kmeans_run *run);
/* Gives it back, for anybody. */
void kmeans_desk_give(struct kmeans_desk *desk);
/* Brings label, slack and the desks up to date with run->c. */
void kmeans_run_assign(struct kmeans_run *run);

/* Turns tiles to rows once enough sleeping rows were read with others. */
void kmeans_rows_turn_if_it_pays(struct kmeans_run *run);
/* Makes tiles of them again. */
void kmeans_rows_turn_back(struct kmeans_run *run);
/* Row r as data->x stands just now: its first cell; the others are kmeans_row_step apart. */
static inline const float *kmeans_row_at(const struct kmeans_run *run, size_t r)
{
    const size_t d = run->data->x->n_cols, lane = r % SEG_TILE_ROWS;
    return seg_tiles_at(run->data->x, r / SEG_TILE_ROWS) + (run->is_turned ? lane * d : lane);
}
/* Floats from a cell of a row to the next. */
static inline size_t kmeans_row_step(const struct kmeans_run *run)
{
    return run->is_turned ? 1 : SEG_TILE_ROWS;
}

/* Moves run->c until no cluster of the nearest assignment has fewer than n_min rows, in at most 32
 * rounds: clusters short of rows take the nearest ones of clusters that can spare them, and the
 * means are taken again. label and slack (as distances) hold the assignment before and after. */
enum seg_status kmeans_run_fill(struct kmeans_run *run, size_t n_min);

#endif
