/* alloc.c - malloc behind overflow checks and a hook that makes the nth allocation fail.
 * The hook counts instead of counting down: the nth is hit exactly once whatever the number of
 * threads. It counts only while a test has set it: a counter that every thread writes goes from
 * processor to processor with every allocation. */
#include "base/alloc.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static atomic_uint_fast64_t n_asked; /* allocations since seg_alloc_fail_at */
static atomic_uint_fast64_t fail_at; /* the one to refuse; 0: the hook is off */

void seg_alloc_fail_at(uint64_t nth)
{
    atomic_store_explicit(&fail_at, 0, memory_order_relaxed); /* no hit while the count restarts */
    atomic_store_explicit(&n_asked, 0, memory_order_relaxed);
    atomic_store_explicit(&fail_at, nth, memory_order_relaxed);
}

uint64_t seg_alloc_count(void)
{
    return atomic_load_explicit(&n_asked, memory_order_relaxed);
}

static bool is_refused(void)
{
    const uint64_t nth = atomic_load_explicit(&fail_at, memory_order_relaxed);
    return nth != 0 && atomic_fetch_add_explicit(&n_asked, 1, memory_order_relaxed) + 1 == nth;
}

/* True, with the bytes to ask for, if this allocation may go ahead. */
static bool may_allocate(size_t n, size_t size, size_t *ret_bytes)
{
    if (is_refused()) return false;
    size_t bytes;
    /* Past PTRDIFF_MAX pointers into it could not be subtracted: no object is larger. */
    if (__builtin_mul_overflow(n, size, &bytes) || bytes > PTRDIFF_MAX) return false;
    *ret_bytes = bytes != 0 ? bytes : 1; /* malloc(0) may be NULL, which would read as a failure */
    return true;
}

void *seg_alloc(size_t n, size_t size)
{
    size_t bytes;
    return may_allocate(n, size, &bytes) ? malloc(bytes) : NULL;
}

void *seg_calloc(size_t n, size_t size)
{
    size_t bytes;
    return may_allocate(n, size, &bytes) ? calloc(1, bytes) : NULL;
}

void *seg_alloc_aligned(size_t n, size_t size)
{
    size_t bytes;
    if (!may_allocate(n, size, &bytes)) return NULL;
    /* aligned_alloc wants a multiple of the alignment. */
    return aligned_alloc(SEG_ALIGN, (bytes + SEG_ALIGN - 1) / SEG_ALIGN * SEG_ALIGN);
}

void *seg_realloc(void *p, size_t n, size_t size)
{
    size_t bytes;
    return may_allocate(n, size, &bytes) ? realloc(p, bytes) : NULL;
}

void *seg_grow(void *array, size_t n, size_t *cap, size_t size)
{
    if (n < *cap) return array;
    const size_t cap_new = *cap == 0 ? 8 : *cap * 2; /* overflows after the bytes do: they fail */
    void *grown = seg_realloc(array, cap_new, size);
    if (grown != NULL) *cap = cap_new;
    return grown;
}

char *seg_strndup(const char *s, size_t len)
{
    if (len == SIZE_MAX) return NULL;
    char *copy = seg_alloc(len + 1, 1);
    if (copy == NULL) return NULL;
    if (len > 0) memcpy(copy, s, len);
    copy[len] = '\0';
    return copy;
}

char *seg_strdup(const char *s)
{
    return seg_strndup(s, strlen(s));
}

void seg_free(void *p)
{
    free(p);
}
