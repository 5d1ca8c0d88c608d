/* dictionary.c - open addressing with linear probing. The table of slots holds codes only, so it
 * stays small and a lookup touches at most one string unless two share a slot. */
#include "features/dictionary.h"

#include <string.h>
#include "base/alloc.h"

#define STRINGS_CAP_MIN 8u
#define SLOTS_MIN       16u /* a power of two; slots are kept at most half full */

static uint64_t hash_string(const char *s, size_t len)
{
    uint64_t h = 0xcbf29ce484222325u; /* FNV-1a, 64 bits */
    for (size_t i = 0; i < len; i++)
        h = (h ^ (uint8_t)s[i]) * 0x100000001b3u;
    return h;
}

/* The slot that holds s, or the free one where it belongs. */
static uint32_t slot_of(const struct seg_dictionary *d, const char *s, size_t len)
{
    const uint32_t mask = d->n_slots - 1;
    const uint64_t h = hash_string(s, len);
    uint32_t slot = (uint32_t)(h ^ h >> 32) & mask;
    while (d->slots[slot] != 0) {
        const uint32_t code = d->slots[slot] - 1;
        if (d->lengths[code] == len && memcmp(d->strings[code], s, len) == 0) break;
        slot = (slot + 1) & mask;
    }
    return slot;
}

void seg_dictionary_init(struct seg_dictionary *d)
{
    *d = (struct seg_dictionary){ 0 };
}

void seg_dictionary_release(struct seg_dictionary *d)
{
    for (uint32_t i = 0; i < d->n; i++)
        seg_free(d->strings[i]);
    seg_free(d->strings);
    seg_free(d->lengths);
    seg_free(d->slots);
    seg_dictionary_init(d);
}

uint32_t seg_dictionary_find(const struct seg_dictionary *d, const char *s, size_t len)
{
    if (d->n == 0) return SEG_CODE_UNSEEN;
    const uint32_t held = d->slots[slot_of(d, s, len)];
    return held == 0 ? SEG_CODE_UNSEEN : held - 1;
}

static enum seg_status grow_slots(struct seg_dictionary *d, uint32_t n_slots)
{
    uint32_t *slots = seg_calloc(n_slots, sizeof *slots);
    if (slots == NULL) return SEG_ENOMEM;
    seg_free(d->slots);
    d->slots = slots;
    d->n_slots = n_slots;
    for (uint32_t code = 0; code < d->n; code++)
        d->slots[slot_of(d, d->strings[code], d->lengths[code])] = code + 1;
    return SEG_OK;
}

static enum seg_status grow_strings(struct seg_dictionary *d, uint32_t cap)
{
    char **strings = seg_realloc(d->strings, cap, sizeof *strings);
    if (strings == NULL) return SEG_ENOMEM;
    d->strings = strings;
    uint32_t *lengths = seg_realloc(d->lengths, cap, sizeof *lengths);
    if (lengths == NULL) return SEG_ENOMEM;
    d->lengths = lengths;
    d->cap = cap;
    return SEG_OK;
}

enum seg_status seg_dictionary_add(struct seg_dictionary *d, const char *s, size_t len,
                                   uint32_t *ret_code)
{
    enum seg_status st = SEG_OK;
    uint32_t code = seg_dictionary_find(d, s, len);
    if (code != SEG_CODE_UNSEEN) {
        *ret_code = code;
        return SEG_OK;
    }
    if (d->n == SEG_CATEGORIES_MAX || len >= UINT32_MAX) return SEG_ELIMIT;
    if (d->n == d->cap) st = grow_strings(d, d->cap == 0 ? STRINGS_CAP_MIN : d->cap * 2);
    if (st == SEG_OK && (d->n + 1) * 2 > d->n_slots)
        st = grow_slots(d, d->n_slots == 0 ? SLOTS_MIN : d->n_slots * 2);
    if (st != SEG_OK) return st;

    char *copy = seg_strndup(s, len);
    if (copy == NULL) return SEG_ENOMEM;
    const uint32_t slot = slot_of(d, s, len);
    code = d->n++;
    d->strings[code] = copy;
    d->lengths[code] = (uint32_t)len;
    d->slots[slot] = code + 1;
    *ret_code = code;
    return SEG_OK;
}

enum seg_status seg_dictionary_copy(struct seg_dictionary *ret_d, const struct seg_dictionary *from)
{
    struct seg_dictionary d;
    seg_dictionary_init(&d);
    for (uint32_t i = 0; i < from->n; i++) {
        uint32_t code;
        enum seg_status st = seg_dictionary_add(&d, from->strings[i], from->lengths[i], &code);
        if (st != SEG_OK) {
            seg_dictionary_release(&d);
            return st;
        }
    }
    *ret_d = d;
    return SEG_OK;
}
