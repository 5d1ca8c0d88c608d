/* Everything that answers need besides the rows is made here, once for each version. */
#include "served_model.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "db/segments.h"
#include "digest.h"
#include "handlers/score.h"
#include "log.h"

struct shared { /* a served_model with its count; what callers see comes first */
    struct served_model served;
    atomic_uint n_refs;
    struct seg_arena texts; /* of served.scores */
};

static void shared_free(struct shared *s)
{
    uint32_t n = s->served.model ? seg_model_n_results(s->served.model) : 0;
    for (uint32_t i = 0; s->served.segment_names != NULL && i < n; i++)
        seg_free(s->served.segment_names[i]);
    seg_free(s->served.segment_names);
    seg_arena_release(&s->texts);
    seg_model_unref(s->served.model);
    seg_free(s);
}

struct served_model *served_model_ref(struct served_model *served)
{
    struct shared *s = (struct shared *)served;
    atomic_fetch_add_explicit(&s->n_refs, 1, memory_order_relaxed);
    return served;
}

void served_model_unref(struct served_model *served)
{
    struct shared *s = (struct shared *)served;
    if (s != NULL && atomic_fetch_sub_explicit(&s->n_refs, 1, memory_order_acq_rel) == 1)
        shared_free(s);
}

/* Segment names as of now. False on lack of memory or a failed query. */
static bool load_names(struct db *db, struct shared *s)
{
    struct seg_arena arena;
    uint32_t n = seg_model_n_results(s->served.model);
    if (seg_model_task(s->served.model) != SEG_SEGMENTATION) return true;
    seg_arena_init(&arena, 0);
    uint32_t id_max = 0;
    for (uint32_t i = 0; i < n; i++)
        if (seg_model_segment_id(s->served.model, i) > id_max)
            id_max = seg_model_segment_id(s->served.model, i);
    const char **names = seg_arena_alloc(&arena, (id_max + 1) * sizeof(*names));
    s->served.segment_names = seg_calloc(n + 1, sizeof(*s->served.segment_names));
    bool good = names != NULL && s->served.segment_names != NULL;
    if (good) {
        memset(names, 0, (id_max + 1) * sizeof(*names));
        enum db_status st = db_segments_names(db, s->served.name, &arena, names, id_max);
        good = st == DB_ONE || st == DB_NONE;
    }
    for (uint32_t i = 0; good && i < n; i++) {
        const char *name = names[seg_model_segment_id(s->served.model, i) - 1];
        if (name != NULL) good = (s->served.segment_names[i] = seg_strdup(name)) != NULL;
    }
    seg_arena_release(&arena);
    return good;
}

static bool make_scores(struct shared *s)
{
    _Static_assert(SERVED_FORMATS == SCORE_FORMATS, "a score for each format");
    for (unsigned i = 0; i < SERVED_FORMATS; i++) {
        s->served.scores[i] = score_new(&s->texts, &s->served, (enum score_format)i);
        if (s->served.scores[i] == NULL) return false;
    }
    return true;
}

enum db_status served_model_load(struct db *db, const char *name, uint32_t version,
                                 const char *names_hash, struct served_model **ret)
{
    uint8_t *bytes = NULL;
    size_t len = 0;
    char expected[65], actual[DIGEST_HEX_SIZE];
    struct seg_error err = { "" };
    struct shared *s = seg_calloc(1, sizeof(*s));
    if (s == NULL) return DB_FATAL;
    atomic_init(&s->n_refs, 1);
    seg_arena_init(&s->texts, 0);
    snprintf(s->served.name, sizeof(s->served.name), "%s", name);
    snprintf(s->served.names_hash, sizeof(s->served.names_hash), "%s", names_hash);
    s->served.version = version;
    enum db_status st = db_models_artifact(db, name, version, &bytes, &len, expected);
    if (st == DB_ONE) {
        digest_sha256_hex(bytes, len, actual);
        bool whole = strcmp(expected, actual) == 0;
        if (!whole || seg_model_load(bytes, len, &s->served.model, &err) != SEG_OK) {
            log_event(LOG_ERROR, "model refused", "model", "%s", name, "version", "%u", version,
                      "reason", "%s",
                      whole ? err.text : "its bytes do not have the SHA-256 they were stored with",
                      NULL);
            st = DB_FATAL;
        }
    }
    seg_free(bytes);
    if (st == DB_ONE && !load_names(db, s)) st = db_is_broken(db) ? DB_RETRY : DB_FATAL;
    if (st == DB_ONE && !make_scores(s)) st = DB_FATAL;
    if (st == DB_ONE)
        *ret = &s->served;
    else
        shared_free(s);
    return st;
}
