/* status.c - writes a failure's sentence.
 * A sentence may quote a name of any length: one too long is cut between characters, so that it is
 * still UTF-8 when it reaches a reply. */
#include "base/status.h"

#include <stdarg.h>
#include <stdio.h>

enum seg_status seg_fail(struct seg_error *err, enum seg_status st, const char *fmt, ...)
{
    if (err == NULL) return st;
    va_list args;
    va_start(args, fmt);
    int len = vsnprintf(err->text, sizeof err->text, fmt, args);
    va_end(args);
    if (len < 0) {
        err->text[0] = '\0';
    } else if ((size_t)len >= sizeof err->text) {
        size_t end = sizeof err->text - 1;
        unsigned n_tail = 0; /* continuation bytes at the end */
        while (n_tail < 3 && ((unsigned char)err->text[end - 1 - n_tail] & 0xc0) == 0x80)
            n_tail++;
        unsigned char lead = (unsigned char)err->text[end - 1 - n_tail];
        unsigned n_wanted = lead >= 0xf0 ? 3 : lead >= 0xe0 ? 2 : lead >= 0xc0 ? 1 : 0;
        if (n_tail < n_wanted) err->text[end - 1 - n_tail] = '\0';
    }
    return st;
}

const char *seg_status_name(enum seg_status st)
{
    switch (st) {
    case SEG_OK: return "SEG_OK";
    case SEG_EINVAL: return "SEG_EINVAL";
    case SEG_ENOMEM: return "SEG_ENOMEM";
    case SEG_ECANCELED: return "SEG_ECANCELED";
    case SEG_EFORMAT: return "SEG_EFORMAT";
    case SEG_ELIMIT: return "SEG_ELIMIT";
    case SEG_EBUSY: return "SEG_EBUSY";
    }
    return "SEG_?";
}
