/* spec.h - the JSON form of a training spec: read with all faults reported at once, written
 * complete, every default filled in. Reading what was written gives the same spec: the jobs table
 * keeps the written form. Pure functions. */
#ifndef SERVER_SPEC_H
#define SERVER_SPEC_H

#include "base/arena.h"
#include "db/feature_sets.h"
#include "faults.h"
#include "json/json.h"
#include "json/json_out.h"
#include "model/spec.h"

enum promote { PROMOTE_ALWAYS, PROMOTE_IF_BETTER, PROMOTE_NEVER };

struct train_spec {
    struct seg_spec core; /* core.columns: one for each of columns, same order */
    const char *feature_set;
    uint32_t *columns; /* indices in the feature set's columns: the features, in its order */
    uint32_t n_columns;
    int target;                /* index of the classification target, -1 for segmentation */
    unsigned warm_start;       /* version of the model that training goes on from; 0: none */
    const char *encoder_model; /* model whose encoder training begins with; NULL: none */
    unsigned encoder_version;  /* of encoder_model */
    bool label;                /* label the whole feature set after training */
    enum promote promote;
};

/* The version that a training goes on from, by "warm_start" or "encoder_from". Borrowed. */
struct earlier_version {
    const char *model;
    unsigned version;
    bool encoder_only;       /* encoder_from: with its encoder and preprocessing alone */
    const struct json *spec; /* as stored */
    uint32_t k;              /* its segments; 0 for a classification */
};

/* The members "warm_start" and "encoder_from" of a training body for `model`: which version is
 * meant; version 0 when there is none or after a fault. Sets neither spec nor k. */
struct earlier_version train_spec_earlier(const struct json *body, const char *model,
                                          struct faults *f);
/* The "feature_set" member of a training body, or NULL after a fault was added. */
const char *train_spec_feature_set(const struct json *body, struct faults *f);
/* Reads body against the columns of fs and, with a warm start, against the earlier version, whose
 * features and preprocess it gets; NULL: none, or do not compare. False when faults were added.
 * Memory, that of core included, is of the arena. */
bool train_spec_parse(const struct json *body, const struct feature_set *fs,
                      const struct earlier_version *earlier, struct seg_arena *arena,
                      struct train_spec *ret, struct faults *f);
/* Writes the complete spec as one object. */
void train_spec_write(const struct train_spec *s, const struct feature_set *fs, struct json_out *o);
/* Writes the options of a network as members of the object that is open. */
void train_spec_write_mlp(const struct seg_train_params *p, struct json_out *o);

#endif
