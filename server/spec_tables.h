/* spec_tables.h - the options of a training spec, for what reads it and for spec_write.c. */
#ifndef SERVER_SPEC_TABLES_H
#define SERVER_SPEC_TABLES_H

#include "spec.h"
#include "spec_fields.h"

/* Names by value, NULL-terminated. */
extern const char *const TASK_NAMES[];
extern const char *const PROMOTE_NAMES[];

/* Tables without a base: what each option is, wherever it stands. */
struct field_list {
    const struct field *fields;
    size_t n;
};
extern const struct field_list COLUMN_FIELDS;  /* of struct seg_column_spec */
extern const struct field_list DROP_FIELDS;    /* of struct seg_column_spec: one, "drop" */
extern const struct field_list OUTLIER_FIELDS; /* of struct seg_column_spec; "method" is first */
extern const struct field_list K_RANGE_FIELDS; /* of struct seg_spec; with "k": "auto" */
extern const struct field_list CATEGORY_WEIGHT_FIELDS; /* of struct seg_prototypes_params: one */
extern const struct field_list SEARCH_FIELDS;          /* of struct seg_spec */
extern const struct field_list CV_FIELDS;              /* of struct seg_spec: one, "cv" */
extern const struct field_list PCA_FIELDS;             /* of struct seg_pca_spec */
extern const struct field_list SPLIT_FIELDS;           /* of struct seg_spec */
extern const struct field_list SPEC_FIELDS;    /* of struct seg_spec: members of the whole spec */
extern const struct field_list OUTCOME_FIELDS; /* of struct train_spec: what becomes of the model */
static inline struct field_table field_table(const struct field_list *list, void *base)
{
    return (struct field_table){ list->fields, list->n, base };
}

#define SPEC_TABLES_MAX 4u
/* The tables of the options of s->algorithm; what is not a plain member (k, category_weight,
 * encoder, head, hidden, search, cv) is not among them. How many. */
size_t spec_algorithm_tables(struct seg_spec *s, struct field_table ret[SPEC_TABLES_MAX]);
/* Those of an MLP: a head or a classifier. */
size_t spec_mlp_tables(struct seg_train_params *p, struct field_table ret[SPEC_TABLES_MAX]);

#endif
