/* text.h - putting text on a terminal that somebody else wrote. Names, messages and values come
 * from the server and from its users; a control character among them could move the cursor, rename
 * the window or hide what follows. Each is shown as U+FFFD, and so is what is no UTF-8. What is
 * refused: C0 and C1 controls, DEL, line and paragraph separators, bidirectional controls.
 * Widths need setlocale(LC_CTYPE, a UTF-8 locale). One thread. */
#ifndef CTL_TEXT_H
#define CTL_TEXT_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* The first character of s (len bytes) in *ret, U+FFFD for one that must not be shown or is no
 * UTF-8. Returns its bytes, 0 when s ends inside it (or is empty). */
size_t text_next(const char *s, size_t len, uint32_t *ret);
/* Columns that the text takes when shown. */
size_t text_width(const char *s);
/* Shows the text. */
void text_write(FILE *out, const char *s);
/* Shows as much of it as fits into so many columns; returns the columns taken. */
size_t text_write_within(FILE *out, const char *s, size_t n_columns);
/* Writes a JSON document as it is, but spells characters that must not be shown as \uXXXX, which
 * means the same. */
void text_write_json(FILE *out, const char *json, size_t len);

/* Shows a stream that comes in pieces; line ends and tabs pass. Begins zeroed. */
struct text_filter {
    char held[4]; /* the beginning of a character whose rest is in the next piece */
    size_t n_held;
};
void text_filter_write(struct text_filter *f, FILE *out, const char *bytes, size_t len);

/* A line of text on stdout, shown; cut at 2 KiB. */
__attribute__((format(printf, 1, 2))) void say(const char *fmt, ...);
/* The same on stderr, after "segmentctl: ". */
__attribute__((format(printf, 1, 2))) void complain(const char *fmt, ...);

#endif
