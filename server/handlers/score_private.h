/* score_private.h - what score_parts.c prepares and score.c writes. A part is followed by
 * PART_SLACK bytes of its own, and a row's room has as many to spare: parts and texts of
 * confidences are copied in whole vectors. */
#ifndef SERVER_HANDLERS_SCORE_PRIVATE_H
#define SERVER_HANDLERS_SCORE_PRIVATE_H

#include "handlers/score.h"

#include <stdio.h>
#include <string.h>

#define PART_SLACK    32u
#define NUMBER_BYTES  32u         /* of a float's or integer's, with what stands around it */
#define USER_ID_BYTES (256u * 6u) /* every byte escaped */
#define FIXED_BYTES   512u        /* keys, brackets, statuses of a row */

struct part {
    const char *text;
    size_t len;
};

struct score {
    const struct seg_model *model;
    const struct seg_schema *schema;
    enum score_format format;
    bool is_classification, has_probabilities;
    uint32_t n_results;
    struct part head;           /* what stands before the rows; empty for SCORE_NDJSON */
    struct part *results;       /* (n_results) a good row up to its confidence; the first byte only
                                   where it has no user id */
    struct part *probabilities; /* (n_results) what stands before each probability */
    struct part *features;      /* (n_features + n_derived) names as JSON strings */
    uint32_t *derived;          /* (n_derived) numbers of the derived columns that "imputed" names:
                                   all but parts of dates, which are missing with their column */
    uint32_t n_derived;
    size_t row_bytes_max;   /* of a row that is not invalid */
    size_t row_bytes_usual; /* of a good row without a user id */
};

/* What a block of n_rows rows, or the first one of more, usually takes, and a row to spare. */
static inline size_t score_block_bytes(const struct score *s, uint32_t n_rows)
{
    if (n_rows > SCORE_BLOCK_ROWS) n_rows = SCORE_BLOCK_ROWS;
    return n_rows * s->row_bytes_usual + s->row_bytes_max;
}

static inline char *put(char *p, const char *s, size_t n)
{
    memcpy(p, s, n);
    return p + n;
}
#define PUT(p, literal) put((p), (literal), sizeof(literal) - 1)

static inline char *put_part(char *p, const struct part *part)
{
    size_t i = 0;
    do { /* mostly once */
        memcpy(p + i, part->text + i, PART_SLACK);
        i += PART_SLACK;
    } while (i < part->len);
    return p + part->len;
}

/* s as a JSON string, at most 6 len + 2 bytes; as a CSV field, at most 2 len + 2. */
static inline char *put_json(char *p, const char *s, size_t len)
{
    *p++ = '"';
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)s[i];
        if (c == '"' || c == '\\') {
            *p++ = '\\';
            *p++ = (char)c;
        } else if (c < 0x20) {
            p += sprintf(p, "\\u%04x", c);
        } else {
            *p++ = (char)c;
        }
    }
    *p++ = '"';
    return p;
}

/* s within the quotes of a CSV field. */
static inline char *put_csv_quoted(char *p, const char *s, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (s[i] == '"') *p++ = '"';
        *p++ = s[i];
    }
    return p;
}

static inline char *put_csv(char *p, const char *s, size_t len)
{
    bool quote = false;
    for (size_t i = 0; i < len; i++)
        quote |= s[i] == '"' || s[i] == ',' || s[i] == '\n' || s[i] == '\r';
    if (!quote) return put(p, s, len);
    return PUT(put_csv_quoted(PUT(p, "\""), s, len), "\"");
}

#endif
