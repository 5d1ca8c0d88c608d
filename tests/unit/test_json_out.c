/* test_json_out.c - the writer's text is JSON and its numbers read back as themselves in the fewest
 * digits. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/alloc.h"
#include "base/rng.h"
#include "json/json.h"
#include "json/json_out.h"

static void taken_is(struct json_out *o, const char *expected)
{
    size_t len;
    char *text = json_out_take(o, &len);
    assert_non_null(text);
    assert_int_equal(len, strlen(text));
    assert_string_equal(text, expected);
    seg_free(text);
}

static void commas_and_nesting_come_out_right(void **state)
{
    (void)state;
    struct json_out o;
    json_out_init(&o);
    json_out_object(&o);
    json_out_member_string(&o, "a", "x");
    json_out_key(&o, "b");
    json_out_array(&o);
    json_out_int(&o, INT64_MIN);
    json_out_uint(&o, UINT64_MAX);
    json_out_array(&o);
    json_out_end_array(&o);
    json_out_object(&o);
    json_out_end_object(&o);
    json_out_null(&o);
    json_out_end_array(&o);
    json_out_member_bool(&o, "c", false);
    json_out_member_raw(&o, "d", "{\"e\":[1]}");
    json_out_member_raw(&o, "f", NULL);
    json_out_member_uint(&o, "g", 0);
    json_out_member_double(&o, "h", 0.1);
    json_out_member_string(&o, "i", NULL);
    json_out_end_object(&o);
    taken_is(&o, "{\"a\":\"x\",\"b\":[-9223372036854775808,18446744073709551615,[],{},null],"
                 "\"c\":false,\"d\":{\"e\":[1]},\"f\":null,\"g\":0,\"h\":0.1,\"i\":null}");
}

static void every_byte_a_string_may_hold_reads_back(void **state)
{
    (void)state;
    char text[0x80 + 5];
    size_t n = 0;
    for (char c = 1; c != 0x7f; c++)
        text[n++] = c;
    memcpy(text + n, "\xc3\xa9\xf0\x9f\x98\x80", 7);
    struct json_out o;
    json_out_init(&o);
    json_out_string(&o, text);
    size_t len;
    char *out = json_out_take(&o, &len);
    struct json_fault fault;
    struct json *doc = json_parse(out, len, &fault);
    assert_non_null(doc);
    assert_string_equal(json_string(doc), text);
    json_free(doc);
    seg_free(out);
}

static void an_empty_writer_gives_an_empty_text(void **state)
{
    (void)state;
    struct json_out o;
    json_out_init(&o);
    taken_is(&o, "");
}

static void not_finite_is_null_in_json_and_nothing_in_csv(void **state)
{
    (void)state;
    struct json_out o;
    json_out_init(&o);
    json_out_array(&o);
    json_out_float(&o, NAN);
    json_out_float(&o, -INFINITY);
    json_out_double(&o, NAN);
    json_out_double(&o, INFINITY);
    json_out_end_array(&o);
    taken_is(&o, "[null,null,null,null]");
    char text[JSON_NUMBER_BYTES];
    assert_int_equal(float_text(NAN, text), 0);
    assert_int_equal(float_text(INFINITY, text), 0);
    assert_int_equal(double_text(-INFINITY, text), 0);
}

static void numbers_look_as_people_write_them(void **state)
{
    (void)state;
    static const struct {
        float x;
        const char *text;
    } FLOATS[] = {
        { 0, "0" },
        { -0.0f, "-0" },
        { 1, "1" },
        { -1.5f, "-1.5" },
        { 0.1f, "0.1" },
        { 100, "100" },
        { 123456, "123456" },
        { 16777216, "16777216" },
        { 1e10f, "10000000000" },
        { 0.3f, "0.3" },
        { 0.001f, "0.001" },
        { 0.000123f, "0.000123" },
        { 1e-5f, "0.00001" },
        { 1.2345678e-6f, "0.0000012345678" },
        { 1e-6f, "0.000001" },
        { 9.999999e-7f, "9.999999e-7" },
        { 1.5e-10f, "1.5e-10" },
        { 1e20f, "1e20" },
        { FLT_MAX, "3.4028235e38" },
        { FLT_MIN, "1.1754944e-38" },
        { FLT_TRUE_MIN, "1e-45" },
        { 0.33333334f, "0.33333334" },
    };
    static const struct {
        double x;
        const char *text;
    } DOUBLES[] = {
        { 0, "0" },
        { -0.0, "-0" },
        { 0.1, "0.1" },
        { 1.0 / 3, "0.3333333333333333" },
        { 1e15, "1000000000000000" },
        { 1e16, "1e16" },
        { 1e-300, "1e-300" },
        { DBL_MAX, "1.7976931348623157e308" },
        { DBL_TRUE_MIN, "5e-324" },
        { -1.2345678901234567e-4, "-0.00012345678901234567" },
        { 5e-5, "5e-5" },
        { DBL_MIN, "2.2250738585072014e-308" },
        { -123456.789, "-123456.789" },
        { 0x1p-44, "5.684341886080802e-14" }, /* 16 digits, though printf's 16 do not read back */
    };
    for (size_t i = 0; i < sizeof FLOATS / sizeof *FLOATS; i++) {
        char text[JSON_NUMBER_BYTES + 1];
        text[float_text(FLOATS[i].x, text)] = '\0';
        assert_string_equal(text, FLOATS[i].text);
    }
    for (size_t i = 0; i < sizeof DOUBLES / sizeof *DOUBLES; i++) {
        char text[JSON_NUMBER_BYTES + 1];
        text[double_text(DOUBLES[i].x, text)] = '\0';
        assert_string_equal(text, DOUBLES[i].text);
    }
}

/* Digits from the first to the last that is not 0. */
static int count_digits(const char *text)
{
    int n = 0, trailing = 0;
    for (; *text != '\0' && *text != 'e'; text++) {
        if (*text < '0' || *text > '9' || (n == 0 && *text == '0')) continue;
        n++;
        trailing = *text == '0' ? trailing + 1 : 0;
    }
    return n - trailing;
}

/* The naive twin: the first of printf's precisions that reads back. */
static int naive_digits(float x)
{
    char text[40];
    int n = 1;
    do {
        snprintf(text, sizeof text, "%.*e", n++ - 1, (double)x);
    } while (strtof(text, NULL) != x);
    return count_digits(text);
}

static void a_float_reads_back_in_no_more_digits_than_printf_needs(void **state)
{
    (void)state;
    struct seg_rng rng = seg_rng_make(1, 1);
    for (int i = 0; i < 1000000; i++) {
        uint32_t bits = (uint32_t)seg_rng_u64(&rng), back_bits;
        if (i < 512)
            bits = (uint32_t)i << 23; /* all powers of two, both signs, and the infinities */
        float x, back;
        memcpy(&x, &bits, sizeof x);
        if (!isfinite(x)) continue;
        char text[32];
        size_t len = float_text(x, text);
        assert_in_range(len, 1, JSON_NUMBER_BYTES);
        text[len] = '\0';
        back = strtof(text, NULL);
        memcpy(&back_bits, &back, sizeof back);
        if (back_bits != bits) fail_msg("%a is written %s", (double)x, text);
        if (i % 16 == 0 && x != 0 && count_digits(text) > naive_digits(x)) {
            fail_msg("%a is written %s", (double)x, text);
        }
    }
}

static void a_double_reads_back_from_what_is_written(void **state)
{
    (void)state;
    struct seg_rng rng = seg_rng_make(2, 1);
    for (int i = 0; i < 200000; i++) {
        uint64_t bits = i < 4096 ? (uint64_t)i << 52 : seg_rng_u64(&rng), back_bits;
        double x, back;
        memcpy(&x, &bits, sizeof x);
        if (!isfinite(x)) continue;
        char text[32];
        size_t len = double_text(x, text);
        assert_in_range(len, 1, JSON_NUMBER_BYTES);
        text[len] = '\0';
        back = strtod(text, NULL);
        memcpy(&back_bits, &back, sizeof back);
        if (back_bits != bits) fail_msg("%a is written %s", x, text);
    }
}

static void write_much(struct json_out *o)
{
    json_out_array(o);
    for (int i = 0; i < 1000; i++) {
        json_out_object(o);
        json_out_member_string(o, "name", "a \"quoted\" name");
        json_out_member_double(o, "x", 1.25);
        json_out_end_object(o);
    }
    json_out_end_array(o);
}

static void short_memory_fails_the_writer_for_good_and_leaks_nothing(void **state)
{
    (void)state;
    char *text = NULL;
    unsigned n = 0;
    size_t len = 0;
    while (text == NULL) {
        struct json_out o;
        json_out_init(&o);
        seg_alloc_fail_at(++n);
        write_much(&o);
        seg_alloc_fail_at(0);
        text = json_out_take(&o, &len);
        assert_true(n < 100);
    }
    assert_true(n > 3);
    struct json_fault fault;
    struct json *doc = json_parse(text, len, &fault);
    assert_non_null(doc);
    assert_int_equal(json_size(doc), 1000);
    json_free(doc);
    seg_free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(commas_and_nesting_come_out_right),
        cmocka_unit_test(every_byte_a_string_may_hold_reads_back),
        cmocka_unit_test(an_empty_writer_gives_an_empty_text),
        cmocka_unit_test(not_finite_is_null_in_json_and_nothing_in_csv),
        cmocka_unit_test(numbers_look_as_people_write_them),
        cmocka_unit_test(a_float_reads_back_in_no_more_digits_than_printf_needs),
        cmocka_unit_test(a_double_reads_back_from_what_is_written),
        cmocka_unit_test(short_memory_fails_the_writer_for_good_and_leaks_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
