/* utf8.c - a walk over the characters of a text. */
#include "base/utf8.h"

bool seg_utf8_valid(const char *s, size_t len)
{
    size_t n;
    for (size_t i = 0; i < len; i += n)
        if ((n = seg_utf8_char(s + i, len - i)) == 0) return false;
    return true;
}
