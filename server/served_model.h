/* served_model.h - a version of a model as scoring wants it. Immutable from loading on: whoever has
 * a reference may read it on any thread and takes no lock. */
#ifndef SERVER_SERVED_MODEL_H
#define SERVER_SERVED_MODEL_H

#include "db/models.h"
#include "model/model.h"

#define SERVED_FORMATS 3 /* of handlers/score.h, which knows what they are */

struct served_model { /* reference-counted */
    struct seg_model *model;
    char name[64];
    uint32_t version;
    char **segment_names; /* (n_results) segmentation: name people gave or the automatic one; NULL
                             for classification */
    char names_hash[DB_NAMES_HASH_SIZE];  /* as given to served_model_load */
    struct score *scores[SERVED_FORMATS]; /* texts of its answers, by enum score_format */
};

/* A version out of the database with one reference, its bytes checked against their SHA-256.
 * names_hash: db_models_names_hash as it was before, so that names which change meanwhile are found
 * changed later. DB_NONE: no such version. DB_FATAL: its bytes are refused, which the log tells, or
 * memory is short; DB_RETRY: the connection broke. */
enum db_status served_model_load(struct db *db, const char *name, uint32_t version,
                                 const char *names_hash, struct served_model **ret);
/* One more reference to s, which is returned. */
struct served_model *served_model_ref(struct served_model *s);
/* NULL is fine. */
void served_model_unref(struct served_model *s);

#endif
