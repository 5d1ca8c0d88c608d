/* json_text.c - a value that was read, written again. */
#include "json_text.h"

void json_text_copy(struct json_out *o, const struct json *v)
{
    switch (json_kind(v)) {
    case JSON_NULL: json_out_null(o); return;
    case JSON_BOOL: json_out_bool(o, json_bool(v)); return;
    case JSON_NUMBER: json_out_double(o, json_number(v)); return;
    case JSON_STRING: json_out_string(o, json_string(v)); return;
    case JSON_ARRAY:
        json_out_array(o);
        for (const struct json *e = json_first(v); e != NULL; e = json_next(e))
            json_text_copy(o, e);
        json_out_end_array(o);
        return;
    case JSON_OBJECT:
        json_out_object(o);
        for (const struct json *m = json_first(v); m != NULL; m = json_next(m)) {
            json_out_key(o, json_key(m));
            json_text_copy(o, m);
        }
        json_out_end_object(o);
        return;
    }
}
