/* json_text.h - writing down again what was read as JSON. */
#ifndef CTL_JSON_TEXT_H
#define CTL_JSON_TEXT_H

#include "json/json.h"
#include "json/json_out.h"

/* Appends the value and all within it. Depth is bounded by JSON_DEPTH_MAX. */
void json_text_copy(struct json_out *o, const struct json *v);

#endif
