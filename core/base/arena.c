/* arena.c - a list of blocks, the newest of which has room left.
 * Blocks double from 1 KiB, which malloc keeps at hand for each thread, to 64 KiB, so that a small
 * request costs one allocation and a large one few. What does not fit a fresh block gets one of its
 * own, put behind the head: the head keeps its room. */
#include "base/arena.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include "base/alloc.h"

#define ALIGN           16u
#define BLOCK_BYTES_MIN 992u /* 1 KiB with its head */
#define BLOCK_BYTES_MAX 65536u

struct seg_arena_block {
    struct seg_arena_block *next;
    size_t used_bytes;
    size_t size_bytes;
    _Alignas(ALIGN) unsigned char data[];
};

void seg_arena_init(struct seg_arena *a, size_t max_bytes)
{
    *a = (struct seg_arena){ .max_bytes = max_bytes };
}

void seg_arena_release(struct seg_arena *a)
{
    struct seg_arena_block *next;
    for (struct seg_arena_block *b = a->head; b != NULL; b = next) {
        next = b->next;
        seg_free(b);
    }
    a->head = NULL;
    a->used_bytes = 0;
}

/* A block with room for size bytes: the head, a new head, or one behind the head. */
static struct seg_arena_block *block_for(struct seg_arena *a, size_t size)
{
    struct seg_arena_block *head = a->head;
    if (head != NULL && size <= head->size_bytes - head->used_bytes) return head;

    size_t block_bytes = BLOCK_BYTES_MIN;
    if (head != NULL)
        block_bytes =
            head->size_bytes < BLOCK_BYTES_MAX / 2 ? head->size_bytes * 2 : BLOCK_BYTES_MAX;
    const bool is_large =
        size > block_bytes / 4; /* would leave much of the head or itself unused */
    if (is_large) block_bytes = size;
    if (block_bytes > SIZE_MAX - sizeof *head) return NULL;
    struct seg_arena_block *b = seg_alloc(1, sizeof *b + block_bytes);
    if (b == NULL) return NULL;
    b->used_bytes = 0;
    b->size_bytes = block_bytes;
    if (is_large && head != NULL) {
        b->next = head->next;
        head->next = b;
    } else {
        b->next = head;
        a->head = b;
    }
    return b;
}

void *seg_arena_alloc(struct seg_arena *a, size_t size)
{
    if (size > SIZE_MAX - ALIGN) return NULL;
    size_t bytes = size == 0 ? ALIGN : (size + ALIGN - 1) / ALIGN * ALIGN;
    if (a->max_bytes != 0 && (bytes > a->max_bytes || a->used_bytes > a->max_bytes - bytes))
        return NULL;
    struct seg_arena_block *b = block_for(a, bytes);
    if (b == NULL) return NULL;
    void *p = b->data + b->used_bytes;
    b->used_bytes += bytes;
    a->used_bytes += bytes;
    return p;
}

char *seg_arena_strndup(struct seg_arena *a, const char *s, size_t len)
{
    if (len == SIZE_MAX) return NULL;
    char *copy = seg_arena_alloc(a, len + 1);
    if (copy == NULL) return NULL;
    if (len > 0) memcpy(copy, s, len);
    copy[len] = '\0';
    return copy;
}

char *seg_arena_join(struct seg_arena *a, const char *const *pieces, size_t n,
                     const char *separator)
{
    size_t len = 0, between = strlen(separator);
    for (size_t i = 0; i < n; i++)
        len += strlen(pieces[i]) + (i > 0 ? between : 0);
    char *text = seg_arena_alloc(a, len + 1), *end = text;
    if (text == NULL) return NULL;
    for (size_t i = 0; i < n; i++) {
        if (i > 0) end = stpcpy(end, separator);
        end = stpcpy(end, pieces[i]);
    }
    *end = '\0';
    return text;
}

char *seg_arena_printf(struct seg_arena *a, const char *fmt, ...)
{
    va_list args, again;
    va_start(args, fmt);
    va_copy(again, args);
    int len = vsnprintf(NULL, 0, fmt, args);
    char *text = len < 0 ? NULL : seg_arena_alloc(a, (size_t)len + 1);
    if (text != NULL) vsnprintf(text, (size_t)len + 1, fmt, again);
    va_end(again);
    va_end(args);
    return text;
}
