/* user_ids.c - two arrays that double. */
#include "db/user_ids.h"

#include <string.h>
#include "base/alloc.h"

void user_ids_release(struct user_ids *ids)
{
    seg_free(ids->bytes);
    seg_free(ids->ends);
    *ids = (struct user_ids){ 0 };
}

void user_ids_clear(struct user_ids *ids)
{
    ids->n = ids->n_bytes = 0;
}

bool user_ids_reserve(struct user_ids *ids, size_t n, size_t n_bytes)
{
    if (ids->cap - ids->n < n) {
        size_t cap = ids->cap > 0 ? ids->cap * 2 : 4096;
        if (cap < ids->n + n) cap = ids->n + n;
        uint64_t *ends = seg_realloc(ids->ends, cap, sizeof(*ends));
        if (ends == NULL) return false;
        ids->ends = ends;
        ids->cap = cap;
    }
    if (ids->bytes_cap - ids->n_bytes < n_bytes) {
        size_t cap = ids->bytes_cap > 0 ? ids->bytes_cap * 2 : 65536;
        if (cap < ids->n_bytes + n_bytes) cap = ids->n_bytes + n_bytes;
        char *bytes = seg_realloc(ids->bytes, cap, 1);
        if (bytes == NULL) return false;
        ids->bytes = bytes;
        ids->bytes_cap = cap;
    }
    return true;
}

bool user_ids_add(struct user_ids *ids, const char *id, size_t len)
{
    if (!user_ids_reserve(ids, 1, len)) return false;
    if (len > 0) memcpy(ids->bytes + ids->n_bytes, id, len); /* an empty id may come first */
    ids->n_bytes += len;
    ids->ends[ids->n++] = ids->n_bytes;
    return true;
}
