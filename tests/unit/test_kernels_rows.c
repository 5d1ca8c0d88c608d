/* test_kernels_rows.c - tiles become rows and rows tiles, with no cell read or written outside. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include "kernels_fixture.h"

static _Alignas(64) float y[(D_MAX + 1) * ROWS];

static void transposing_there_and_back_is_the_identity(void **state)
{
    (void)state;
    static float rows[(D_MAX + 1) * ROWS];
    FOR_EACH_ISA(k)
    for (size_t d = 1; d <= D_MAX; d++) {
        for (size_t i = 0; i < d * ROWS; i++)
            x[i] = (float)i;
        set_canaries(rows, (d + 1) * ROWS);
        set_canaries(y, (d + 1) * ROWS);
        k->to_rows(x, d, rows);
        for (size_t r = 0; r < ROWS; r++)
            for (size_t c = 0; c < d; c++)
                assert_true(rows[r * d + c] == x[c * ROWS + r]);
        assert_canaries(rows + d * ROWS, ROWS);
        k->from_rows(rows, d, y);
        assert_memory_equal(x, y, d * ROWS * sizeof *x);
        assert_canaries(y + d * ROWS, ROWS);
    }
}

static void rows_from_anywhere_become_a_tile(void **state)
{
    (void)state;
    FOR_EACH_ISA(k)
    for (size_t d = 1; d <= D_MAX; d++) {
        /* As narrow as they are, so that a sanitizer sees who reads past one. */
        float *rows[ROWS];
        const float *from[ROWS];
        for (size_t r = 0; r < ROWS; r++) {
            rows[r] = r % 5 == 4 ? NULL : malloc(d * sizeof *rows[r]);
            from[r] = rows[r] != NULL ? rows[r] : rows[r / 5 * 5];
            for (size_t c = 0; c < d && rows[r] != NULL; c++)
                rows[r][c] = (float)(r * d + c);
        }
        set_canaries(y, (d + 1) * ROWS);
        k->from_each(from, d, y);
        for (size_t r = 0; r < ROWS; r++)
            for (size_t c = 0; c < d; c++)
                assert_true(y[c * ROWS + r] == from[r][c]);
        assert_canaries(y + d * ROWS, ROWS);
        for (size_t r = 0; r < ROWS; r++)
            free(rows[r]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(transposing_there_and_back_is_the_identity),
        cmocka_unit_test(rows_from_anywhere_become_a_tile),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
