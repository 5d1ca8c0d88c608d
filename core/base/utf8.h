/* utf8.h - is this text valid UTF-8? Pure, safe from any thread.
 *
 * Well-formed is what Unicode 15, table 3-7 says: no overlong forms, no surrogates, nothing past
 * U+10FFFF, nothing cut short. NUL bytes are characters like others. */
#ifndef SEG_BASE_UTF8_H
#define SEG_BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>

/* Bytes of the character at text, 0 if it is malformed; left >= 1 bytes are there. */
static inline size_t seg_utf8_char(const char *text, size_t left)
{
    const unsigned char *s = (const unsigned char *)text, lead = s[0];
    if (lead < 0x80) return 1;
    size_t n = lead < 0xc2 ? 0 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : lead < 0xf5 ? 4 : 0;
    if (n == 0 || n > left) return 0;
    /* The second byte's range excludes overlong forms, surrogates and what is past U+10FFFF. */
    const unsigned char low = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
    const unsigned char high = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
    if (s[1] < low || s[1] > high) return 0;
    for (size_t i = 2; i < n; i++)
        if ((s[i] & 0xc0) != 0x80) return 0;
    return n;
}

/* True if the len bytes are characters to the end. */
bool seg_utf8_valid(const char *s, size_t len);

#endif
