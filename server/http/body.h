/* body.h - the bytes of a request body on their way in: inflated where they were compressed,
 * counted against a limit, in memory up to 1 MiB and after that in an unlinked spool file. One
 * thread at a time. */
#ifndef SERVER_HTTP_BODY_H
#define SERVER_HTTP_BODY_H

#include "http/inflate.h"
#include "http/request.h"

#define BODY_MEMORY_MAX ((size_t)1 << 20)
/* A body that inflates to more than this many times its length is refused once it is past
 * BODY_MEMORY_MAX: rows compress ten to a hundred times, a bomb a thousand and more. */
#define BODY_RATIO_MAX 500u

struct body_sink {
    const char *spool_dir; /* borrowed */
    uint64_t max;          /* bytes allowed, inflated */
    uint64_t len;          /* bytes taken, inflated */
    char *buf;             /* the whole body while it is small; NULL once spooled */
    size_t cap;
    int fd;                  /* spool file, -1 while in memory */
    struct inflate *inflate; /* NULL: the bytes are the body */
    enum coding coding;
    uint64_t wire_len; /* bytes taken, as they came */
    char why[96];      /* after a failure: a sentence for the user, or "" */
};

/* The error codes are those of a reply; BODY_TAKEN means that all is well. */
#define BODY_TAKEN ((enum http_error)HTTP_N_ERRORS)

void body_sink_init(struct body_sink *s, uint64_t max, const char *spool_dir);
/* From now on what comes is compressed. ERR_NO_MEMORY. */
enum http_error body_sink_inflate(struct body_sink *s, enum coding coding);
/* Takes a piece. expected: bytes of the whole body when known, else 0: a hint for memory.
 * ERR_TOO_LARGE, ERR_BAD_BODY (not of the coding), ERR_NO_MEMORY, ERR_NO_SPACE. */
enum http_error body_sink_write(struct body_sink *s, const char *data, size_t len,
                                uint64_t expected);
/* No more comes. On BODY_TAKEN *ret has the body, and s nothing any more. */
enum http_error body_sink_end(struct body_sink *s, struct http_body *ret);
void body_sink_release(struct body_sink *s);
/* Frees what body_sink_end gave. */
void body_release(struct http_body *b);

#endif
