/* test_k_search_draw.c - fits to rows drawn again, from the largest k down to the smallest. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include "base/rng.h"
#include "cluster/k_search_run.h"
#include "cluster_data.h"

static void a_resample_of_separate_groups_comes_back_and_random_labels_do_not(void **state)
{
    (void)state;
    static const float CENTERS[] = { 0, 0, 50, 0, 0, 50 };
    struct seg_tiles t = normal_tiles(300, 2, CENTERS, 3);
    struct seg_kmeans_params p = { .k = 3, .n_init = 1, .n_iter_max = 50, .seed = 1 };
    struct seg_rng rng = seg_rng_make(8, 0);
    uint32_t truth[300], random[300];
    for (size_t i = 0; i < 300; i++) {
        truth[i] = (uint32_t)((i + 1) % 3); /* other names than the fit gives */
        random[i] = (uint32_t)seg_rng_below(&rng, 3);
    }
    struct k_agreement a;
    const uint32_t *base = truth;
    assert_int_equal(k_search_resample(&t, &t, &base, 300, &p, 3, 0, NULL, &a), SEG_OK);
    assert_true(a.ari == 1 && a.jaccard == 1);
    base = random;
    assert_int_equal(k_search_resample(&t, &t, &base, 300, &p, 3, 0, NULL, &a), SEG_OK);
    assert_true(fabs(a.ari) < 0.05);
    assert_true(a.jaccard > 0.15 && a.jaccard < 0.3); /* a third of a third: 1/5, best of three */
    seg_tiles_release(&t);
}

/* From five clusters of three far groups down to two: three come back, and of two, which hold the
 * three in the one way or another, the pairing that merging finds. */
static void a_resample_goes_down_through_every_k(void **state)
{
    (void)state;
    static const float CENTERS[] = { 0, 0, 50, 0, 0, 90 };
    struct seg_tiles t = normal_tiles(300, 2, CENTERS, 3);
    struct seg_kmeans_params p = { .k = 5, .n_init = 1, .n_iter_max = 50, .seed = 1 };
    uint32_t three[300], two[300], none[300] = { 0 };
    for (size_t i = 0; i < 300; i++) {
        three[i] = (uint32_t)(i % 3);
        two[i] = three[i] == 2; /* 0 and 1 are nearest to each other */
    }
    const uint32_t *base[] = { two, three, none, none };
    struct k_agreement a[4];
    assert_int_equal(k_search_resample(&t, &t, base, 300, &p, 2, 0, NULL, a), SEG_OK);
    assert_true(a[0].ari == 1 && a[1].ari == 1);
    assert_true(a[2].ari == 0 && a[3].ari == 0);
    seg_tiles_release(&t);
}

static void merging_takes_the_pair_that_raises_the_inertia_least(void **state)
{
    (void)state;
    float centers[] = { 0, 10, 13, 40 };
    uint64_t sizes[] = { 5, 30, 10, 1 };
    /* n m / (n + m) * distance²: 0 and 10: 429, 10 and 13: 67.5, 13 and 40: 663, 0 and 13: 563 */
    struct seg_kmeans km = { .centroids = { 4, 1, centers }, .sizes = sizes };
    struct seg_matrix c = { 0 };
    assert_int_equal(k_search_merge(&km, &c), SEG_OK);
    assert_int_equal(c.n_rows, 3);
    assert_true(c.data[0] == 0 && c.data[1] == 10.75f && c.data[2] == 40);
    seg_matrix_release(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_resample_of_separate_groups_comes_back_and_random_labels_do_not),
        cmocka_unit_test(a_resample_goes_down_through_every_k),
        cmocka_unit_test(merging_takes_the_pair_that_raises_the_inertia_least),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
