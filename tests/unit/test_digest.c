/* test_digest.c - known answers, and that pieces give what the whole gives. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>
#include "digest.h"

/* FIPS 180-4 examples. */
static void sha256_gives_the_known_answers(void **state)
{
    (void)state;
    char hex[DIGEST_HEX_SIZE];
    digest_sha256_hex("abc", 3, hex);
    assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    digest_sha256_hex("", 0, hex);
    assert_string_equal(hex, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

static void pieces_give_what_the_whole_gives(void **state)
{
    (void)state;
    uint8_t bytes[1000], whole[DIGEST_BYTES], pieces[DIGEST_BYTES];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)(i * 7);
    digest_sha256(bytes, sizeof bytes, whole);
    struct digest d;
    digest_init(&d);
    for (size_t at = 0, n = 0; at < sizeof bytes; at += n) {
        n = at % 97 + 1 < sizeof bytes - at ? at % 97 + 1 : sizeof bytes - at;
        digest_update(&d, bytes + at, n);
    }
    digest_final(&d, pieces);
    assert_memory_equal(whole, pieces, sizeof whole);
    assert_true(secret_equal(whole, pieces, sizeof whole));
    pieces[31] ^= 1;
    assert_false(secret_equal(whole, pieces, sizeof whole));
}

static void random_bytes_fill_all_and_differ(void **state)
{
    (void)state;
    uint8_t a[64] = { 0 }, b[64] = { 0 };
    random_bytes(a, sizeof a);
    random_bytes(b, sizeof b);
    assert_memory_not_equal(a, b, sizeof a);
    assert_memory_not_equal(a + 32, (uint8_t[32]){ 0 }, 32);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sha256_gives_the_known_answers),
        cmocka_unit_test(pieces_give_what_the_whole_gives),
        cmocka_unit_test(random_bytes_fill_all_and_differ),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
