/* alloc.h - checked heap allocation for the whole program.
 * Sizes are products checked for overflow; everything is freed by seg_free. The only state is the
 * failure hook used by tests, which is atomic: safe from any thread. */
#ifndef SEG_BASE_ALLOC_H
#define SEG_BASE_ALLOC_H

#include <stddef.h>
#include <stdint.h>

/* n * size bytes, uninitialised; NULL when memory is short or the product overflows.
 * A product of 0 gives a pointer that may be freed. */
__attribute__((malloc, warn_unused_result)) void *seg_alloc(size_t n, size_t size);
/* The same, zeroed. */
__attribute__((malloc, warn_unused_result)) void *seg_calloc(size_t n, size_t size);
/* The same, uninitialised, aligned to SEG_ALIGN bytes for vector loads. */
#define SEG_ALIGN 64
__attribute__((malloc, warn_unused_result)) void *seg_alloc_aligned(size_t n, size_t size);
/* Resizes p (from seg_alloc, seg_calloc or NULL). On failure returns NULL and p stays valid. */
__attribute__((warn_unused_result)) void *seg_realloc(void *p, size_t n, size_t size);
/* Makes room for element n of an array with room for *cap: returns it, moved and *cap doubled when
 * it was full. On failure returns NULL; the array and *cap stay valid. */
__attribute__((warn_unused_result)) void *seg_grow(void *array, size_t n, size_t *cap, size_t size);
/* Copies a NUL-terminated string, or the first len bytes of s plus a NUL. */
__attribute__((malloc, warn_unused_result)) char *seg_strdup(const char *s);
__attribute__((malloc, warn_unused_result)) char *seg_strndup(const char *s, size_t len);
/* Frees what any of the above returned; NULL is fine. */
void seg_free(void *p);

/* Tests only: the nth allocation from now (1 = the next one) fails, once; 0 switches the hook off.
 * seg_alloc_count says how many allocations were asked for since the last call of this while it was
 * on: UINT64_MAX counts, and none fails. */
void seg_alloc_fail_at(uint64_t nth);
uint64_t seg_alloc_count(void);

#endif
