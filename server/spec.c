/* Every option of a spec is a row in one of the tables below: key, type, range, place. Reading,
 * writing and the complaints about unknown keys all come from the rows. */
#include "spec.h"

#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

enum field_type { FIELD_U32, FIELD_F64, FIELD_BOOL, FIELD_ENUM };

struct field {
    const char *key;
    enum field_type type;
    size_t offset;            /* in the struct that the table is about */
    double min, max;          /* numbers */
    const char *const *names; /* enums: NULL-terminated, by value */
    bool above_min;           /* min itself is not allowed */
};

static const char *const IMPUTE_NAMES[] = { "mean",     "median", "mode", "zero",
                                            "constant", "error",  NULL };
static const char *const OUTLIERS_NAMES[] = { "none", "winsorize", "iqr", "zscore", NULL };
static const char *const TRANSFORM_NAMES[] = { "none", "log1p", "yeo_johnson", "quantile", NULL };
static const char *const SCALE_NAMES[] = {
    "none", "standard", "min_max", "robust", "max_abs", NULL
};
static const char *const ENCODE_NAMES[] = { "one_hot", "ordinal", "hash", "target", NULL };
static const char *const INIT_NAMES[] = { "kmeans++", "random", NULL };
static const char *const ACTIVATION_NAMES[] = { "relu", "sigmoid", "tanh", "gelu", NULL };
static const char *const OPTIMIZER_NAMES[] = { "adam", "adamw", "sgd", NULL };
static const char *const WEIGHT_NAMES[] = { "none", "balanced", NULL };
static const char *const TASK_NAMES[] = { "segmentation", "classification", NULL };
static const char *const PROMOTE_NAMES[] = { "always", "if_better", "never", NULL };

#define U32(key, s, m, min, max)                                                                   \
    {                                                                                              \
        key, FIELD_U32, offsetof(struct s, m), min, max, NULL, false                               \
    }
#define F64(key, s, m, min, max)                                                                   \
    {                                                                                              \
        key, FIELD_F64, offsetof(struct s, m), min, max, NULL, false                               \
    }
#define ENUM(key, s, m, names)                                                                     \
    {                                                                                              \
        key, FIELD_ENUM, offsetof(struct s, m), 0, 0, names, false                                 \
    }

static const struct field KMEANS_FIELDS[] = {
    U32("k", seg_kmeans_params, k, 1, SEG_K_MAX),
    ENUM("init", seg_kmeans_params, init, INIT_NAMES),
    U32("n_init", seg_kmeans_params, n_init, 1, 100),
    U32("max_iterations", seg_kmeans_params, n_iter_max, 1, 10000),
    F64("tolerance", seg_kmeans_params, tol, 0, 1),
    F64("min_segment_share", seg_kmeans_params, min_share, 0, 0.5),
};
static const struct field NETWORK_FIELDS[] = {
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
};
static const struct field CLASSIFIER_FIELDS[] = { ENUM("class_weight", seg_train_params,
                                                       class_weight, WEIGHT_NAMES) };
static const struct field COLUMN_FIELDS[] = {
    ENUM("impute", seg_column_spec, impute, IMPUTE_NAMES),
    { "indicator", FIELD_BOOL, offsetof(struct seg_column_spec, indicator), 0, 0, NULL, false },
    ENUM("transform", seg_column_spec, transform, TRANSFORM_NAMES),
    ENUM("scale", seg_column_spec, scale, SCALE_NAMES),
    ENUM("encode", seg_column_spec, encode, ENCODE_NAMES),
    U32("max_categories", seg_column_spec, max_categories, 1, 4096),
    U32("hash_buckets", seg_column_spec, hash_buckets, 1, 4096),
};
static const struct field OUTLIER_FIELDS[] = {
    ENUM("method", seg_column_spec, outliers, OUTLIERS_NAMES),
    F64("lower", seg_column_spec, lower, 0, 1),
    F64("upper", seg_column_spec, upper, 0, 1),
    { "threshold", FIELD_F64, offsetof(struct seg_column_spec, threshold), 0, 1e6, NULL, true },
};
static const struct field SPLIT_FIELDS[] = {
    F64("test", seg_spec, test, 0, 0.9),
    F64("validation", seg_spec, validation, 0, 0.9),
};
#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* What reading carries around: where the current object stands, and who hears of faults. */
struct reader {
    struct seg_arena *arena;
    struct faults *faults;
};

static const char *member_pointer(struct reader *r, const char *base, const char *key)
{
    char *p = seg_arena_printf(r->arena, "%s/%s", base, key);
    return p ? p : base;
}

/* "a, b or c" for a message. */
static const char *name_list(struct reader *r, const char *const *names)
{
    const char *s = names[0];
    for (size_t i = 1; names[i] != NULL && s != NULL; i++)
        s = seg_arena_printf(r->arena, "%s%s%s", s, names[i + 1] ? ", " : " or ", names[i]);
    return s ? s : names[0];
}

/* Index of v in names, or -1 after a fault. */
static int read_name(struct reader *r, const struct json *v, const char *pointer,
                     const char *const *names)
{
    if (json_kind(v) != JSON_STRING) {
        faults_add(r->faults, pointer, "wrong_type", "must be %s, not %s", name_list(r, names),
                   json_kind_name(json_kind(v)));
        return -1;
    }
    for (int i = 0; names[i] != NULL; i++)
        if (strcmp(names[i], json_string(v)) == 0) return i;
    faults_add(r->faults, pointer, "unknown_value", "must be %s", name_list(r, names));
    return -1;
}

static void read_number(struct reader *r, const struct json *v, const struct field *f,
                        const char *pointer, void *place)
{
    int64_t integer = 0;
    if (json_kind(v) != JSON_NUMBER) {
        faults_add(r->faults, pointer, "wrong_type", "must be a number, not %s",
                   json_kind_name(json_kind(v)));
        return;
    }
    double x = json_number(v);
    if (x < f->min || x > f->max || (f->above_min && x <= f->min)) {
        faults_add(r->faults, pointer, "out_of_range", "must be %s %.6g and at most %.6g",
                   f->above_min ? "above" : "at least", f->min, f->max);
    } else if (f->type == FIELD_F64) {
        memcpy(place, &x, sizeof(x));
    } else if (json_integer(v, 0, UINT32_MAX, &integer)) {
        uint32_t u = (uint32_t)integer;
        memcpy(place, &u, sizeof(u));
    } else {
        faults_add(r->faults, pointer, "wrong_type", "must be a whole number");
    }
}

static void read_field(struct reader *r, const struct json *v, const struct field *f,
                       const char *pointer, void *base)
{
    void *place = (char *)base + f->offset;
    switch (f->type) {
    case FIELD_U32:
    case FIELD_F64: read_number(r, v, f, pointer, place); break;
    case FIELD_BOOL:
        if (json_kind(v) == JSON_BOOL)
            *(bool *)place = json_bool(v);
        else
            faults_add(r->faults, pointer, "wrong_type", "must be true or false, not %s",
                       json_kind_name(json_kind(v)));
        break;
    case FIELD_ENUM: {
        int i = read_name(r, v, pointer, f->names);
        if (i >= 0) memcpy(place, &(unsigned){ (unsigned)i }, sizeof(unsigned));
        break;
    }
    }
}
_Static_assert(sizeof(enum seg_impute) == sizeof(unsigned),
               "enums are read and written as unsigned");

struct table {
    const struct field *fields;
    size_t n;
    void *base; /* NULL: the keys are known, but read elsewhere */
};

static const struct field *find_field(const struct table *tables, size_t n_tables, const char *key,
                                      void **ret_base)
{
    for (size_t t = 0; t < n_tables; t++)
        for (size_t i = 0; i < tables[t].n; i++)
            if (strcmp(tables[t].fields[i].key, key) == 0) {
                *ret_base = tables[t].base;
                return &tables[t].fields[i];
            }
    return NULL;
}

static bool is_object(struct reader *r, const struct json *v, const char *pointer)
{
    if (json_kind(v) == JSON_OBJECT) return true;
    faults_add(r->faults, pointer, "wrong_type", "must be an object, not %s",
               json_kind_name(json_kind(v)));
    return false;
}

/* Reads the members of v by the tables. Keys in `others` (NULL-terminated) are the caller's; any
 * further key is a fault. */
static void read_object(struct reader *r, const struct json *v, const char *pointer,
                        const struct table *tables, size_t n_tables, const char *const *others)
{
    if (!is_object(r, v, pointer)) return;
    for (const struct json *m = json_first(v); m != NULL; m = json_next(m)) {
        const char *key = json_key(m);
        void *base = NULL;
        const struct field *f = find_field(tables, n_tables, key, &base);
        bool known = f != NULL;
        for (size_t i = 0; others != NULL && others[i] != NULL; i++)
            known = known || strcmp(others[i], key) == 0;
        if (!known)
            faults_add(r->faults, member_pointer(r, pointer, key), "unknown_key",
                       "there is no such option here");
        else if (f != NULL)
            read_field(r, m, f, member_pointer(r, pointer, key), base);
    }
}

/* [64, 32]: layer sizes. */
static void read_sizes(struct reader *r, const struct json *v, const char *pointer, uint32_t *sizes,
                       uint32_t *ret_n, uint32_t n_min, uint32_t n_max)
{
    int64_t size = 0;
    if (json_kind(v) != JSON_ARRAY || json_size(v) < n_min || json_size(v) > n_max) {
        faults_add(r->faults, pointer, "wrong_type", "must be an array of %u to %u layer sizes",
                   n_min, n_max);
        return;
    }
    uint32_t n = 0;
    for (const struct json *e = json_first(v); e != NULL; e = json_next(e), n++) {
        if (json_integer(e, 1, SEG_UNITS_MAX, &size))
            sizes[n] = (uint32_t)size;
        else
            faults_add(r->faults, pointer, "out_of_range",
                       "each layer must be a whole number of 1 to %u units", SEG_UNITS_MAX);
    }
    *ret_n = n;
}

static void read_mlp(struct reader *r, const struct json *v, const char *pointer,
                     struct seg_train_params *p, bool is_head)
{
    const struct table tables[] = { { NETWORK_FIELDS, COUNT(NETWORK_FIELDS), p },
                                    { CLASSIFIER_FIELDS, COUNT(CLASSIFIER_FIELDS), p } };
    read_object(r, v, pointer, tables, 2, (const char *const[]){ "type", "hidden", NULL });
    const struct json *hidden = json_kind(v) == JSON_OBJECT ? json_get(v, "hidden") : NULL;
    const struct json *type = json_kind(v) == JSON_OBJECT && is_head ? json_get(v, "type") : NULL;
    if (hidden != NULL)
        read_sizes(r, hidden, member_pointer(r, pointer, "hidden"), p->hidden, &p->n_hidden, 0,
                   SEG_LAYERS_MAX - 1);
    if (is_head && type == NULL && json_kind(v) == JSON_OBJECT)
        faults_add(r->faults, member_pointer(r, pointer, "type"), "missing", "must be given: mlp");
    else if (type != NULL)
        read_name(r, type, member_pointer(r, pointer, "type"),
                  (const char *const[]){ "mlp", NULL });
}

static void read_algorithm(struct reader *r, const struct json *v, struct seg_spec *s)
{
    const char *at = "/algorithm";
    if (v == NULL) {
        faults_add(r->faults, at, "missing",
                   "must be given, for example {\"type\": \"kmeans\", \"k\": 5}");
        return;
    }
    if (!is_object(r, v, at)) return;
    const struct json *type = json_get(v, "type");
    const char *names[SEG_N_ALGORITHMS + 1] = { 0 };
    for (unsigned i = 0; i < SEG_N_ALGORITHMS; i++)
        names[i] = seg_algorithm_info((enum seg_algorithm)i)->name;
    if (type == NULL) {
        faults_add(r->faults, "/algorithm/type", "missing", "must be %s", name_list(r, names));
        return;
    }
    int which = read_name(r, type, "/algorithm/type", names);
    if (which < 0) return;
    s->algorithm = (enum seg_algorithm)which;
    const struct seg_algorithm_info *info = seg_algorithm_info(s->algorithm);
    if (info->task != s->task) {
        faults_add(r->faults, "/algorithm/type", "unknown_value", "%s is for %s, the task is %s",
                   info->name, TASK_NAMES[info->task], TASK_NAMES[s->task]);
        return;
    }
    if (!info->clusters) {
        read_mlp(r, v, at, &s->mlp, false);
        return;
    }
    const struct table tables[] = { { KMEANS_FIELDS, COUNT(KMEANS_FIELDS), &s->kmeans },
                                    { NETWORK_FIELDS, info->encoder ? COUNT(NETWORK_FIELDS) : 0,
                                      &s->autoencoder } };
    const char *others[] = { "type", "head", info->encoder ? "encoder" : NULL, NULL };
    read_object(r, v, at, tables, 2, others);
    const struct json *head = json_get(v, "head"), *encoder = json_get(v, "encoder");
    if (json_get(v, "k") == NULL)
        faults_add(r->faults, "/algorithm/k", "missing",
                   "must be given: the number of segments, 1 to %u", SEG_K_MAX);
    if (encoder != NULL && info->encoder)
        read_sizes(r, encoder, "/algorithm/encoder", s->encoder, &s->n_encoder, 1,
                   SEG_LAYERS_MAX / 2);
    s->has_head = head != NULL && json_kind(head) != JSON_NULL;
    if (s->has_head) read_mlp(r, head, "/algorithm/head", &s->mlp, true);
    if (s->kmeans.min_share * s->kmeans.k > 1)
        faults_add(r->faults, "/algorithm/min_segment_share", "out_of_range",
                   "%u segments cannot each hold a share of %.3g", s->kmeans.k,
                   s->kmeans.min_share);
}

/* One group or column of preprocess. */
static void read_column(struct reader *r, const struct json *v, const char *pointer,
                        struct seg_column_spec *c)
{
    const struct table tables[] = { { COLUMN_FIELDS, COUNT(COLUMN_FIELDS), c } };
    read_object(r, v, pointer, tables, 1, (const char *const[]){ "outliers", "constant", NULL });
    if (json_kind(v) != JSON_OBJECT) return;
    const struct json *outliers = json_get(v, "outliers"), *constant = json_get(v, "constant");
    const char *at = member_pointer(r, pointer, "outliers");
    if (outliers != NULL && json_kind(outliers) == JSON_STRING) {
        read_field(r, outliers, &OUTLIER_FIELDS[0], at, c);
    } else if (outliers != NULL) {
        const struct table outlier_tables[] = { { OUTLIER_FIELDS, COUNT(OUTLIER_FIELDS), c } };
        /* Another method starts from that method's own threshold. */
        enum seg_outliers before = c->outliers;
        const struct json *method =
            json_kind(outliers) == JSON_OBJECT ? json_get(outliers, "method") : NULL;
        if (method != NULL)
            read_field(r, method, &OUTLIER_FIELDS[0], member_pointer(r, at, "method"), c);
        if (c->outliers != before) c->threshold = c->outliers == SEG_OUTLIERS_ZSCORE ? 3.0 : 1.5;
        read_object(r, outliers, at, outlier_tables, 1, NULL);
    }
    if (c->lower >= c->upper)
        faults_add(r->faults, at, "out_of_range", "lower must be below upper");
    at = member_pointer(r, pointer, "constant");
    if (constant != NULL && json_kind(constant) == JSON_NUMBER) {
        c->constant = json_number(constant);
        if (fabs(c->constant) > 1e30)
            faults_add(r->faults, at, "out_of_range", "must be within -1e30 and 1e30");
    } else if (constant != NULL && json_kind(constant) == JSON_STRING &&
               strlen(json_string(constant)) < sizeof(c->constant_text)) {
        strcpy(c->constant_text, json_string(constant));
    } else if (constant != NULL) {
        faults_add(r->faults, at, "wrong_type",
                   "must be a number, or a string of at most %zu bytes",
                   sizeof(c->constant_text) - 1);
    }
}

static void read_preprocess(struct reader *r, const struct json *v, const struct feature_set *fs,
                            struct train_spec *s, struct seg_column_spec groups[2])
{
    static const char *const keys[] = { "default", "categorical", "columns", NULL };
    if (v != NULL) {
        read_object(r, v, "/preprocess", NULL, 0, keys);
        if (json_kind(v) != JSON_OBJECT) return;
        for (int g = 0; g < 2; g++)
            if (json_get(v, keys[g]) != NULL)
                read_column(r, json_get(v, keys[g]), member_pointer(r, "/preprocess", keys[g]),
                            &groups[g]);
    }
    for (uint32_t i = 0; i < s->n_columns; i++)
        s->core.columns[i] = groups[fs->columns[s->columns[i]].type == SEG_CATEGORICAL];
    const struct json *columns = v != NULL ? json_get(v, "columns") : NULL;
    if (columns == NULL || !is_object(r, columns, "/preprocess/columns")) return;
    for (const struct json *m = json_first(columns); m != NULL; m = json_next(m)) {
        const char *at = member_pointer(r, "/preprocess/columns", json_key(m));
        uint32_t i = 0;
        while (i < s->n_columns && strcmp(fs->columns[s->columns[i]].name, json_key(m)) != 0)
            i++;
        if (i == s->n_columns)
            faults_add(r->faults, at, "unknown_feature", "is not one of the features");
        else
            read_column(r, m, at, &s->core.columns[i]);
    }
}

static int find_column(const struct feature_set *fs, const char *name)
{
    for (uint32_t i = 0; i < fs->n_columns; i++)
        if (strcmp(fs->columns[i].name, name) == 0) return (int)i;
    return -1;
}

/* "features": marks the columns wanted; all but the target when it is left out. */
static void read_features(struct reader *r, const struct json *v, const struct feature_set *fs,
                          struct train_spec *s)
{
    bool *wanted = seg_arena_alloc(r->arena, fs->n_columns + 1);
    s->columns = seg_arena_alloc(r->arena, (fs->n_columns + 1) * sizeof(*s->columns));
    s->core.columns = seg_arena_alloc(r->arena, (fs->n_columns + 1) * sizeof(*s->core.columns));
    if (wanted == NULL || s->columns == NULL || s->core.columns == NULL) {
        faults_add(r->faults, "", "out_of_memory", "out of memory");
        return;
    }
    memset(wanted, v == NULL, fs->n_columns + 1);
    if (v != NULL && (json_kind(v) != JSON_ARRAY || json_size(v) == 0)) {
        faults_add(r->faults, "/features", "wrong_type",
                   "must be an array of feature names that is not empty");
        v = NULL;
    }
    unsigned index = 0;
    for (const struct json *e = v ? json_first(v) : NULL; e != NULL; e = json_next(e), index++) {
        char key[16];
        snprintf(key, sizeof(key), "%u", index);
        const char *at = member_pointer(r, "/features", key);
        int i = json_kind(e) == JSON_STRING ? find_column(fs, json_string(e)) : -1;
        if (json_kind(e) != JSON_STRING)
            faults_add(r->faults, at, "wrong_type", "must be a feature's name, not %s",
                       json_kind_name(json_kind(e)));
        else if (i < 0)
            faults_add(r->faults, at, "unknown_feature", "feature set %s has no such feature",
                       fs->name);
        else if (i == s->target)
            faults_add(r->faults, at, "unknown_feature", "the target cannot be a feature as well");
        else if (wanted[i])
            faults_add(r->faults, at, "duplicate", "is listed twice");
        else
            wanted[i] = true;
    }
    for (uint32_t i = 0; i < fs->n_columns; i++)
        if (wanted[i] && (int)i != s->target) s->columns[s->n_columns++] = i;
    if (s->n_columns == 0)
        faults_add(r->faults, "/features", "missing", "feature set %s has no feature to learn from",
                   fs->name);
    s->core.n_columns = s->n_columns;
}

/* Whether the body names an algorithm with an encoder; its faults are found elsewhere. */
static bool wants_encoder(const struct json *body)
{
    const struct json *algorithm = json_get(body, "algorithm");
    const struct json *type = algorithm != NULL && json_kind(algorithm) == JSON_OBJECT
                                  ? json_get(algorithm, "type")
                                  : NULL;
    int which = type != NULL && json_kind(type) == JSON_STRING
                    ? seg_algorithm_from_name(json_string(type))
                    : -1;
    return which >= 0 && seg_algorithm_info((enum seg_algorithm)which)->encoder;
}

static void defaults(struct train_spec *s, const struct json *body,
                     struct seg_column_spec groups[2])
{
    s->core.kmeans = (struct seg_kmeans_params){
        .k = 1, .init = SEG_INIT_KMEANS_PP, .n_init = 10, .n_iter_max = 300, .tol = 1e-4
    };
    s->core.mlp = (struct seg_train_params){ .hidden = { 64, 32 },
                                             .n_hidden = 2,
                                             .activation = SEG_RELU,
                                             .l2 = 1e-4,
                                             .optimizer = SEG_ADAM,
                                             .learning_rate = 1e-3,
                                             .momentum = 0.9,
                                             .batch_size = 128,
                                             .epochs = 200,
                                             .patience = 10 };
    /* On the optical digits these give codes on which k-means beats k-means on the pixels at every
     * seed tried. */
    s->core.autoencoder = s->core.mlp;
    s->core.autoencoder.n_hidden = 0;
    s->core.autoencoder.activation = SEG_TANH;
    s->core.autoencoder.batch_size = 64;
    s->core.autoencoder.epochs = 100;
    s->core.autoencoder.patience = 0;
    s->core.encoder[0] = 128;
    s->core.encoder[1] = 64;
    s->core.encoder[2] = 32;
    s->core.n_encoder = 3;
    s->core.min_features_share = 0.5;
    s->core.seed = 42;
    s->target = -1;
    s->promote = PROMOTE_IF_BETTER;
    groups[0] = (struct seg_column_spec){ .impute = SEG_IMPUTE_MEDIAN,
                                          .lower = 0.01,
                                          .upper = 0.99,
                                          .threshold = 1.5,
                                          .scale = SEG_SCALE_STANDARD,
                                          .max_categories = 32,
                                          .hash_buckets = 32 };
    /* A reconstruction error on standardised columns is spent on the rare values of near-constant
     * ones. */
    if (wants_encoder(body)) groups[0].scale = SEG_SCALE_MIN_MAX;
    groups[1] = groups[0];
    groups[1].impute = SEG_IMPUTE_MODE;
}

const char *train_spec_feature_set(const struct json *body, struct faults *f)
{
    const struct json *v = json_kind(body) == JSON_OBJECT ? json_get(body, "feature_set") : NULL;
    if (v != NULL && json_kind(v) == JSON_STRING) return json_string(v);
    faults_add(f, "/feature_set", v ? "wrong_type" : "missing",
               "must be the name of a feature set");
    return NULL;
}

static void read_task(struct reader *r, const struct json *body, const struct feature_set *fs,
                      struct train_spec *s)
{
    const struct json *task = json_get(body, "task"), *target = json_get(body, "target");
    int which = task ? read_name(r, task, "/task", TASK_NAMES) : SEG_SEGMENTATION;
    if (which >= 0) s->core.task = (enum seg_task)which;
    if (target != NULL && json_kind(target) == JSON_NULL) target = NULL;
    if (s->core.task == SEG_SEGMENTATION && target != NULL) {
        faults_add(r->faults, "/target", "unknown_key", "segmentation has no target");
    } else if (s->core.task == SEG_CLASSIFICATION &&
               (target == NULL || json_kind(target) != JSON_STRING)) {
        faults_add(r->faults, "/target", target ? "wrong_type" : "missing",
                   "must be the name of the feature to predict");
    } else if (target != NULL) {
        s->target = find_column(fs, json_string(target));
        if (s->target < 0)
            faults_add(r->faults, "/target", "unknown_feature",
                       "feature set %s has no such feature", fs->name);
        else if (fs->columns[s->target].type == SEG_VECTOR ||
                 fs->columns[s->target].type == SEG_TIMESTAMP)
            faults_add(r->faults, "/target", "wrong_type", "a %s cannot be a class",
                       seg_type_name(fs->columns[s->target].type));
    }
}

static void read_split(struct reader *r, const struct json *body, struct seg_spec *core)
{
    /* Only what is learnt from labels has something to hold back: clusters alone use every user. */
    bool supervised = core->task == SEG_CLASSIFICATION || core->has_head;
    core->test = core->validation = supervised ? 0.2 : 0.0;
    const struct json *split = json_get(body, "split");
    if (split != NULL) {
        const struct table tables[] = { { SPLIT_FIELDS, COUNT(SPLIT_FIELDS), core } };
        read_object(r, split, "/split", tables, 1, NULL);
    }
    if (core->test + core->validation >= 0.95)
        faults_add(r->faults, "/split", "out_of_range",
                   "test and validation leave less than 5 %% for training");
}

bool train_spec_parse(const struct json *body, const struct feature_set *fs,
                      struct seg_arena *arena, struct train_spec *ret, struct faults *f)
{
    static const char *const keys[] = {
        "feature_set", "task", "target", "features", "preprocess",         "algorithm",
        "split",       "seed", "label",  "promote",  "min_features_share", NULL
    };
    static const struct field min_share = { "min_features_share",
                                            FIELD_F64,
                                            offsetof(struct seg_spec, min_features_share),
                                            0,
                                            1,
                                            NULL,
                                            false };
    static const struct field label = { "label", FIELD_BOOL, offsetof(struct train_spec, label),
                                        0,       0,          NULL,
                                        false };
    static const struct field promote = {
        "promote", FIELD_ENUM, offsetof(struct train_spec, promote), 0, 0, PROMOTE_NAMES, false
    };
    struct reader r = { arena, f };
    struct train_spec s = { .feature_set = fs->name };
    struct seg_column_spec groups[2];
    size_t n_before = f->n_total;
    int64_t seed = 0;
    read_object(&r, body, "", NULL, 0, keys);
    if (json_kind(body) != JSON_OBJECT) return false;
    defaults(&s, body, groups);
    read_task(&r, body, fs, &s);
    read_features(&r, json_get(body, "features"), fs, &s);
    if (s.core.columns != NULL) read_preprocess(&r, json_get(body, "preprocess"), fs, &s, groups);
    read_algorithm(&r, json_get(body, "algorithm"), &s.core);
    read_split(&r, body, &s.core);
    if (json_get(body, "seed") != NULL) {
        if (json_integer(json_get(body, "seed"), 0, (int64_t)1 << 53, &seed))
            s.core.seed = (uint64_t)seed;
        else
            faults_add(f, "/seed", "out_of_range", "must be a whole number of 0 to 2^53");
    }
    if (json_get(body, "min_features_share") != NULL)
        read_field(&r, json_get(body, "min_features_share"), &min_share, "/min_features_share",
                   &s.core);
    if (json_get(body, "label") != NULL)
        read_field(&r, json_get(body, "label"), &label, "/label", &s);
    if (json_get(body, "promote") != NULL)
        read_field(&r, json_get(body, "promote"), &promote, "/promote", &s);
    s.core.kmeans.seed = s.core.mlp.seed = s.core.autoencoder.seed = s.core.seed;
    for (uint32_t i = 0; i < s.n_columns && s.core.columns != NULL; i++)
        if (s.core.columns[i].encode == SEG_ENCODE_TARGET && s.core.task != SEG_CLASSIFICATION &&
            fs->columns[s.columns[i]].type == SEG_CATEGORICAL)
            faults_add(f, member_pointer(&r, "/preprocess/columns", fs->columns[s.columns[i]].name),
                       "unknown_value", "target encoding needs a classification target");
    if (f->n_total > n_before) return false;
    *ret = s;
    return true;
}

static void write_fields(struct json_out *o, const struct field *fields, size_t n, const void *base)
{
    for (size_t i = 0; i < n; i++) {
        const void *place = (const char *)base + fields[i].offset;
        json_out_key(o, fields[i].key);
        switch (fields[i].type) {
        case FIELD_U32: json_out_uint(o, *(const uint32_t *)place); break;
        case FIELD_F64: json_out_double(o, *(const double *)place); break;
        case FIELD_BOOL: json_out_bool(o, *(const bool *)place); break;
        case FIELD_ENUM: json_out_string(o, fields[i].names[*(const unsigned *)place]); break;
        }
    }
}

static void write_sizes(struct json_out *o, const char *key, const uint32_t *sizes, uint32_t n)
{
    json_out_key(o, key);
    json_out_array(o);
    for (uint32_t i = 0; i < n; i++)
        json_out_uint(o, sizes[i]);
    json_out_end_array(o);
}

static void write_column(struct json_out *o, const struct seg_column_spec *c)
{
    json_out_object(o);
    write_fields(o, COLUMN_FIELDS, COUNT(COLUMN_FIELDS), c);
    json_out_key(o, "outliers");
    json_out_object(o);
    write_fields(o, OUTLIER_FIELDS, COUNT(OUTLIER_FIELDS), c);
    json_out_end_object(o);
    if (c->impute == SEG_IMPUTE_CONSTANT && c->constant_text[0] != '\0')
        json_out_member_string(o, "constant", c->constant_text);
    else if (c->impute == SEG_IMPUTE_CONSTANT)
        json_out_member_double(o, "constant", c->constant);
    json_out_end_object(o);
}

static void write_algorithm(struct json_out *o, const struct seg_spec *s)
{
    const struct seg_algorithm_info *info = seg_algorithm_info(s->algorithm);
    json_out_object(o);
    json_out_member_string(o, "type", info->name);
    if (info->clusters) write_fields(o, KMEANS_FIELDS, COUNT(KMEANS_FIELDS), &s->kmeans);
    if (info->encoder) {
        write_sizes(o, "encoder", s->encoder, s->n_encoder);
        write_fields(o, NETWORK_FIELDS, COUNT(NETWORK_FIELDS), &s->autoencoder);
    }
    if (s->has_head) {
        json_out_key(o, "head");
        json_out_object(o);
        json_out_member_string(o, "type", "mlp");
    }
    if (!info->clusters || s->has_head) {
        write_sizes(o, "hidden", s->mlp.hidden, s->mlp.n_hidden);
        write_fields(o, NETWORK_FIELDS, COUNT(NETWORK_FIELDS), &s->mlp);
        write_fields(o, CLASSIFIER_FIELDS, COUNT(CLASSIFIER_FIELDS), &s->mlp);
    }
    if (s->has_head) json_out_end_object(o);
    json_out_end_object(o);
}

void train_spec_write(const struct train_spec *s, const struct feature_set *fs, struct json_out *o)
{
    json_out_object(o);
    json_out_member_string(o, "feature_set", s->feature_set);
    json_out_member_string(o, "task", TASK_NAMES[s->core.task]);
    if (s->target >= 0) json_out_member_string(o, "target", fs->columns[s->target].name);
    json_out_key(o, "features");
    json_out_array(o);
    for (uint32_t i = 0; i < s->n_columns; i++)
        json_out_string(o, fs->columns[s->columns[i]].name);
    json_out_end_array(o);
    json_out_key(o, "preprocess");
    json_out_object(o);
    json_out_key(o, "columns");
    json_out_object(o);
    for (uint32_t i = 0; i < s->n_columns; i++) {
        json_out_key(o, fs->columns[s->columns[i]].name);
        write_column(o, &s->core.columns[i]);
    }
    json_out_end_object(o);
    json_out_end_object(o);
    json_out_key(o, "algorithm");
    write_algorithm(o, &s->core);
    json_out_key(o, "split");
    json_out_object(o);
    write_fields(o, SPLIT_FIELDS, COUNT(SPLIT_FIELDS), &s->core);
    json_out_end_object(o);
    json_out_member_double(o, "min_features_share", s->core.min_features_share);
    json_out_member_uint(o, "seed", s->core.seed);
    json_out_member_bool(o, "label", s->label);
    json_out_member_string(o, "promote", PROMOTE_NAMES[s->promote]);
    json_out_end_object(o);
}
