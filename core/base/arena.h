/* arena.h - memory of one lifetime: many small allocations, freed in one place.
 * Owned by one thread at a time. Nothing given out moves or is freed before the arena is. */
#ifndef SEG_BASE_ARENA_H
#define SEG_BASE_ARENA_H

#include <stddef.h>

struct seg_arena_block;
struct seg_arena {
    struct seg_arena_block *head; /* newest block; NULL when nothing was allocated */
    size_t used_bytes;            /* given out so far */
    size_t max_bytes;             /* refuse to give out more; 0 = no limit */
};

void seg_arena_init(struct seg_arena *a, size_t max_bytes);
/* size bytes aligned to 16, or NULL when memory or the limit is reached. */
void *seg_arena_alloc(struct seg_arena *a, size_t size);
/* A NUL-terminated copy of len bytes. */
char *seg_arena_strndup(struct seg_arena *a, const char *s, size_t len);
/* A formatted string. */
__attribute__((format(printf, 2, 3))) char *seg_arena_printf(struct seg_arena *a, const char *fmt,
                                                             ...);
/* The n strings in one, with separator between them. */
char *seg_arena_join(struct seg_arena *a, const char *const *pieces, size_t n,
                     const char *separator);
/* Frees everything; the arena may be used again. */
void seg_arena_release(struct seg_arena *a);

#endif
