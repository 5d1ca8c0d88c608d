/* pipeline_private.h - one training run, for the files of the pipeline alone.
 * pipeline.c walks the phases; pipeline_<task>.c fits and evaluates; pipeline_report.c keeps
 * progress and warnings. Everything here belongs to the thread that called seg_train. */
#ifndef SEG_PIPELINE_PRIVATE_H
#define SEG_PIPELINE_PRIVATE_H

#include "model/model_private.h"
#include "model/pipeline.h"

/* Cells of the matrix of probabilities that evaluation holds (64 MB); above, rows are sampled. */
#define PIPELINE_PROBABILITIES_MAX ((size_t)1 << 24)

struct pipeline {
    struct seg_pool *pool;
    const struct seg_training *t;
    const struct seg_spec *spec;
    struct seg_tiles x[SEG_PARTS];     /* preprocessed rows of each part */
    struct seg_tiles codes[SEG_PARTS]; /* the same rows encoded; empty without an autoencoder */
    struct seg_tiles *space;           /* x or codes: where the centroids are; segmentation only */
    uint16_t *y[SEG_PARTS];            /* classes of each part; classification only */
    struct seg_tiles points;           /* the preprocessed rows that the projection shows */
    struct seg_model *model;           /* sealed at the end of fitting */
    struct seg_report report;
    double reported; /* the highest fraction that was reported */
};

/* A share of the whole run: what a callee reports as 0..1 of `as` arrives as base..base + span. */
struct stage {
    struct seg_progress as; /* pass &stage.as to the callee */
    struct pipeline *p;
    double base, span;
    const char *phase; /* first word of the message: "training" */
};
/* The stage must stay where it is while `as` is used. */
void stage_begin(struct stage *s, struct pipeline *p, double base, double span, const char *phase);
/* Cuts the stage of fitting by weights, in the order of the steps: sum is set, done starts at 0. */
struct steps {
    double done, sum;
};
/* The next step begins, which takes weight / sum of the stage. */
void step_begin(struct stage *s, struct pipeline *p, struct steps *steps, double weight);
/* Whether the caller wants the training to end. Any thread may ask. */
bool pipeline_cancelled(const struct pipeline *p);
/* Adds a sentence to the report. SEG_ENOMEM. */
__attribute__((format(printf, 2, 3))) enum seg_status pipeline_warn(struct pipeline *p,
                                                                    const char *fmt, ...);

/* A list for a warning: whole names as long as there is room, and how many there are. Starts as
 * {0}.
 */
struct names {
    char text[256];
    size_t used;
    uint32_t n;
};
/* Counts the name, and appends it if there is room. */
void names_add(struct names *names, const char *name);

/* Whether the spec makes sense for the data as it came. */
enum seg_status pipeline_check(const struct pipeline *p, struct seg_error *err);
/* The same once the parts are known. */
enum seg_status pipeline_check_parts(const struct pipeline *p, struct seg_error *err);

/* Whether p->t->from, if there is one, has the shape that the spec asks for. */
enum seg_status pipeline_check_from(const struct pipeline *p, struct seg_error *err);

/* The two tasks: fitting fills the model from p->x. */
enum seg_status pipeline_fit_segments(struct pipeline *p, struct seg_error *err);
enum seg_status pipeline_fit_classifier(struct pipeline *p, struct seg_error *err);
/* And evaluating fills the report, by the part that pipeline_evaluated_part names. */
enum seg_status pipeline_evaluate_segments(struct pipeline *p, struct seg_error *err);
enum seg_status pipeline_evaluate_classifier(struct pipeline *p, struct seg_error *err);

/* At most n_max rows of the training part, drawn without replacement by the seed, in row order: as
 * a new tiles of the embedding with its distances (k_prototypes), and their numbers in a new array,
 * NULL if all were taken. SEG_ENOMEM. */
enum seg_status pipeline_embed_sample(const struct pipeline *p, size_t n_max,
                                      struct seg_tiles *ret_x, uint32_t **ret_rows);
/* Finds the clusters of the training part in p->space: centroids and segment ids of the model. */
enum seg_status pipeline_cluster(struct pipeline *p, struct stage *stage, struct seg_error *err);
/* Sets *k where the spec leaves it open, by p->space; the stage is then shortened to what is left
 * of it. */
enum seg_status pipeline_choose_k(struct pipeline *p, struct stage *stage, uint32_t *k,
                                  struct seg_error *err);
/* The first n rows of centroids become the segments 1, 2, 3 … of the model; after a warm start
 * those of the earlier centroids that they come from, origins (n). */
enum seg_status pipeline_take_centroids(struct pipeline *p, const struct seg_matrix *centroids,
                                        uint32_t n, const uint32_t *origins);
/* Fills p->codes[part] by the model's autoencoder. consume: nothing reads p->x[part] again. */
enum seg_status pipeline_encode_part(struct pipeline *p, enum seg_part part, bool consume);
/* The same for all parts, which become p->space; rows that nobody reads again are freed. */
enum seg_status pipeline_encode_parts(struct pipeline *p);
/* The steps of deep_clustering: autoencoder, codes, centroids and segment ids. Their weight is
 * PIPELINE_DEEP_WEIGHT in all. */
#define PIPELINE_DEEP_WEIGHT 8.0
enum seg_status pipeline_fit_deep(struct pipeline *p, struct steps *steps, struct seg_error *err);
/* deep_clustering: its options with what else of the spec belongs to them. */
struct seg_deep_params pipeline_deep_params(const struct seg_spec *spec);
/* A new array with the segment of each row of a part, by the clusters alone. NULL: no memory. */
uint32_t *pipeline_label_part(const struct pipeline *p, enum seg_part part);

/* The picture of the training part, unless there is one: before its rows are turned to codes, else
 * when the model has been fitted, since nobody waits for it then. */
enum seg_status pipeline_project(struct pipeline *p);
/* What the finished model says about the points of the picture. */
enum seg_status pipeline_score_points(struct pipeline *p);

/* The part that figures are of: test when it has rows, else training. */
enum seg_part pipeline_evaluated_part(const struct pipeline *p);
/* Frees the rows of a part in every form. */
void pipeline_drop_part(struct pipeline *p, enum seg_part part);
/* Classification figures of the model on `part` against truth (n), whose x is consumed. */
enum seg_status pipeline_evaluate_probabilities(struct pipeline *p, enum seg_part part,
                                                const uint16_t *truth, struct seg_error *err);

/* The earlier model of a warm start; NULL when there is none, or only its encoder is taken. */
static inline const struct seg_model *pipeline_resumed(const struct pipeline *p)
{
    return p->t->encoder_only ? NULL : p->t->from;
}

/* Where the phases stand in the whole. */
#define FRACTION_PREPROCESSED 0.15
#define FRACTION_FITTED       0.90

#endif
