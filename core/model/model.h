/* model.h - a trained model: preprocessing, estimator and names, as one immutable,
 * reference-counted thing. Training and serving run the same code on it. Any number of threads may
 * score. The last unref frees. */
#ifndef SEG_MODEL_MODEL_H
#define SEG_MODEL_MODEL_H

#include "model/spec.h"
#include "neural/network.h"

struct seg_model;

/* One reference more; returns m. */
struct seg_model *seg_model_ref(struct seg_model *m);
/* One less; the last frees. NULL is fine. */
void seg_model_unref(struct seg_model *m);

/* What it was trained for, and by which row of the table of algorithms (spec.h). */
enum seg_task seg_model_task(const struct seg_model *m);
enum seg_algorithm seg_model_algorithm(const struct seg_model *m);
/* The raw features it reads, with the categories of training. */
const struct seg_schema *seg_model_inputs(const struct seg_model *m);
/* From these to the numbers that the algorithm works on. Borrowed, as all that a model gives. */
const struct seg_preprocess *seg_model_preprocess(const struct seg_model *m);
/* Share of the features that a row must have to get a result, 0..1. */
double seg_model_min_features_share(const struct seg_model *m);
/* Segments (segmentation: ids 1..n, result i is id seg_model_segment_id(m, i)) or classes. */
uint32_t seg_model_n_results(const struct seg_model *m);
/* Segmentation alone: the id, 1 or more, of result 0..n_results-1. */
uint32_t seg_model_segment_id(const struct seg_model *m, uint32_t result);
/* Classification: the name of class i, as in the data. Segmentation: NULL. */
const char *seg_model_class_name(const struct seg_model *m, uint32_t i);
/* What a category that differs adds to a squared distance; NaN unless the algorithm compares
 * categories. */
double seg_model_category_weight(const struct seg_model *m);
/* Columns of the space that a picture of the rows is of, and the name of column i, cut at size: the
 * columns of preprocessing; where categories are compared, the numbers and then a column for each
 * code of each category, "channel=app", the last of a category "channel=(other)". */
uint32_t seg_model_n_pictured(const struct seg_model *m);
void seg_model_pictured_name(const struct seg_model *m, uint32_t i, char *out, size_t size);
/* A segmentation by k-means without head gives none. */
bool seg_model_has_probabilities(const struct seg_model *m);
/* Segmentations have, classifiers have not. */
bool seg_model_has_distance(const struct seg_model *m);
/* (k, n_out) centroids in the preprocessed space, decoded by the autoencoder where there is one;
 * columns of codes hold the code of the most frequent category. A new matrix. SEG_EINVAL for
 * classification. */
enum seg_status seg_model_centroids(const struct seg_model *m, struct seg_matrix *ret_c);

enum seg_row_status { SEG_ROW_OK = 0, SEG_ROW_INSUFFICIENT = 1 };

/* What a tile of rows got. Arrays are the caller's. */
struct seg_scores {
    uint8_t status[SEG_TILE_ROWS];   /* enum seg_row_status */
    uint32_t result[SEG_TILE_ROWS];  /* index of the segment or class */
    float confidence[SEG_TILE_ROWS]; /* probability of the result (deep_clustering: its degree);
                                        without probabilities 1 - d1 / d2: distance to the nearest
                                        and the second centroid (1 if d2 = 0 or k = 1) */
    float distance[SEG_TILE_ROWS];   /* Euclidean distance (where categories are compared that of
                                        cluster/mixed.h) to the centroid of the result in the space
                                        of the centroids; NaN for classification */
    float *probabilities; /* (n_results, 64) column of row r: [i * 64 + r]; NULL when not wanted or
                             the model has none */
    uint64_t *missing;    /* (n_features) bit r: row r has no value for the feature; NULL when not
                             wanted */
};
/* Floats of scratch that scoring wants (aligned to 64 bytes). */
size_t seg_model_scratch(const struct seg_model *m);
/* Scores the first n_rows (1..64) rows of a raw tile (inputs.n_cells, 64). No allocation, no lock.
 * The bits of a row depend on that row alone. With a head the result is the head's most probable
 * segment, else the nearest centroid's. */
void seg_model_score_tile(const struct seg_model *m, const float *raw, unsigned n_rows,
                          float *scratch, struct seg_scores *out);
/* Bit r of ret_unseen[f] (n_features): row r of a raw tile has a category that training never saw.
 */
void seg_model_unseen(const struct seg_model *m, const float *raw, uint64_t *ret_unseen);

/* The stored form: safetensors. meta (key, value, …, NULL) goes to its metadata; keys format and
 * kind are ours. SEG_ENOMEM. */
enum seg_status seg_model_save(const struct seg_model *m, const char *const *meta,
                               uint8_t **ret_bytes, size_t *ret_len);
/* Everything is checked, so that no bytes can make scoring read out of bounds or give NaN.
 * SEG_EFORMAT, SEG_ENOMEM. */
enum seg_status seg_model_load(const uint8_t *bytes, size_t len, struct seg_model **ret_m,
                               struct seg_error *err);

#endif
