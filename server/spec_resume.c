/* What a warm start, or one with the encoder of another model, asks of the version that it goes on
 * from. */
#include "spec_resume.h"

#include <string.h>

#define VERSION_MAX 999999999

static const char *const SHAPED[] = { "features", "preprocess", NULL };

static const struct json *given(const struct json *body, const char *key)
{
    const struct json *v = json_kind(body) == JSON_OBJECT ? json_get(body, key) : NULL;
    return v != NULL && json_kind(v) != JSON_NULL ? v : NULL;
}

/* {"model": "loyalty", "version": 3} */
static struct earlier_version read_encoder(const struct json *v, struct faults *f)
{
    struct earlier_version e = { .encoder_only = true };
    const bool is_object = json_kind(v) == JSON_OBJECT;
    const struct json *model = is_object ? json_get(v, "model") : NULL;
    const struct json *version = is_object ? json_get(v, "version") : NULL;
    int64_t number = 0;
    if (model == NULL || json_kind(model) != JSON_STRING || version == NULL || json_size(v) != 2 ||
        !json_integer(version, 1, VERSION_MAX, &number))
        faults_add(f, "/encoder_from", "wrong_type",
                   "must be {\"model\": a name, \"version\": a number of 1 or more}");
    else
        e.model = json_string(model);
    e.version = (unsigned)number;
    return e;
}

struct earlier_version train_spec_earlier(const struct json *body, const char *model,
                                          struct faults *f)
{
    const struct json *warm = given(body, "warm_start"), *encoder = given(body, "encoder_from");
    int64_t version = 0;
    if (warm != NULL && encoder != NULL)
        faults_add(f, "/encoder_from", "unknown_key",
                   "a warm start has the encoder of its version: give one of the two");
    else if (encoder != NULL)
        return read_encoder(encoder, f);
    else if (warm != NULL && !json_integer(warm, 1, VERSION_MAX, &version))
        faults_add(f, "/warm_start", "out_of_range",
                   "must be the number of an earlier version of the model, 1 or more");
    return (struct earlier_version){ .model = model, .version = (unsigned)version };
}

void spec_resume_columns(struct field_reader *r, const struct json *body,
                         const struct earlier_version *earlier)
{
    for (size_t i = 0; SHAPED[i] != NULL; i++) {
        const struct json *own = json_get(body, SHAPED[i]);
        if (own != NULL && !json_equal(own, json_get(earlier->spec, SHAPED[i])))
            faults_add(r->faults, field_pointer(r, "", SHAPED[i]), "differs",
                       "those of version %u hold: leave it out, or give them as they are stored",
                       earlier->version);
    }
}

struct comparison {
    struct field_reader *r;
    const struct earlier_version *earlier;
};

/* "16, 2" */
static const char *sizes_text(const struct comparison *c, const uint32_t *sizes, uint32_t n)
{
    const char *list = "";
    for (uint32_t i = 0; i < n && list != NULL; i++)
        list = seg_arena_printf(c->r->arena, "%s%s%u", list, i > 0 ? ", " : "", sizes[i]);
    return list != NULL ? list : "other layers";
}

static void compare_sizes(const struct comparison *c, const char *pointer, const uint32_t *a,
                          uint32_t n_a, const uint32_t *b, uint32_t n_b)
{
    if (n_a == n_b && memcmp(a, b, n_a * sizeof(*a)) == 0) return;
    faults_add(c->r->faults, pointer, "differs", "version %u has [%s]", c->earlier->version,
               sizes_text(c, b, n_b));
}

/* Layers of a network: a against b, that of the earlier version. */
static void compare_networks(const struct comparison *c, const char *pointer,
                             const struct seg_train_params *a, const struct seg_train_params *b)
{
    if (a->activation != b->activation)
        faults_add(c->r->faults, field_pointer(c->r, pointer, "activation"), "differs",
                   "version %u has another one", c->earlier->version);
    if (a->normalization != b->normalization)
        faults_add(c->r->faults, field_pointer(c->r, pointer, "normalization"), "differs",
                   "version %u has another one", c->earlier->version);
}

static void compare_encoders(const struct comparison *c, const struct seg_spec *a,
                             const struct seg_spec *b)
{
    compare_sizes(c, "/algorithm/encoder", a->encoder, a->n_encoder, b->encoder, b->n_encoder);
    compare_networks(c, "/algorithm", &a->autoencoder, &b->autoencoder);
}

/* A classifier's first hidden layers are the encoder's. */
static void compare_first_layers(const struct comparison *c, const struct seg_spec *a,
                                 const struct seg_spec *b)
{
    if (a->mlp.n_hidden < b->n_encoder ||
        memcmp(a->mlp.hidden, b->encoder, b->n_encoder * sizeof(*b->encoder)) != 0)
        faults_add(c->r->faults, "/algorithm/hidden", "differs",
                   "must begin with %s, the encoder of version %u",
                   sizes_text(c, b->encoder, b->n_encoder), c->earlier->version);
    if (a->search_trials > 0)
        faults_add(c->r->faults, "/algorithm/search", "unknown_value",
                   "a search draws layers: it cannot begin with an encoder");
}

/* What a model needs to begin with the encoder of another. */
static void compare_beginnings(const struct comparison *c, const struct seg_spec *a,
                               const struct seg_spec *b)
{
    const bool takes_one = seg_algorithm_takes_encoder(a->algorithm);
    if (!takes_one || !seg_algorithm_info(b->algorithm)->encoder)
        faults_add(c->r->faults, "/encoder_from", "unknown_value", "%s has no encoder",
                   seg_algorithm_info(takes_one ? b->algorithm : a->algorithm)->name);
    else if (seg_algorithm_info(a->algorithm)->encoder)
        compare_encoders(c, a, b);
    else
        compare_first_layers(c, a, b);
}

static void compare_segments(const struct comparison *c, const struct seg_spec *a,
                             const struct seg_spec *b)
{
    if (a->k_auto || a->kmeans.k != c->earlier->k)
        faults_add(c->r->faults, "/algorithm/k", "differs",
                   "must be %u, the segments of version %u", c->earlier->k, c->earlier->version);
    if (a->algorithm == SEG_GMM && a->gmm.covariance != b->gmm.covariance)
        faults_add(c->r->faults, "/algorithm/covariance", "differs", "version %u has another one",
                   c->earlier->version);
    if (seg_algorithm_info(a->algorithm)->encoder) compare_encoders(c, a, b);
    if (a->has_head && b->has_head) {
        compare_sizes(c, "/algorithm/head/hidden", a->mlp.hidden, a->mlp.n_hidden, b->mlp.hidden,
                      b->mlp.n_hidden);
        compare_networks(c, "/algorithm/head", &a->mlp, &b->mlp);
    }
}

static void compare_classifiers(const struct comparison *c, const struct seg_spec *a,
                                const struct seg_spec *b)
{
    compare_sizes(c, "/algorithm/hidden", a->mlp.hidden, a->mlp.n_hidden, b->mlp.hidden,
                  b->mlp.n_hidden);
    compare_networks(c, "/algorithm", &a->mlp, &b->mlp);
    if (a->search_trials > 0)
        faults_add(c->r->faults, "/algorithm/search", "unknown_value",
                   "a search cannot go on from an earlier version");
    if (a->cv_folds > 0)
        faults_add(c->r->faults, "/algorithm/cv", "unknown_value",
                   "an earlier version has seen the rows of every fold");
}

void spec_resume_check(struct field_reader *r, const struct earlier_version *earlier,
                       const struct feature_set *fs, const struct train_spec *s)
{
    const struct comparison c = { r, earlier };
    struct train_spec before;
    struct faults faults;
    faults_init(&faults, r->arena);
    if (!train_spec_parse(earlier->spec, fs, NULL, r->arena, &before, &faults)) {
        faults_add(r->faults, earlier->encoder_only ? "/encoder_from" : "/warm_start", "differs",
                   "version %u does not fit feature set %s: %s: %s", earlier->version, fs->name,
                   faults.items[0].pointer, faults.items[0].detail);
        return;
    }
    const struct seg_algorithm_info *info = seg_algorithm_info(s->core.algorithm);
    if (earlier->encoder_only) {
        compare_beginnings(&c, &s->core, &before.core);
        return;
    }
    if (before.core.algorithm != s->core.algorithm) {
        faults_add(r->faults, "/algorithm/type", "differs", "version %u is of %s", earlier->version,
                   seg_algorithm_info(before.core.algorithm)->name);
        return;
    }
    if (!info->resumes)
        faults_add(r->faults, "/warm_start", "unknown_value",
                   "%s cannot go on from an earlier version", info->name);
    if (before.target != s->target)
        faults_add(r->faults, "/target", "differs", "version %u predicts %s", earlier->version,
                   before.target >= 0 ? fs->columns[before.target].name : "nothing");
    if (info->task == SEG_CLASSIFICATION)
        compare_classifiers(&c, &s->core, &before.core);
    else
        compare_segments(&c, &s->core, &before.core);
}
