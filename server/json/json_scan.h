/* json_scan.h - a strict reader of RFC 8259 that builds nothing: it says whether bytes are one JSON
 * document, and where they stop being one. cJSON alone is not strict enough. Pure. */
#ifndef SERVER_JSON_JSON_SCAN_H
#define SERVER_JSON_JSON_SCAN_H

#include "json/json.h"

/* Characters of one number: cJSON copies no more of it. */
#define JSON_NUMBER_CHARS_MAX 63

/* True when bytes are one valid document; else *fault. Duplicate keys are not looked for. */
bool json_scan(const char *bytes, size_t len, struct json_fault *fault);
/* Line and column of the nth (from 0) member name of a valid document, in the order of the text. */
void json_scan_key_place(const char *bytes, size_t len, size_t nth, struct json_fault *fault);

#endif
