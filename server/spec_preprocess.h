/* spec_preprocess.h - the "preprocess" member of a training spec, for spec_read.c. */
#ifndef SERVER_SPEC_PREPROCESS_H
#define SERVER_SPEC_PREPROCESS_H

#include "spec.h"
#include "spec_fields.h"

/* Reads v (NULL: everything by default) into s->core.columns, derived and pca; s->columns is read
 * already, and core.columns has room for SEG_DERIVED_MAX more. groups: what a number and a category
 * start from; a constant of NaN is one that is not given. */
void spec_preprocess_read(struct field_reader *r, const struct json *v,
                          const struct feature_set *fs, struct train_spec *s,
                          struct seg_column_spec groups[2]);

#endif
