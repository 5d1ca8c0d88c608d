/* faults.h - every fault of a request, collected so that all are reported at once.
 * Keeps the first FAULTS_MAX and counts the rest. One thread. */
#ifndef SERVER_FAULTS_H
#define SERVER_FAULTS_H

#include <stddef.h>
#include "base/arena.h"

#define FAULTS_MAX 100

struct fault {
    const char *pointer; /* JSON pointer into the body, "?name" for a query parameter, "line 7,
                            column 3" for text bodies */
    const char *code;    /* stable snake_case, static */
    const char *detail;  /* a sentence: what, which, the limit */
};

struct faults {
    struct seg_arena *arena; /* owns the strings; borrowed */
    struct fault items[FAULTS_MAX];
    size_t n_items;
    size_t n_total; /* including those not kept */
};

void faults_init(struct faults *f, struct seg_arena *arena);
__attribute__((format(printf, 4, 5))) void faults_add(struct faults *f, const char *pointer,
                                                      const char *code, const char *fmt, ...);

#endif
