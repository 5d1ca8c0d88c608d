/* train_spec.h - the options of `segmentctl train` as the JSON that the service wants. Values are
 * not judged here: the service knows what it can do, and says all that is wrong at once. */
#ifndef CTL_TRAIN_SPEC_H
#define CTL_TRAIN_SPEC_H

#include "commands.h"

/* EXIT_DONE: *ret is the spec's text, which the caller must seg_free. Any other: it was said on
 * stderr what is wrong. */
int train_spec_text(const struct arguments *a, char **ret, size_t *ret_len);

#endif
