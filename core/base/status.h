/* status.h - how the core says that something went wrong.
 * Every fallible function returns an enum seg_status and takes an optional struct seg_error last:
 * one sentence for a person, lower case, what failed, which one, what the limit is.
 * Pure values, no state: safe from any thread. */
#ifndef SEG_BASE_STATUS_H
#define SEG_BASE_STATUS_H

enum seg_status {
    SEG_OK = 0,
    SEG_EINVAL,    /* parameters or data do not make sense; the sentence says which */
    SEG_ENOMEM,    /* an allocation failed */
    SEG_ECANCELED, /* the caller's cancel flag became true */
    SEG_EFORMAT,   /* bytes are not what they claim to be (a model file) */
    SEG_ELIMIT,    /* a documented limit was exceeded */
    SEG_EBUSY,     /* a bounded queue is full */
};

struct seg_error {
    char text[320]; /* NUL-terminated, empty until a failure is described */
};

/* Writes the sentence into err (which may be NULL) and returns st, so that a failure reads
 * `return seg_fail(err, SEG_EINVAL, "k is %u (limit %u)", k, max);`. */
__attribute__((format(printf, 3, 4))) enum seg_status seg_fail(struct seg_error *err,
                                                               enum seg_status st, const char *fmt,
                                                               ...);

/* The stable name of a status, as in "SEG_EINVAL". Static storage. */
const char *seg_status_name(enum seg_status st);

#endif
