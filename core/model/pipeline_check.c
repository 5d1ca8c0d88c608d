/* pipeline_check.c - whether a spec makes sense for the data, said in sentences for API users.
 * Runs before any work, so that a hopeless job ends at once. */
#include "model/pipeline_private.h"

#include "base/alloc.h"

static enum seg_status check_columns(const struct pipeline *p, struct seg_error *err)
{
    const struct seg_table *table = p->t->table;
    if (table->schema.n_features == 0)
        return seg_fail(err, SEG_EINVAL, "there is no feature to train on");
    if (table->cells.n_rows == 0) return seg_fail(err, SEG_EINVAL, "the feature set has no users");
    if (p->spec->n_columns != table->schema.n_features)
        return seg_fail(err, SEG_EINVAL, "the spec describes %u features but the data has %u",
                        p->spec->n_columns, table->schema.n_features);
    return SEG_OK;
}

/* Codes are names: only an algorithm that compares them may have them, and it wants one; vectors
 * are learned by the network of a classifier. */
static enum seg_status check_encodings(const struct pipeline *p, struct seg_error *err)
{
    const struct seg_algorithm_info *algorithm = seg_algorithm_info(p->spec->algorithm);
    const struct seg_schema *schema = &p->t->table->schema;
    uint32_t n_codes = 0;
    for (uint32_t i = 0; i < schema->n_features; i++) {
        bool is_code = p->spec->columns[i].encode == SEG_ENCODE_CODE;
        if (schema->features[i].type != SEG_CATEGORICAL) continue;
        if (p->spec->columns[i].encode == SEG_ENCODE_EMBEDDING &&
            (p->spec->algorithm != SEG_MLP || p->spec->pca.wanted))
            return seg_fail(err, SEG_EINVAL, "feature %s: %s cannot have embeddings",
                            schema->features[i].name,
                            p->spec->pca.wanted ? "pca" : algorithm->name);
        if (is_code != algorithm->categories)
            return seg_fail(err, SEG_EINVAL, "feature %s: %s %s its categories encoded as code",
                            schema->features[i].name, algorithm->name,
                            algorithm->categories ? "wants" : "cannot have");
        n_codes += is_code;
    }
    if (algorithm->categories && n_codes == 0)
        return seg_fail(err, SEG_EINVAL, "%s needs a categorical feature: without one it is kmeans",
                        algorithm->name);
    return SEG_OK;
}

static enum seg_status check_shares(const struct seg_spec *spec, struct seg_error *err)
{
    double test = spec->test, validation = spec->validation, least = spec->min_features_share;
    if (!(test >= 0 && validation >= 0 && test + validation < 1))
        return seg_fail(err, SEG_EINVAL,
                        "split leaves nothing to train on: test %g and validation %g (limit: each "
                        ">= 0, sum < 1)",
                        test, validation);
    if (!(least >= 0 && least <= 1))
        return seg_fail(err, SEG_EINVAL, "min_features_share is %g (limit 0..1)", least);
    return SEG_OK;
}

/* "1 user", "3 users". */
static const char *plural(size_t n)
{
    return n == 1 ? "" : "s";
}

static enum seg_status check_segmentation(const struct pipeline *p, struct seg_error *err)
{
    const struct seg_spec *spec = p->spec;
    size_t n_rows = p->t->table->cells.n_rows;
    const char *wrong;

    const struct seg_k_search_params search = { .k_min = spec->k_min,
                                                .k_max = spec->k_max,
                                                .kmeans = spec->kmeans };
    if (spec->k_auto && (wrong = seg_k_search_check(&search, n_rows)) != NULL)
        return seg_fail(err, SEG_EINVAL, "%s", wrong);
    if (spec->kmeans.k > n_rows)
        return seg_fail(err, SEG_EINVAL, "k is %u but the feature set has only %zu user%s",
                        spec->kmeans.k, n_rows, plural(n_rows));
    wrong = seg_kmeans_check(&spec->kmeans, n_rows);
    if (wrong != NULL) return seg_fail(err, SEG_EINVAL, "%s", wrong);
    struct seg_gmm_params mixture = spec->gmm;
    mixture.k = spec->k_auto ? spec->k_max : spec->kmeans.k;
    if (spec->algorithm == SEG_GMM && (wrong = seg_gmm_check(&mixture, n_rows)) != NULL)
        return seg_fail(err, SEG_EINVAL, "%s", wrong);
    struct seg_minibatch_params minibatch = spec->minibatch;
    minibatch.k = spec->kmeans.k;
    if (spec->algorithm == SEG_MINIBATCH_KMEANS &&
        (wrong = seg_minibatch_check(&minibatch, n_rows)) != NULL)
        return seg_fail(err, SEG_EINVAL, "%s", wrong);
    struct seg_prototypes_params prototypes = spec->prototypes;
    prototypes.k = spec->kmeans.k;
    if (spec->algorithm == SEG_K_PROTOTYPES &&
        (wrong = seg_prototypes_check(&prototypes, n_rows)) != NULL)
        return seg_fail(err, SEG_EINVAL, "%s", wrong);
    if (spec->has_head && (wrong = seg_train_check(&spec->mlp)) != NULL)
        return seg_fail(err, SEG_EINVAL, "head: %s", wrong);
    if (!seg_algorithm_info(spec->algorithm)->encoder) return SEG_OK;

    if (spec->n_encoder < 1 || spec->n_encoder > SEG_LAYERS_MAX / 2)
        return seg_fail(err, SEG_EINVAL, "encoder has %u layers (limit 1..%u)", spec->n_encoder,
                        SEG_LAYERS_MAX / 2);
    for (uint32_t i = 0; i < spec->n_encoder; i++)
        if (spec->encoder[i] < 1 || spec->encoder[i] > SEG_UNITS_MAX)
            return seg_fail(err, SEG_EINVAL, "encoder layer %u has %u units (limit 1..%u)", i + 1,
                            spec->encoder[i], SEG_UNITS_MAX);
    wrong = seg_train_check(&spec->autoencoder);
    if (wrong != NULL) return seg_fail(err, SEG_EINVAL, "autoencoder: %s", wrong);
    if (spec->algorithm != SEG_DEEP_CLUSTERING) return SEG_OK;
    const struct seg_deep_params deep = pipeline_deep_params(spec);
    wrong = seg_deep_check(&deep);
    if (wrong != NULL) return seg_fail(err, SEG_EINVAL, "deep_clustering: %s", wrong);
    return SEG_OK;
}

static enum seg_status check_classes(const struct pipeline *p, struct seg_error *err)
{
    const struct seg_training *t = p->t;
    size_t n_rows = t->table->cells.n_rows;
    uint32_t n_used = 0, last_used = 0;

    const char *wrong = seg_train_check(&p->spec->mlp);
    if (wrong != NULL) return seg_fail(err, SEG_EINVAL, "%s", wrong);
    const struct seg_mlp_search_params search = { .trials = p->spec->search_trials,
                                                  .seconds_max = p->spec->search_seconds,
                                                  .space = p->spec->search_space,
                                                  .base = p->spec->mlp };
    const struct seg_mlp_cv_params cv = { .folds = p->spec->cv_folds,
                                          .validation = p->spec->validation,
                                          .train = p->spec->mlp };
    if (p->spec->search_trials > 0) wrong = seg_mlp_search_check(&search);
    if (wrong == NULL && p->spec->cv_folds > 0) wrong = seg_mlp_cv_check(&cv, n_rows);
    if (wrong != NULL) return seg_fail(err, SEG_EINVAL, "%s", wrong);
    if (p->spec->search_trials > 0 && p->spec->validation == 0)
        return seg_fail(err, SEG_EINVAL, "a search needs a validation part: split.validation is 0");
    if (t->y == NULL || t->class_names == NULL)
        return seg_fail(err, SEG_EINVAL, "classification needs a target");
    if (t->n_classes > SEG_CLASSES_MAX)
        return seg_fail(err, SEG_EINVAL, "the target has %u classes (limit %u)", t->n_classes,
                        SEG_CLASSES_MAX);

    bool *used = seg_calloc(t->n_classes, sizeof(*used));
    if (used == NULL) return SEG_ENOMEM;
    enum seg_status st = SEG_OK;
    for (size_t row = 0; row < n_rows; row++) {
        uint16_t class = t->y[row];
        if (class >= t->n_classes) {
            st = seg_fail(err, SEG_EINVAL, "row %zu has class %u of only %u", row, class,
                          t->n_classes);
            goto out;
        }
        n_used += !used[class];
        used[class] = true;
        last_used = class;
    }
    if (n_used < 2)
        st = seg_fail(err, SEG_EINVAL, "the target has only one class: \"%s\" (at least 2)",
                      t->class_names[last_used]);
out:
    seg_free(used);
    return st;
}

enum seg_status pipeline_check(const struct pipeline *p, struct seg_error *err)
{
    const struct seg_algorithm_info *algorithm = seg_algorithm_info(p->spec->algorithm);
    if (algorithm->task != p->spec->task)
        return seg_fail(err, SEG_EINVAL, "algorithm %s does not do that task", algorithm->name);
    enum seg_status st = check_columns(p, err);
    if (st == SEG_OK) st = check_encodings(p, err);
    if (st == SEG_OK) st = check_shares(p->spec, err);
    if (st != SEG_OK) return st;
    st = algorithm->task == SEG_CLASSIFICATION ? check_classes(p, err) : check_segmentation(p, err);
    return st == SEG_OK ? pipeline_check_from(p, err) : st;
}

enum seg_status pipeline_check_parts(const struct pipeline *p, struct seg_error *err)
{
    size_t n_rows = p->t->table->cells.n_rows;
    size_t n_train = p->report.n_rows[SEG_PART_TRAIN];
    uint32_t k = p->spec->k_auto ? p->spec->k_max : p->spec->kmeans.k;

    if (n_train == 0)
        return seg_fail(err, SEG_EINVAL, "the split leaves none of %zu user%s to train on", n_rows,
                        plural(n_rows));
    if (p->spec->task == SEG_SEGMENTATION && k > n_train)
        return seg_fail(err, SEG_EINVAL,
                        "k is %u but the split leaves only %zu of %zu users to "
                        "train on",
                        k, n_train, n_rows);
    return SEG_OK;
}
