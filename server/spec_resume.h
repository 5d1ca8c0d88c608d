/* spec_resume.h - warm starts and pretrained encoders, for spec_read.c: what must be as in the
 * version that training goes on from. Its preprocessing holds, or weights and centroids would mean
 * something else. */
#ifndef SERVER_SPEC_RESUME_H
#define SERVER_SPEC_RESUME_H

#include "spec.h"
#include "spec_fields.h"

/* Faults where body gives features or preprocess other than those of the earlier version. */
void spec_resume_columns(struct field_reader *r, const struct json *body,
                         const struct earlier_version *earlier);
/* Faults where s, which is otherwise well, has another shape than the earlier version. */
void spec_resume_check(struct field_reader *r, const struct earlier_version *earlier,
                       const struct feature_set *fs, const struct train_spec *s);

#endif
