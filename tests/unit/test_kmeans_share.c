/* test_kmeans_share.c - no cluster ends with a smaller share of the rows than was asked for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "kmeans_fit.h"

static void kmeans_min_share_is_kept(void **state)
{
    (void)state;
    static const double SHARES[] = { 0.02, 0.1, 0.2 };
    float *x = group_rows(1000, 2, 1, 0);
    x[0] = 40; /* a cluster of one row */
    struct seg_tiles t = tiles_of(x, 1000, 2);
    for (size_t i = 0; i < sizeof SHARES / sizeof *SHARES; i++) {
        struct seg_kmeans_params p = params(4);
        p.min_share = SHARES[i];
        struct seg_kmeans km = fit(NULL, &t, &p);
        assert_true((double)km.sizes[3] >= SHARES[i] * 1000);
        seg_kmeans_release(&km);
    }
    seg_tiles_release(&t);
    seg_free(x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kmeans_min_share_is_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
