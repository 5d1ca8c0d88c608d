/* faults.c - the list of a request's faults. Short of memory a fault keeps its code and loses its
 * words: the request is refused all the same. */
#include "faults.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void faults_init(struct faults *f, struct seg_arena *arena)
{
    f->arena = arena;
    f->n_items = 0;
    f->n_total = 0;
}

void faults_add(struct faults *f, const char *pointer, const char *code, const char *fmt, ...)
{
    f->n_total++;
    if (f->n_items == FAULTS_MAX) return;

    char detail[512];
    va_list args;
    va_start(args, fmt);
    vsnprintf(detail, sizeof detail, fmt, args);
    va_end(args);

    struct fault *item = &f->items[f->n_items++];
    const char *kept_pointer = seg_arena_strndup(f->arena, pointer, strlen(pointer));
    const char *kept_detail = seg_arena_strndup(f->arena, detail, strlen(detail));
    item->pointer = kept_pointer != NULL ? kept_pointer : "";
    item->code = code;
    item->detail = kept_detail != NULL ? kept_detail : code;
}
