/* dictionary.h - the distinct strings of a categorical column, numbered 0.. in order of first
 * sight. Many readers or one writer. Hash: FNV-1a, open addressing. */
#ifndef SEG_FEATURES_DICTIONARY_H
#define SEG_FEATURES_DICTIONARY_H

#include <stddef.h>
#include <stdint.h>
#include "base/status.h"

#define SEG_CODE_MISSING   UINT32_MAX       /* no value */
#define SEG_CODE_UNSEEN    (UINT32_MAX - 1) /* a value that training did not see */
#define SEG_CATEGORIES_MAX 1000000u         /* distinct values of one column */

struct seg_dictionary {
    char **strings; /* code -> NUL-terminated UTF-8 */
    uint32_t *lengths;
    uint32_t n, cap;
    uint32_t *slots; /* hash table of code + 1; 0 = free */
    uint32_t n_slots;
};

/* Empty. Allocates nothing. */
void seg_dictionary_init(struct seg_dictionary *d);
/* Frees the strings; empty afterwards. */
void seg_dictionary_release(struct seg_dictionary *d);
/* The code of s, or SEG_CODE_UNSEEN. */
uint32_t seg_dictionary_find(const struct seg_dictionary *d, const char *s, size_t len);
/* The code of s, added when new. SEG_ENOMEM, SEG_ELIMIT past SEG_CATEGORIES_MAX. */
enum seg_status seg_dictionary_add(struct seg_dictionary *d, const char *s, size_t len,
                                   uint32_t *ret_code);
/* A new dictionary with the same codes. SEG_ENOMEM. */
enum seg_status seg_dictionary_copy(struct seg_dictionary *ret_d,
                                    const struct seg_dictionary *from);

#endif
