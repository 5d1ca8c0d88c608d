/* spec_derive.h - the parts of "preprocess" that make columns of other columns: "derive", and
 * "date_parts" of a timestamp. What is derived is written and read in the same form; a derived
 * column is named by the client, a part of a date after its column: "joined.month.sin". */
#ifndef SERVER_SPEC_DERIVE_H
#define SERVER_SPEC_DERIVE_H

#include "spec.h"
#include "spec_fields.h"

/* Reads "derive" (NULL: none) and the "date_parts" in "columns" (NULL: none) into s->core.derived:
 * first the derived columns, each after those it needs, then the parts in the order of their
 * columns. s->columns is read already. Adds a fault for each name that is taken, operand that is
 * none or of the wrong type, and column that would need itself. */
void spec_derive_read(struct field_reader *r, const struct json *derive, const struct json *columns,
                      const struct feature_set *fs, struct train_spec *s);
/* Whether anything is derived from feature or derived column i, numbered as in seg_derived.of. */
bool spec_derive_uses(const struct train_spec *s, uint32_t i);
/* The "derive" member of preprocess, if there is something to write. */
void spec_derive_write(const struct train_spec *s, const struct feature_set *fs,
                       struct json_out *o);
/* The "date_parts" member of feature i, if it has some. */
void spec_derive_write_parts(const struct train_spec *s, uint32_t i, struct json_out *o);

#endif
