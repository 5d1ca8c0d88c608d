/* utf8.h - is this text valid UTF-8? Pure, safe from any thread. */
#ifndef SEG_BASE_UTF8_H
#define SEG_BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>

/* True if the len bytes are well-formed UTF-8 (Unicode 15, table 3-7): no overlong forms, no
 * surrogates, nothing past U+10FFFF, nothing cut short. NUL bytes are characters like others. */
bool seg_utf8_valid(const char *s, size_t len);

#endif
