/* user_ids.h - many user ids in the order of their rows, as bytes one after the other.
 * One thread at a time. Starts as {0}. */
#ifndef SERVER_DB_USER_IDS_H
#define SERVER_DB_USER_IDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct user_ids {
    char *bytes;
    size_t n_bytes, bytes_cap;
    uint64_t *ends; /* (n) end offset of each id */
    size_t n, cap;
};

void user_ids_release(struct user_ids *ids);
/* Room for n more ids of n_bytes together. False: no memory. */
bool user_ids_reserve(struct user_ids *ids, size_t n, size_t n_bytes);
/* False: no memory. */
bool user_ids_add(struct user_ids *ids, const char *id, size_t len);
/* Forgets all, keeps the memory. */
void user_ids_clear(struct user_ids *ids);

/* Id i (not terminated), borrowed until ids changes. */
static inline const char *user_ids_at(const struct user_ids *ids, size_t i, size_t *ret_len)
{
    uint64_t start = i == 0 ? 0 : ids->ends[i - 1];
    *ret_len = (size_t)(ids->ends[i] - start);
    return ids->bytes + start;
}

#endif
