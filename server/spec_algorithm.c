/* Plain options are read by their tables; here stands what an option may be instead of a number,
 * and what options must be to each other. */
#include "spec_algorithm.h"

#include <string.h>

#include "cluster/k_search.h"
#include "model/mlp_search.h"
#include "spec_tables.h"

/* From so many clusters on k-means|| starts k-means when nothing is said: ARCHITECTURE.md,
 * decisions. */
#define K_PARALLEL 100u

static void read_sizes(struct field_reader *r, const struct json *v, const char *pointer,
                       uint32_t *sizes, uint32_t *ret_n, uint32_t n_min, uint32_t n_max)
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

/* What the options of a network must be to each other. hidden: the sizes of its hidden layers, of
 * member sizes_key. */
static void check_network(struct field_reader *r, const char *pointer,
                          const struct seg_train_params *p, const char *sizes_key,
                          const uint32_t *hidden, uint32_t n_hidden)
{
    if (p->warmup_epochs > p->epochs)
        faults_add(r->faults, field_pointer(r, pointer, "warmup_epochs"), "out_of_range",
                   "must be at most epochs, %u", p->epochs);
    if (p->normalization == SEG_NORMALIZE_BATCH && p->batch_size < 2)
        faults_add(r->faults, field_pointer(r, pointer, "batch_size"), "out_of_range",
                   "must be at least 2 with batch normalization");
    for (uint32_t i = 0; i < n_hidden && p->normalization == SEG_NORMALIZE_LAYER; i++)
        if (hidden[i] < 2)
            faults_add(r->faults, field_pointer(r, pointer, sizes_key), "out_of_range",
                       "with layer normalization a hidden layer has at least 2 units");
}

/* The members that a classifier and a head have. keys: those that are not plain, which the caller
 * knows. */
static void read_mlp(struct field_reader *r, const struct json *v, const char *pointer,
                     struct seg_train_params *p, const char *const *keys)
{
    struct field_table tables[SPEC_TABLES_MAX];
    size_t n_tables = spec_mlp_tables(p, tables);
    fields_read(r, v, pointer, tables, n_tables, keys);
    const struct json *hidden = json_kind(v) == JSON_OBJECT ? json_get(v, "hidden") : NULL;
    if (hidden != NULL)
        read_sizes(r, hidden, field_pointer(r, pointer, "hidden"), p->hidden, &p->n_hidden, 0,
                   SEG_LAYERS_MAX - 1);
    check_network(r, pointer, p, "hidden", p->hidden, p->n_hidden);
}

static void read_head(struct field_reader *r, const struct json *v, struct seg_train_params *p)
{
    read_mlp(r, v, "/algorithm/head", p, (const char *const[]){ "type", "hidden", NULL });
    if (json_kind(v) != JSON_OBJECT) return;
    const struct json *type = json_get(v, "type");
    if (type == NULL)
        faults_add(r->faults, "/algorithm/head/type", "missing", "must be given: mlp");
    else
        field_read_name(r, type, "/algorithm/head/type", (const char *const[]){ "mlp", NULL });
}

static void read_classifier(struct field_reader *r, const struct json *v, struct seg_spec *s)
{
    static const char *const keys[] = { "type", "hidden", "search", "cv", NULL };
    const struct field_table search_table = field_table(&SEARCH_FIELDS, s);
    read_mlp(r, v, "/algorithm", &s->mlp, keys);
    const struct json *search = json_get(v, "search"), *cv = json_get(v, "cv");
    if (cv != NULL && json_kind(cv) != JSON_NULL)
        field_read(r, cv, &CV_FIELDS.fields[0], "/algorithm/cv", s);
    if (search == NULL || json_kind(search) == JSON_NULL) return;
    fields_read(r, search, "/algorithm/search", &search_table, 1, NULL);
    if (json_kind(search) == JSON_OBJECT && json_get(search, "trials") == NULL)
        faults_add(r->faults, "/algorithm/search/trials", "missing",
                   "must be given: how many networks to try, 1 to %u", SEG_MLP_TRIALS_MAX);
}

/* "k": 5, or "auto" with k_min and k_max. */
static void read_k(struct field_reader *r, const struct json *v, struct seg_spec *s)
{
    static const struct field number = { "k",  FIELD_U32, offsetof(struct seg_kmeans_params, k),
                                         1,    SEG_K_MAX, NULL,
                                         false };
    const struct json *k = json_get(v, "k");
    s->k_auto = k != NULL && json_kind(k) == JSON_STRING && strcmp(json_string(k), "auto") == 0;
    if (k == NULL)
        faults_add(r->faults, "/algorithm/k", "missing",
                   "must be given: the number of segments, 1 to %u, or \"auto\"", SEG_K_MAX);
    else if (!s->k_auto && json_kind(k) == JSON_STRING)
        faults_add(r->faults, "/algorithm/k", "unknown_value", "must be a number or \"auto\"");
    else if (!s->k_auto)
        field_read(r, k, &number, "/algorithm/k", &s->kmeans);
    for (size_t i = 0; i < K_RANGE_FIELDS.n; i++) {
        const struct field *f = &K_RANGE_FIELDS.fields[i];
        const struct json *limit = json_get(v, f->key);
        const char *at = field_pointer(r, "/algorithm", f->key);
        if (limit != NULL && !s->k_auto)
            faults_add(r->faults, at, "unknown_key", "goes with \"k\": \"auto\" only");
        else if (limit != NULL)
            field_read(r, limit, f, at, s);
    }
    if (s->k_auto && s->k_max < s->k_min)
        faults_add(r->faults, "/algorithm/k_max", "out_of_range", "must be at least k_min, %u",
                   s->k_min);
    else if (s->k_auto && s->k_max - s->k_min >= SEG_K_SEARCH_CANDIDATES)
        faults_add(r->faults, "/algorithm/k_max", "out_of_range",
                   "at most %u values of k can be tried", SEG_K_SEARCH_CANDIDATES);
}

/* "category_weight": 2.5, or "auto". */
static void read_category_weight(struct field_reader *r, const struct json *v,
                                 struct seg_prototypes_params *p)
{
    const char *at = "/algorithm/category_weight";
    p->weight_auto = json_kind(v) == JSON_STRING && strcmp(json_string(v), "auto") == 0;
    if (!p->weight_auto && json_kind(v) == JSON_STRING)
        faults_add(r->faults, at, "unknown_value", "must be a number or \"auto\"");
    else if (!p->weight_auto)
        field_read(r, v, &CATEGORY_WEIGHT_FIELDS.fields[0], at, p);
}

static void read_clustering(struct field_reader *r, const struct json *v, struct seg_spec *s)
{
    const struct seg_algorithm_info *info = seg_algorithm_info(s->algorithm);
    struct field_table tables[SPEC_TABLES_MAX];
    size_t n_tables = spec_algorithm_tables(s, tables);
    const char *keys[] = {
        "type",  "k",    "k_min",
        "k_max", "head", info->encoder ? "encoder" : info->categories ? "category_weight" : NULL,
        NULL
    };
    fields_read(r, v, "/algorithm", tables, n_tables, keys);
    read_k(r, v, s);
    const struct json *head = json_get(v, "head"), *encoder = json_get(v, "encoder");
    if (encoder != NULL && info->encoder)
        read_sizes(r, encoder, "/algorithm/encoder", s->encoder, &s->n_encoder, 1,
                   SEG_LAYERS_MAX / 2);
    if (json_get(v, "init") == NULL && !s->k_auto && s->kmeans.k >= K_PARALLEL)
        s->kmeans.init = SEG_INIT_PARALLEL;
    const struct json *weight = json_get(v, "category_weight");
    if (weight != NULL && info->categories) read_category_weight(r, weight, &s->prototypes);
    if (info->encoder) /* the last is the code */
        check_network(r, "/algorithm", &s->autoencoder, "encoder", s->encoder, s->n_encoder - 1);
    if (s->algorithm == SEG_DEEP_CLUSTERING &&
        s->autoencoder.warmup_epochs > s->deep.pretrain_epochs)
        faults_add(r->faults, "/algorithm/warmup_epochs", "out_of_range",
                   "must be at most pretrain_epochs, %u", s->deep.pretrain_epochs);
    s->has_head = head != NULL && json_kind(head) != JSON_NULL;
    if (s->has_head) read_head(r, head, &s->mlp);
    uint32_t k = s->k_auto ? s->k_min : s->kmeans.k;
    if (s->kmeans.min_share * k > 1)
        faults_add(r->faults, "/algorithm/min_segment_share", "out_of_range",
                   "%u segments cannot each hold a share of %.3g", k, s->kmeans.min_share);
}

void spec_algorithm_read(struct field_reader *r, const struct json *v, struct seg_spec *s)
{
    if (v == NULL) {
        faults_add(r->faults, "/algorithm", "missing",
                   "must be given, for example {\"type\": \"kmeans\", \"k\": 5}");
        return;
    }
    if (!field_is_object(r, v, "/algorithm")) return;
    const struct json *type = json_get(v, "type");
    const char *names[SEG_N_ALGORITHMS + 1] = { 0 };
    for (unsigned i = 0; i < SEG_N_ALGORITHMS; i++)
        names[i] = seg_algorithm_info((enum seg_algorithm)i)->name;
    if (type == NULL) {
        faults_add(r->faults, "/algorithm/type", "missing", "must be %s",
                   field_name_list(r, names));
        return;
    }
    int which = field_read_name(r, type, "/algorithm/type", names);
    if (which < 0) return;
    s->algorithm = (enum seg_algorithm)which;
    const struct seg_algorithm_info *info = seg_algorithm_info(s->algorithm);
    if (info->task != s->task)
        faults_add(r->faults, "/algorithm/type", "unknown_value", "%s is for %s, the task is %s",
                   info->name, TASK_NAMES[info->task], TASK_NAMES[s->task]);
    else if (info->clusters)
        read_clustering(r, v, s);
    else
        read_classifier(r, v, s);
}
