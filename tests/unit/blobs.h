/* blobs.h - small trainings for the tests of core/model: three well separated groups of users with
 * numbers, a category and a vector, and a spec for every algorithm. */
#ifndef TESTS_UNIT_BLOBS_H
#define TESTS_UNIT_BLOBS_H

#include <math.h>
#include <stdarg.h>
#include <setjmp.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
#include "base/alloc.h"
#include "base/rng.h"
#include "model/pipeline.h"

#define N_BLOBS         3u
#define BLOB_FEATURES   4u /* a, b: numbers; channel: category; taste: vector of 2 */
#define BLOB_CELLS      5u
#define BLOB_CENTER_GAP 10.0

static const char *const BLOB_CLASSES[N_BLOBS] = { "new", "loyal", "lapsed" };

struct blobs {
    struct seg_table table;
    struct seg_spec spec;
    uint16_t *y; /* (n_rows) the group of each row: i % 3 */
    struct seg_training training;
};

static inline void blobs_schema(struct seg_schema *s)
{
    seg_schema_init(s);
    assert_int_equal(seg_schema_add(s, "a", SEG_NUMERIC, 1, NULL), SEG_OK);
    assert_int_equal(seg_schema_add(s, "b", SEG_NUMERIC, 1, NULL), SEG_OK);
    assert_int_equal(seg_schema_add(s, "channel", SEG_CATEGORICAL, 1, NULL), SEG_OK);
    assert_int_equal(seg_schema_add(s, "taste", SEG_VECTOR, 2, NULL), SEG_OK);
    static const char *const CHANNELS[] = { "app", "web" };
    for (int i = 0; i < 2; i++) {
        uint32_t code;
        assert_int_equal(seg_dictionary_add(&s->features[2].dictionary, CHANNELS[i], 3, &code),
                         SEG_OK);
    }
}

/* Row i of group i % 3: numbers around the group's corner of a triangle, spread 1. */
static inline void blobs_fill(struct seg_table *t, size_t n_rows, double spread)
{
    static const double CENTERS[N_BLOBS][2] = { { 0, 0 },
                                                { BLOB_CENTER_GAP, 0 },
                                                { 0, BLOB_CENTER_GAP } };
    struct seg_rng rng = seg_rng_make(11, 1);
    for (size_t i = 0; i < n_rows; i++) {
        size_t row;
        assert_int_equal(seg_table_add_row(t, &row), SEG_OK);
        const double *center = CENTERS[i % N_BLOBS];
        for (uint32_t c = 0; c < 2; c++)
            seg_table_cell(t, row, c)->number = (float)(center[c] + spread * seg_rng_normal(&rng));
        seg_table_cell(t, row, 2)->code = i % N_BLOBS == 2;
        for (uint32_t c = 3; c < BLOB_CELLS; c++)
            seg_table_cell(t, row, c)->number =
                (float)(center[c - 3] / 5 + spread * seg_rng_normal(&rng));
    }
}

static inline struct seg_train_params blobs_network(uint32_t epochs)
{
    return (struct seg_train_params){ .hidden = { 10 },
                                      .n_hidden = 1,
                                      .activation = SEG_RELU,
                                      .optimizer = SEG_ADAM,
                                      .learning_rate = 0.01,
                                      .batch_size = 32,
                                      .epochs = epochs,
                                      .patience = 0,
                                      .seed = 5 };
}

/* n_rows users in three groups, and a complete spec for the algorithm: k 3, no split. */
static inline void blobs_init(struct blobs *b, enum seg_algorithm algorithm, bool has_head,
                              size_t n_rows, double spread)
{
    *b = (struct blobs){ .y = NULL };
    struct seg_schema schema;
    blobs_schema(&schema);
    seg_table_init(&b->table, &schema);
    blobs_fill(&b->table, n_rows, spread);
    b->y = seg_alloc(n_rows, sizeof *b->y);
    assert_non_null(b->y);
    for (size_t i = 0; i < n_rows; i++)
        b->y[i] = (uint16_t)(i % N_BLOBS);

    struct seg_column_spec *columns = seg_calloc(BLOB_FEATURES, sizeof *columns);
    assert_non_null(columns);
    for (uint32_t f = 0; f < BLOB_FEATURES; f++)
        columns[f] = (struct seg_column_spec){ .impute = f == 2 ? SEG_IMPUTE_MODE : SEG_IMPUTE_MEAN,
                                               .scale = SEG_SCALE_STANDARD,
                                               .encode = seg_algorithm_info(algorithm)->categories
                                                             ? SEG_ENCODE_CODE
                                                             : SEG_ENCODE_ONE_HOT,
                                               .max_categories = 8,
                                               .hash_buckets = 8 };
    b->spec = (struct seg_spec){
        .task = seg_algorithm_info(algorithm)->task,
        .algorithm = algorithm,
        .kmeans = { .k = 3, .n_init = 3, .n_iter_max = 100, .tol = 0, .seed = 7 },
        .gmm = { .covariance = SEG_COVARIANCE_FULL,
                 .n_init = 2,
                 .n_iter_max = 100,
                 .tol = 1e-3,
                 .regularisation = 1e-6 },
        .minibatch = { .n_init = 3, .batch_size = 64, .n_iter_max = 300, .patience = 10 },
        .prototypes = { .n_init = 3, .n_iter_max = 100, .weight_auto = true },
        .encoder = { 8, 2 },
        .n_encoder = 2,
        .autoencoder = blobs_network(30),
        .deep = { .pretrain_epochs = 20,
                  .gamma = 0.2,
                  .tolerance = 1e-3,
                  .n_init = 3,
                  .neighbours = 4,
                  .smoothing = 5 },
        .has_head = has_head,
        .mlp = blobs_network(30),
        .min_features_share = 0.5,
        .seed = 42,
        .columns = columns,
        .n_columns = BLOB_FEATURES,
    };
    b->spec.autoencoder.activation = SEG_TANH;
    bool classify = b->spec.task == SEG_CLASSIFICATION;
    b->training = (struct seg_training){ .spec = &b->spec,
                                         .table = &b->table,
                                         .y = classify ? b->y : NULL,
                                         .class_names = classify ? BLOB_CLASSES : NULL,
                                         .n_classes = classify ? N_BLOBS : 0 };
}

static inline void blobs_release(struct blobs *b)
{
    seg_spec_release(&b->spec);
    seg_table_release(&b->table);
    seg_free(b->y);
}

/* Trains and fails the test with the sentence when that fails. */
static inline struct seg_model *blobs_train(struct blobs *b, struct seg_pool *pool,
                                            struct seg_report *ret_report)
{
    struct seg_error err = { "" };
    struct seg_model *m = NULL;
    enum seg_status st = seg_train(pool, &b->training, &m, ret_report, &err);
    if (st != SEG_OK) fail_msg("%s: %s", seg_status_name(st), err.text);
    return m;
}

/* The stored form of m is kept in *first, NULL before the first call, and must be the same from
 * then on. The caller frees it. */
static inline void blobs_same_bytes(const struct seg_model *m, uint8_t **first, size_t *first_len)
{
    uint8_t *bytes = NULL;
    size_t len = 0;
    assert_int_equal(seg_model_save(m, NULL, &bytes, &len), SEG_OK);
    if (*first == NULL) {
        *first = bytes;
        *first_len = len;
        return;
    }
    assert_int_equal(len, *first_len);
    assert_memory_equal(bytes, *first, len);
    seg_free(bytes);
}

/* Does one of the warnings say so? */
static inline bool has_warning(const struct seg_report *r, const char *part)
{
    for (size_t i = 0; i < r->n_warnings; i++)
        if (strstr(r->warnings[i], part) != NULL) return true;
    return false;
}

/* A trained model of 150 users; its report is dropped. */
static inline struct seg_model *blobs_model(enum seg_algorithm algorithm, bool has_head)
{
    struct blobs b;
    struct seg_report report = { 0 };
    blobs_init(&b, algorithm, has_head, 150, 1.0);
    struct seg_model *m = blobs_train(&b, NULL, &report);
    seg_report_release(&report);
    blobs_release(&b);
    return m;
}

/* The kinds of model that behave differently. */
struct blobs_kind {
    const char *name;
    enum seg_algorithm algorithm;
    bool has_head;
};
static const struct blobs_kind BLOB_KINDS[] = {
    { "kmeans", SEG_KMEANS, false },
    { "kmeans with a head", SEG_KMEANS, true },
    { "gmm", SEG_GMM, false },
    { "gmm with a head", SEG_GMM, true },
    { "autoencoder_kmeans", SEG_AUTOENCODER_KMEANS, false },
    { "autoencoder_kmeans with a head", SEG_AUTOENCODER_KMEANS, true },
    { "minibatch_kmeans", SEG_MINIBATCH_KMEANS, false },
    { "k_prototypes", SEG_K_PROTOTYPES, false },
    { "k_prototypes with a head", SEG_K_PROTOTYPES, true },
    { "deep_clustering", SEG_DEEP_CLUSTERING, false },
    { "deep_clustering with a head", SEG_DEEP_CLUSTERING, true },
    { "mlp", SEG_MLP, false },
};
#define N_BLOB_KINDS (sizeof BLOB_KINDS / sizeof BLOB_KINDS[0])

#endif
