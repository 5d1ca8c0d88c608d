/* A new option is a row here; a new algorithm is a case in spec_algorithm_tables. */
#include "spec_tables.h"

#include "model/mlp_search.h"

static const char *const IMPUTE_NAMES[] = { "mean",     "median", "mode", "zero",
                                            "constant", "error",  NULL };
static const char *const OUTLIERS_NAMES[] = { "none", "winsorize", "iqr", "zscore", NULL };
static const char *const TRANSFORM_NAMES[] = { "none",     "log1p", "yeo_johnson",
                                               "quantile", "bins",  NULL };
static const char *const SCALE_NAMES[] = {
    "none", "standard", "min_max", "robust", "max_abs", NULL
};
static const char *const ENCODE_NAMES[] = { "one_hot", "ordinal",   "hash", "target",
                                            "code",    "embedding", NULL };
static const char *const INIT_NAMES[] = { "kmeans++", "random", "kmeans||", NULL };
static const char *const PROTOTYPE_INIT_NAMES[] = { "kmeans++", "random", NULL };
static const char *const COVARIANCE_NAMES[] = { "diagonal", "full", NULL };
static const char *const ACTIVATION_NAMES[] = { "relu", "sigmoid", "tanh", "gelu", NULL };
static const char *const OPTIMIZER_NAMES[] = { "adam", "adamw", "sgd", NULL };
static const char *const SCHEDULE_NAMES[] = { "constant", "cosine", "step", NULL };
static const char *const NORMALIZATION_NAMES[] = { "none", "batch", "layer", NULL };
static const char *const SPACE_NAMES[] = { "basic", "wide", NULL };
static const char *const WEIGHT_NAMES[] = { "none", "balanced", NULL };
const char *const TASK_NAMES[] = { "segmentation", "classification", NULL };
const char *const PROMOTE_NAMES[] = { "always", "if_better", "never", NULL };

static const struct field kmeans_fields[] = {
    ENUM("init", seg_kmeans_params, init, INIT_NAMES),
    U32("n_init", seg_kmeans_params, n_init, 1, 100),
    U32("max_iterations", seg_kmeans_params, n_iter_max, 1, 10000),
    F64("tolerance", seg_kmeans_params, tol, 0, 1),
    F64("min_segment_share", seg_kmeans_params, min_share, 0, 0.5),
};
static const struct field network_fields[] = {
    ENUM("activation", seg_train_params, activation, ACTIVATION_NAMES),
    F64("dropout", seg_train_params, dropout, 0, 0.9),
    F64("l2", seg_train_params, l2, 0, 1e3),
    ENUM("optimizer", seg_train_params, optimizer, OPTIMIZER_NAMES),
    { "learning_rate", FIELD_F64, offsetof(struct seg_train_params, learning_rate), 0, 10, NULL,
      true },
    F64("momentum", seg_train_params, momentum, 0, 1),
    U32("batch_size", seg_train_params, batch_size, 1, 65536),
    U32("epochs", seg_train_params, epochs, 1, 10000),
    U32("patience", seg_train_params, patience, 0, 10000),
    ENUM("schedule", seg_train_params, schedule, SCHEDULE_NAMES),
    U32("warmup_epochs", seg_train_params, warmup_epochs, 0, 10000),
    F64("cosine_floor", seg_train_params, cosine_floor, 0, 1),
    U32("step_epochs", seg_train_params, step_epochs, 1, 10000),
    { "step_factor", FIELD_F64, offsetof(struct seg_train_params, step_factor), 0, 1, NULL, true },
    F64("clip_norm", seg_train_params, clip_norm, 0, 1e6),
    ENUM("normalization", seg_train_params, normalization, NORMALIZATION_NAMES),
};
static const struct field classifier_fields[] = {
    ENUM("class_weight", seg_train_params, class_weight, WEIGHT_NAMES),
    F64("label_smoothing", seg_train_params, label_smoothing, 0, 0.99),
};
static const struct field gmm_fields[] = {
    ENUM("covariance", seg_gmm_params, covariance, COVARIANCE_NAMES),
    U32("n_init", seg_gmm_params, n_init, 1, 100),
    U32("max_iterations", seg_gmm_params, n_iter_max, 1, 10000),
    F64("tolerance", seg_gmm_params, tol, 0, 1),
    F64("regularisation", seg_gmm_params, regularisation, 1e-12, 1e12),
};
static const struct field minibatch_fields[] = {
    ENUM("init", seg_minibatch_params, init, INIT_NAMES),
    U32("n_init", seg_minibatch_params, n_init, 1, 100),
    U32("batch_size", seg_minibatch_params, batch_size, 1, SEG_MINIBATCH_SIZE_MAX),
    U32("max_iterations", seg_minibatch_params, n_iter_max, 1, 100000),
    F64("tolerance", seg_minibatch_params, tol, 0, 1),
    U32("patience", seg_minibatch_params, patience, 0, 10000),
};
static const struct field prototypes_fields[] = {
    ENUM("init", seg_prototypes_params, init, PROTOTYPE_INIT_NAMES),
    U32("n_init", seg_prototypes_params, n_init, 1, 100),
    U32("max_iterations", seg_prototypes_params, n_iter_max, 1, 10000),
    F64("tolerance", seg_prototypes_params, tol, 0, 1),
};
static const struct field deep_fields[] = {
    U32("pretrain_epochs", seg_deep_params, pretrain_epochs, 1, 10000),
    { "gamma", FIELD_F64, offsetof(struct seg_deep_params, gamma), 0, 1000, NULL, true },
    U32("update_interval", seg_deep_params, update_interval, 0, 1000000),
    F64("tolerance", seg_deep_params, tolerance, 0, 1),
    U32("n_init", seg_deep_params, n_init, 1, 100),
    U32("neighbours", seg_deep_params, neighbours, 0, SEG_NEIGHBOURS_MAX),
    U32("smoothing", seg_deep_params, smoothing, 0, 1000),
};
/* Read and written where it is not "auto". */
static const struct field category_weight_fields[] = {
    F64("category_weight", seg_prototypes_params, weight, 0, SEG_MIXED_WEIGHT_MAX),
};
/* Read and written where "k" is "auto". */
static const struct field k_range_fields[] = {
    U32("k_min", seg_spec, k_min, 2, SEG_K_MAX),
    U32("k_max", seg_spec, k_max, 2, SEG_K_MAX),
};
static const struct field search_fields[] = {
    U32("trials", seg_spec, search_trials, 1, SEG_MLP_TRIALS_MAX),
    F64("seconds", seg_spec, search_seconds, 0, 86400),
    ENUM("space", seg_spec, search_space, SPACE_NAMES),
};
static const struct field cv_fields[] = {
    U32("cv", seg_spec, cv_folds, 2, SEG_MLP_FOLDS_MAX),
};
static const struct field column_fields[] = {
    ENUM("impute", seg_column_spec, impute, IMPUTE_NAMES),
    BOOL("indicator", seg_column_spec, indicator),
    ENUM("transform", seg_column_spec, transform, TRANSFORM_NAMES),
    U32("n_bins", seg_column_spec, n_bins, 2, SEG_BINS_MAX),
    ENUM("scale", seg_column_spec, scale, SCALE_NAMES),
    ENUM("encode", seg_column_spec, encode, ENCODE_NAMES),
    U32("max_categories", seg_column_spec, max_categories, 1, 4096),
    U32("hash_buckets", seg_column_spec, hash_buckets, 1, 4096),
    U32("embedding_size", seg_column_spec, embedding_size, 0, SEG_EMBEDDING_SIZE_MAX),
};
static const struct field drop_fields[] = {
    BOOL("drop", seg_column_spec, left_out),
};
static const struct field outlier_fields[] = {
    ENUM("method", seg_column_spec, outliers, OUTLIERS_NAMES),
    F64("lower", seg_column_spec, lower, 0, 1),
    F64("upper", seg_column_spec, upper, 0, 1),
    { "threshold", FIELD_F64, offsetof(struct seg_column_spec, threshold), 0, 1e6, NULL, true },
};
static const struct field pca_fields[] = {
    U32("components", seg_pca_spec, n_components, 1, SEG_PCA_COLUMNS_MAX),
    { "variance", FIELD_F64, offsetof(struct seg_pca_spec, variance), 0, 1, NULL, true },
    BOOL("whiten", seg_pca_spec, whiten),
};
static const struct field split_fields[] = {
    F64("test", seg_spec, test, 0, 0.9),
    F64("validation", seg_spec, validation, 0, 0.9),
};
static const struct field spec_fields[] = {
    F64("min_features_share", seg_spec, min_features_share, 0, 1),
};
static const struct field outcome_fields[] = {
    BOOL("label", train_spec, label),
    ENUM("promote", train_spec, promote, PROMOTE_NAMES),
};

#define LIST(fields)                                                                               \
    {                                                                                              \
        fields, sizeof(fields) / sizeof((fields)[0])                                               \
    }
static const struct field_list KMEANS_FIELDS = LIST(kmeans_fields);
static const struct field_list GMM_FIELDS = LIST(gmm_fields);
static const struct field_list MINIBATCH_FIELDS = LIST(minibatch_fields);
static const struct field_list PROTOTYPES_FIELDS = LIST(prototypes_fields);
static const struct field_list DEEP_FIELDS = LIST(deep_fields);
static const struct field_list NETWORK_FIELDS = LIST(network_fields);
static const struct field_list CLASSIFIER_FIELDS = LIST(classifier_fields);
const struct field_list CATEGORY_WEIGHT_FIELDS = LIST(category_weight_fields);
const struct field_list K_RANGE_FIELDS = LIST(k_range_fields);
const struct field_list SEARCH_FIELDS = LIST(search_fields);
const struct field_list CV_FIELDS = LIST(cv_fields);
const struct field_list COLUMN_FIELDS = LIST(column_fields);
const struct field_list DROP_FIELDS = LIST(drop_fields);
const struct field_list OUTLIER_FIELDS = LIST(outlier_fields);
const struct field_list PCA_FIELDS = LIST(pca_fields);
const struct field_list SPLIT_FIELDS = LIST(split_fields);
const struct field_list SPEC_FIELDS = LIST(spec_fields);
const struct field_list OUTCOME_FIELDS = LIST(outcome_fields);

size_t spec_mlp_tables(struct seg_train_params *p, struct field_table ret[SPEC_TABLES_MAX])
{
    ret[0] = field_table(&NETWORK_FIELDS, p);
    ret[1] = field_table(&CLASSIFIER_FIELDS, p);
    return 2;
}

size_t spec_algorithm_tables(struct seg_spec *s, struct field_table ret[SPEC_TABLES_MAX])
{
    switch (s->algorithm) {
    case SEG_KMEANS: ret[0] = field_table(&KMEANS_FIELDS, &s->kmeans); return 1;
    case SEG_GMM: ret[0] = field_table(&GMM_FIELDS, &s->gmm); return 1;
    case SEG_AUTOENCODER_KMEANS:
        ret[0] = field_table(&KMEANS_FIELDS, &s->kmeans);
        ret[1] = field_table(&NETWORK_FIELDS, &s->autoencoder);
        return 2;
    case SEG_MINIBATCH_KMEANS: ret[0] = field_table(&MINIBATCH_FIELDS, &s->minibatch); return 1;
    case SEG_K_PROTOTYPES: ret[0] = field_table(&PROTOTYPES_FIELDS, &s->prototypes); return 1;
    case SEG_DEEP_CLUSTERING:
        ret[0] = field_table(&DEEP_FIELDS, &s->deep);
        ret[1] = field_table(&NETWORK_FIELDS, &s->autoencoder);
        return 2;
    case SEG_MLP: return spec_mlp_tables(&s->mlp, ret);
    default: return 0;
    }
}
