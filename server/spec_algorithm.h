/* spec_algorithm.h - the "algorithm" member of a training spec, for spec_read.c. */
#ifndef SERVER_SPEC_ALGORITHM_H
#define SERVER_SPEC_ALGORITHM_H

#include "spec.h"
#include "spec_fields.h"

/* Reads v (NULL: a fault) into s->algorithm and its parameters, the head and the search included,
 * over the defaults that stand there; s->task is read already. */
void spec_algorithm_read(struct field_reader *r, const struct json *v, struct seg_spec *s);

#endif
