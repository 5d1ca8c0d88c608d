/* rows_decoding.h - one batch for the tests of a decoder, made anew for each of them. Include after
 * cmocka.h. */
#ifndef TESTS_UNIT_ROWS_DECODING_H
#define TESTS_UNIT_ROWS_DECODING_H

#include "rows_fixture.h"

#define ROWS_MAX 100000u
#define N_OF(a)  (sizeof(a) / sizeof((a)[0]))
#define T(name)  cmocka_unit_test_setup_teardown(name, setup, teardown)

static struct seg_schema schema;
static struct rows rows;
static struct rows_error error;
static char *body; /* of the rows: ids are borrowed from it */

static inline int setup(void **state)
{
    (void)state;
    fixture_init(&schema);
    rows_init(&rows, &schema);
    return 0;
}

static inline int teardown(void **state)
{
    (void)state;
    rows_release(&rows);
    seg_schema_release(&schema);
    seg_free(body);
    body = NULL;
    return 0;
}

#endif
