/* test_model_io.c - a stored model gives the same bits back or is refused with a sentence. */
#include "blobs_scored.h"
#include "base/safetensors.h"
#include "compute/gemm.h"

static struct seg_model *reload(const struct seg_model *m)
{
    uint8_t *bytes = NULL;
    size_t len = 0;
    struct seg_model *loaded = NULL;
    struct seg_error err = { "" };
    assert_int_equal(seg_model_save(m, NULL, &bytes, &len), SEG_OK);
    enum seg_status st = seg_model_load(bytes, len, &loaded, &err);
    if (st != SEG_OK) fail_msg("%s", err.text);
    seg_free(bytes);
    return loaded;
}

static void a_stored_model_scores_the_same_bits_and_is_stored_as_the_same_bytes(void **state)
{
    (void)state;
    for (size_t kind = 0; kind < N_BLOB_KINDS; kind++) {
        struct seg_model *m = blobs_model(BLOB_KINDS[kind].algorithm, BLOB_KINDS[kind].has_head);
        struct seg_model *loaded = reload(m);
        struct raw raw;
        struct scored before, after;
        uint8_t *bytes = NULL;
        size_t len = 0;
        raw_fill(m, &raw);
        score(m, raw.cells, SEG_TILE_ROWS, &before);
        score(loaded, raw.cells, SEG_TILE_ROWS, &after);
        for (unsigned r = 0; r < SEG_TILE_ROWS; r++)
            assert_true(same_row(m, &before, r, &after, r));
        assert_int_equal(seg_model_algorithm(loaded), BLOB_KINDS[kind].algorithm);
        assert_int_equal(seg_model_task(loaded), seg_model_task(m));
        assert_true(seg_model_min_features_share(loaded) == 0.5);
        blobs_same_bytes(m, &bytes, &len);
        blobs_same_bytes(loaded, &bytes, &len);
        seg_free(bytes);
        seg_model_unref(m);
        seg_model_unref(loaded);
    }
}

static void a_callers_metadata_travels_with_the_model_and_cannot_displace_ours(void **state)
{
    (void)state;
    struct seg_model *m = blobs_model(SEG_KMEANS, false);
    const char *const meta[] = { "data_hash", "ab\"c", "kind", "mlp", NULL };
    uint8_t *bytes = NULL;
    size_t len = 0;
    struct seg_tensors ts;
    assert_int_equal(seg_model_save(m, meta, &bytes, &len), SEG_OK);
    assert_int_equal(seg_tensors_read(bytes, len, &ts, NULL), SEG_OK);
    assert_string_equal(seg_tensors_meta(&ts, "data_hash"), "ab\"c");
    assert_string_equal(seg_tensors_meta(&ts, "kind"), "kmeans");
    assert_string_equal(seg_tensors_meta(&ts, "format"), "segmentd-model-1");
    seg_tensors_release(&ts);
    seg_free(bytes);
    seg_model_unref(m);
}

static void a_model_with_derived_columns_is_of_format_2_and_scores_the_same_when_loaded(
    void **state)
{
    (void)state;
    static const struct seg_derived RATIO = { .name = (char *)"ratio",
                                              .op = SEG_DERIVE_RATIO,
                                              .of = { 0, 1 } };
    struct blobs b;
    struct seg_tensors ts;
    struct seg_report report;
    uint8_t *bytes = NULL;
    size_t len = 0;
    blobs_init(&b, SEG_KMEANS, false, 300, 1);
    struct seg_column_spec *columns =
        seg_realloc(b.spec.columns, BLOB_FEATURES + 1, sizeof *columns);
    assert_non_null(columns);
    b.spec.columns = columns;
    b.spec.columns[BLOB_FEATURES] = b.spec.columns[0];
    b.spec.derived = &RATIO;
    b.spec.n_derived = 1;
    struct seg_model *m = blobs_train(&b, NULL, &report);
    assert_int_equal(seg_model_save(m, NULL, &bytes, &len), SEG_OK);
    assert_int_equal(seg_tensors_read(bytes, len, &ts, NULL), SEG_OK);
    assert_string_equal(seg_tensors_meta(&ts, "format"), "segmentd-model-2");
    struct seg_model *loaded = reload(m);
    struct raw raw;
    struct scored before, after;
    raw_fill(m, &raw);
    score(m, raw.cells, SEG_TILE_ROWS, &before);
    score(loaded, raw.cells, SEG_TILE_ROWS, &after);
    check_finite(m, &before, SEG_TILE_ROWS);
    for (unsigned r = 0; r < SEG_TILE_ROWS; r++)
        assert_true(same_row(m, &before, r, &after, r));
    assert_int_equal(seg_model_inputs(loaded)->n_features, BLOB_FEATURES);
    seg_free(bytes);
    seg_tensors_release(&ts);
    seg_model_unref(m);
    seg_model_unref(loaded);
    seg_report_release(&report);
    blobs_release(&b);
}

/* One change to a stored model that makes it nonsense, and the sentence it must bring. */
struct damage {
    enum seg_algorithm algorithm;
    bool has_head;
    const char *tensor; /* its first element of 4 bytes is overwritten; NULL: see meta */
    size_t element;
    uint32_t bits;
    const char *meta; /* this metadata becomes "x" */
    const char *sentence;
};

#define BITS_NAN 0x7fc00000u
#define BITS_INF 0x7f800000u

static const struct damage DAMAGES[] = {
    { SEG_KMEANS, false, "segments.ids", 0, 0, NULL, "a segment's id is 0" },
    { SEG_KMEANS, false, "segments.ids", 0, 3, NULL, "two segments have the id 3" },
    { SEG_KMEANS, false, "segments.centroids", 1, BITS_NAN, NULL, "coordinate is" },
    { SEG_KMEANS, false, "segments.centroids", 1, 0x7f7fffff, NULL, "coordinate is" },
    { SEG_KMEANS, true, "head.0.weights", 3, BITS_INF, NULL, "head" },
    { SEG_KMEANS, true, "head.1.bias", 0, BITS_NAN, NULL, "head" },
    { SEG_KMEANS, true, "head.sizes", 0, 5, NULL, "head" },
    { SEG_AUTOENCODER_KMEANS, false, "autoencoder.2.weights", 0, BITS_NAN, NULL, "autoencoder" },
    { SEG_AUTOENCODER_KMEANS, false, "autoencoder.sizes", 1, 5000, NULL, "layer size is 5000" },
    { SEG_K_PROTOTYPES, false, "segments.centroids", 2, 0x3f000000, NULL, "category is 0.5" },
    { SEG_K_PROTOTYPES, false, "segments.centroids", 2, 0x40400000, NULL, "category is 3" },
    { SEG_K_PROTOTYPES, false, "segments.centroids", 2, 0xbf800000, NULL, "category is -1" },
    { SEG_K_PROTOTYPES, false, "segments.category_weight", 1, 0x7ff80000, NULL, "weight is nan" },
    { SEG_K_PROTOTYPES, false, "segments.category_weight", 1, 0xbff00000, NULL, "weight is -" },
    { SEG_MLP, false, "classifier.0.weights", 0, BITS_INF, NULL, "classifier" },
    { SEG_MLP, false, "classes.names", 0, 0x0077656e, NULL, "" }, /* still "new" */
    { SEG_MLP, false, NULL, 0, 0, "format", "format is \"x\" instead of" },
    { SEG_MLP, false, NULL, 0, 0, "kind", "unknown kind of model: \"x\"" },
};

/* The model of one kind, read as tensors. */
static void tensors_of(enum seg_algorithm algorithm, bool has_head, struct seg_tensors *ret_ts)
{
    struct seg_model *m = blobs_model(algorithm, has_head);
    uint8_t *bytes = NULL;
    size_t len = 0;
    assert_int_equal(seg_model_save(m, NULL, &bytes, &len), SEG_OK);
    assert_int_equal(seg_tensors_read(bytes, len, ret_ts, NULL), SEG_OK);
    seg_free(bytes);
    seg_model_unref(m);
}

static enum seg_status load_tensors(const struct seg_tensors *ts, struct seg_error *err)
{
    uint8_t *bytes = NULL;
    size_t len = 0;
    struct seg_model *m = NULL;
    assert_int_equal(seg_tensors_write(ts, &bytes, &len), SEG_OK);
    enum seg_status st = seg_model_load(bytes, len, &m, err);
    assert_int_equal(st == SEG_OK, m != NULL);
    seg_model_unref(m);
    seg_free(bytes);
    return st;
}

static void loading_refuses_parts_that_make_no_sense_together(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof DAMAGES / sizeof DAMAGES[0]; i++) {
        const struct damage *d = &DAMAGES[i];
        struct seg_tensors ts;
        struct seg_error err = { "" };
        tensors_of(d->algorithm, d->has_head, &ts);
        if (d->tensor != NULL) {
            const struct seg_tensor *t = seg_tensors_find(&ts, d->tensor);
            if (t == NULL) fail_msg("no tensor %s", d->tensor);
            memcpy((uint8_t *)t->data + 4 * d->element, &d->bits, sizeof d->bits);
        } else {
            assert_int_equal(seg_tensors_set_meta(&ts, d->meta, "x"), SEG_OK);
        }
        enum seg_status st = load_tensors(&ts, &err);
        assert_int_equal(st, d->sentence[0] != '\0' ? SEG_EFORMAT : SEG_OK);
        if (strstr(err.text, d->sentence) == NULL)
            fail_msg("\"%s\" instead of \"%s\"", err.text, d->sentence);
        seg_tensors_release(&ts);
    }
}

/* Loads ts without its tensor number `drop`. */
static enum seg_status load_without(const struct seg_tensors *ts, size_t drop,
                                    struct seg_error *err)
{
    struct seg_tensors less;
    seg_tensors_init(&less);
    for (size_t i = 0; i < ts->n_items; i++) {
        const struct seg_tensor *t = &ts->items[i];
        if (i != drop)
            assert_int_equal(
                seg_tensors_add(&less, t->name, t->dtype, t->n_dims, t->shape, t->data), SEG_OK);
    }
    for (size_t i = 0; i < ts->n_meta; i++)
        assert_int_equal(seg_tensors_set_meta(&less, ts->meta[2 * i], ts->meta[2 * i + 1]), SEG_OK);
    enum seg_status st = load_tensors(&less, err);
    seg_tensors_release(&less);
    return st;
}

static void loading_needs_every_tensor_but_those_of_a_head(void **state)
{
    (void)state;
    for (size_t kind = 0; kind < N_BLOB_KINDS; kind++) {
        struct seg_tensors ts;
        tensors_of(BLOB_KINDS[kind].algorithm, BLOB_KINDS[kind].has_head, &ts);
        for (size_t i = 0; i < ts.n_items; i++) {
            struct seg_error err = { "" };
            bool is_mark = strcmp(ts.items[i].name, "head.sizes") == 0;
            enum seg_status st = load_without(&ts, i, &err);
            if (st != (is_mark ? SEG_OK : SEG_EFORMAT))
                fail_msg("without %s: %s", ts.items[i].name, seg_status_name(st));
            assert_int_equal(err.text[0] == '\0', is_mark);
        }
        seg_tensors_release(&ts);
    }
}

static void loading_refuses_two_classes_of_one_name(void **state)
{
    (void)state;
    struct seg_tensors ts, twice;
    struct seg_error err = { "" };
    static const char *const NAMES[] = { "new", "loyal", "new" };
    tensors_of(SEG_MLP, false, &ts);
    seg_tensors_init(&twice);
    for (size_t i = 0; i < ts.n_items; i++) {
        const struct seg_tensor *t = &ts.items[i];
        if (strcmp(t->name, "classes.names") == 0)
            assert_int_equal(seg_tensors_add_strings(&twice, t->name, NAMES, 3), SEG_OK);
        else
            assert_int_equal(
                seg_tensors_add(&twice, t->name, t->dtype, t->n_dims, t->shape, t->data), SEG_OK);
    }
    for (size_t i = 0; i < ts.n_meta; i++)
        assert_int_equal(seg_tensors_set_meta(&twice, ts.meta[2 * i], ts.meta[2 * i + 1]), SEG_OK);
    assert_int_equal(load_tensors(&twice, &err), SEG_EFORMAT);
    assert_string_equal(err.text, "two classes are called \"new\"");
    seg_tensors_release(&twice);
    seg_tensors_release(&ts);
}

static void loading_survives_every_failed_allocation(void **state)
{
    (void)state;
    for (size_t kind = 0; kind < N_BLOB_KINDS; kind++) {
        struct seg_model *m = blobs_model(BLOB_KINDS[kind].algorithm, BLOB_KINDS[kind].has_head);
        struct seg_model *loaded = NULL;
        uint8_t *bytes = NULL;
        size_t len = 0;
        enum seg_status st = SEG_ENOMEM;
        uint64_t nth = 1;
        for (; st != SEG_OK; nth++) {
            seg_alloc_fail_at(nth);
            st = seg_model_save(m, NULL, &bytes, &len);
            seg_alloc_fail_at(0);
            assert_true(st == SEG_OK || (st == SEG_ENOMEM && bytes == NULL));
        }
        assert_true(nth > 10);
        st = SEG_ENOMEM;
        for (nth = 1; st != SEG_OK; nth++) {
            seg_alloc_fail_at(nth);
            st = seg_model_load(bytes, len, &loaded, NULL);
            seg_alloc_fail_at(0);
            assert_true(st == SEG_OK || (st == SEG_ENOMEM && loaded == NULL));
        }
        assert_true(nth > 10);
        seg_free(bytes);
        seg_model_unref(loaded);
        seg_model_unref(m);
    }
}

/* Loads damaged bytes; a model that still loads must score as any other. */
static bool load_and_score(const uint8_t *bytes, size_t len)
{
    struct seg_model *m = NULL;
    struct seg_error err = { "" };
    enum seg_status st = seg_model_load(bytes, len, &m, &err);
    if (st != SEG_OK) {
        assert_int_equal(st, SEG_EFORMAT);
        assert_true(err.text[0] != '\0');
        return false;
    }
    /* a flipped type or width changes the row: size everything by what the model says */
    uint32_t n_cells = seg_model_inputs(m)->n_cells, n_results = seg_model_n_results(m);
    struct seg_scores scores = { .missing = NULL };
    float *raw = seg_alloc_aligned((size_t)n_cells * SEG_TILE_ROWS, sizeof(float));
    float *scratch = seg_alloc_aligned(seg_model_scratch(m), sizeof(float));
    float *p = seg_alloc_aligned((size_t)n_results * SEG_TILE_ROWS, sizeof(float));
    assert_true(raw != NULL && scratch != NULL && p != NULL);
    scores.probabilities = p;
    seg_table_clear_rows(seg_model_inputs(m), raw, 0, SEG_TILE_ROWS);
    for (uint32_t f = 0; f < seg_model_inputs(m)->n_features; f++) {
        const struct seg_feature *feature = &seg_model_inputs(m)->features[f];
        for (unsigned r = 1; r < SEG_TILE_ROWS; r++) {
            float number = r == 1 ? FLT_MAX : (float)r;
            uint32_t code = r % 2;
            const void *cell = feature->type == SEG_CATEGORICAL ? (void *)&code : (void *)&number;
            memcpy(&raw[feature->cell * SEG_TILE_ROWS + r], cell, 4);
        }
    }
    seg_model_score_tile(m, raw, SEG_TILE_ROWS, scratch, &scores);
    for (unsigned r = 0; r < SEG_TILE_ROWS; r++) {
        if (scores.status[r] == SEG_ROW_INSUFFICIENT) continue;
        assert_true(scores.result[r] < n_results);
        assert_true(isfinite(scores.confidence[r]));
        assert_int_equal(isfinite(scores.distance[r]), seg_model_has_distance(m));
        for (uint32_t i = 0; seg_model_has_probabilities(m) && i < n_results; i++)
            assert_true(isfinite(p[i * SEG_TILE_ROWS + r]));
    }
    seg_free(p);
    seg_free(scratch);
    seg_free(raw);
    seg_model_unref(m);
    return true;
}

static void damaged_bytes_are_refused_or_score_finitely(void **state)
{
    (void)state;
    for (size_t kind = 0; kind < N_BLOB_KINDS; kind++) {
        struct seg_model *m = blobs_model(BLOB_KINDS[kind].algorithm, BLOB_KINDS[kind].has_head);
        uint8_t *bytes = NULL;
        size_t len = 0, n_loaded = 0, n_refused = 0;
        assert_int_equal(seg_model_save(m, NULL, &bytes, &len), SEG_OK);
        for (size_t i = 0; i < len;
             i++) { /* each byte, one bit of it, the top one twice as often */
            uint8_t bit = (uint8_t)(1u << (i % 3 == 0 ? 7 : i % 8));
            bytes[i] ^= bit;
            *(load_and_score(bytes, len) ? &n_loaded : &n_refused) += 1;
            bytes[i] ^= bit;
        }
        assert_true(n_loaded > 0 && n_refused > 0);
        for (size_t cut = 0; cut < len; cut += 7) {
            uint8_t *shorter = seg_alloc(cut, 1); /* of its own, so that ASan sees an overrun */
            assert_non_null(shorter);
            memcpy(shorter, bytes, cut);
            assert_false(load_and_score(shorter, cut));
            seg_free(shorter);
        }
        seg_free(bytes);
        seg_model_unref(m);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_stored_model_scores_the_same_bits_and_is_stored_as_the_same_bytes),
        cmocka_unit_test(a_callers_metadata_travels_with_the_model_and_cannot_displace_ours),
        cmocka_unit_test(
            a_model_with_derived_columns_is_of_format_2_and_scores_the_same_when_loaded),
        cmocka_unit_test(loading_refuses_parts_that_make_no_sense_together),
        cmocka_unit_test(loading_needs_every_tensor_but_those_of_a_head),
        cmocka_unit_test(loading_refuses_two_classes_of_one_name),
        cmocka_unit_test(loading_survives_every_failed_allocation),
        cmocka_unit_test(damaged_bytes_are_refused_or_score_finitely),
    };
    if (seg_gemm_init(NULL) != SEG_OK) return 1; /* one BLAS thread, as in the service */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
