/* test_schema.c - a schema takes what makes sense, says no to the rest, and numbers the cells. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
#include "base/alloc.h"
#include "features/schema.h"

static void schema_numbers_cells_in_order(void **state)
{
    (void)state;
    struct seg_schema s;
    seg_schema_init(&s);
    assert_int_equal(seg_schema_add(&s, "age", SEG_NUMERIC, 1, NULL), SEG_OK);
    assert_int_equal(seg_schema_add(&s, "embedding", SEG_VECTOR, 8, NULL), SEG_OK);
    assert_int_equal(seg_schema_add(&s, "channel", SEG_CATEGORICAL, 1, NULL), SEG_OK);
    assert_int_equal(s.n_features, 3);
    assert_int_equal(s.n_cells, 10);
    assert_int_equal(s.features[1].cell, 1);
    assert_int_equal(s.features[2].cell, 9);
    assert_int_equal(seg_schema_find(&s, "channel", 7), 2);
    assert_int_equal(seg_schema_find(&s, "channels", 7), 2); /* len bytes, not up to the NUL */
    assert_int_equal(seg_schema_find(&s, "chan", 4), -1);
    assert_int_equal(seg_schema_find(&s, "age\0\0", 5), -1);
    seg_schema_release(&s);
    assert_int_equal(s.n_cells, 0);
}

static void expect(struct seg_schema *s, const char *name, enum seg_type type, uint32_t width,
                   enum seg_status want)
{
    struct seg_error err = { "" };
    const uint32_t n_features = s->n_features, n_cells = s->n_cells;
    assert_int_equal(seg_schema_add(s, name, type, width, &err), want);
    if (want == SEG_OK) return;
    assert_true(err.text[0] != '\0');
    assert_int_equal(s->n_features, n_features);
    assert_int_equal(s->n_cells, n_cells);
}

static void schema_refuses_what_makes_no_sense(void **state)
{
    (void)state;
    struct seg_schema s;
    char name[SEG_NAME_BYTES_MAX + 2];
    memset(name, 'n', sizeof name);
    name[SEG_NAME_BYTES_MAX + 1] = '\0';
    seg_schema_init(&s);
    expect(&s, "age", SEG_NUMERIC, 1, SEG_OK);
    expect(&s, "age", SEG_BOOLEAN, 1, SEG_EINVAL);
    expect(&s, "", SEG_NUMERIC, 1, SEG_EINVAL);
    expect(&s, name, SEG_NUMERIC, 1, SEG_EINVAL);
    name[SEG_NAME_BYTES_MAX] = '\0';
    expect(&s, name, SEG_NUMERIC, 1, SEG_OK);
    expect(&s, "a", SEG_NUMERIC, 2, SEG_EINVAL);
    expect(&s, "a", SEG_CATEGORICAL, 0, SEG_EINVAL);
    expect(&s, "a", SEG_VECTOR, 0, SEG_EINVAL);
    expect(&s, "a", (enum seg_type)5, 1, SEG_EINVAL);
    expect(&s, "a", SEG_VECTOR, SEG_VECTOR_WIDTH_MAX + 1, SEG_ELIMIT);
    expect(&s, "a", SEG_VECTOR, SEG_VECTOR_WIDTH_MAX, SEG_OK);
    expect(&s, "b", SEG_VECTOR, 1, SEG_OK);
    seg_schema_release(&s);
}

static void schema_keeps_its_limits(void **state)
{
    (void)state;
    struct seg_schema s;
    char name[16];
    seg_schema_init(&s);
    for (unsigned i = 0; i < SEG_CELLS_MAX / SEG_VECTOR_WIDTH_MAX; i++) {
        snprintf(name, sizeof name, "v%u", i);
        expect(&s, name, SEG_VECTOR, SEG_VECTOR_WIDTH_MAX, SEG_OK);
    }
    expect(&s, "one more", SEG_NUMERIC, 1, SEG_ELIMIT);
    seg_schema_release(&s);
    for (unsigned i = 0; i < SEG_FEATURES_MAX; i++) {
        snprintf(name, sizeof name, "f%u", i);
        expect(&s, name, SEG_NUMERIC, 1, SEG_OK);
    }
    expect(&s, "one more", SEG_NUMERIC, 1, SEG_ELIMIT);
    seg_schema_release(&s);
}

static void schema_type_names_go_there_and_back(void **state)
{
    (void)state;
    for (int type = SEG_NUMERIC; type <= SEG_VECTOR; type++)
        assert_int_equal(seg_type_from_name(seg_type_name((enum seg_type)type)), type);
    assert_int_equal(seg_type_from_name("number"), -1);
    assert_int_equal(seg_type_from_name(""), -1);
}

static void schema_copy_survives_every_failed_allocation(void **state)
{
    (void)state;
    uint64_t nth = 1;
    for (;; nth++) {
        struct seg_schema s, copy;
        uint32_t code;
        seg_schema_init(&s);
        seg_schema_init(&copy);
        seg_alloc_fail_at(nth);
        enum seg_status st = seg_schema_add(&s, "channel", SEG_CATEGORICAL, 1, NULL);
        if (st == SEG_OK) st = seg_dictionary_add(&s.features[0].dictionary, "app", 3, &code);
        if (st == SEG_OK) st = seg_schema_add(&s, "age", SEG_NUMERIC, 1, NULL);
        if (st == SEG_OK) st = seg_schema_copy(&copy, &s);
        seg_alloc_fail_at(0);
        seg_schema_release(&s);
        if (st == SEG_OK) {
            assert_int_equal(copy.n_cells, 2);
            assert_string_equal(copy.features[1].name, "age");
            assert_int_equal(seg_dictionary_find(&copy.features[0].dictionary, "app", 3), 0);
        }
        seg_schema_release(&copy);
        if (st == SEG_OK) break;
        assert_int_equal(st, SEG_ENOMEM);
        assert_true(nth < 1000);
    }
    assert_true(nth > 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(schema_numbers_cells_in_order),
        cmocka_unit_test(schema_refuses_what_makes_no_sense),
        cmocka_unit_test(schema_keeps_its_limits),
        cmocka_unit_test(schema_type_names_go_there_and_back),
        cmocka_unit_test(schema_copy_survives_every_failed_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
