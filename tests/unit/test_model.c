/* test_model.c - what model/model.h promises: scores that depend on their row alone, and a stored
 * form that gives the same bits back or is refused. */
#include "compute/gemm.h"
#include "blobs.h"

#include <float.h>
#include "base/safetensors.h"

#define N_RESULTS_MAX 8u

/* A tile with the scores it got. */
struct scored {
    struct seg_scores scores;
    float probabilities[N_RESULTS_MAX * SEG_TILE_ROWS];
};

static void score(const struct seg_model *m, const float *raw, unsigned n_rows, struct scored *out)
{
    float *scratch = seg_alloc_aligned(seg_model_scratch(m), sizeof(float));
    assert_non_null(scratch);
    assert_true(seg_model_n_results(m) <= N_RESULTS_MAX);
    memset(out, 0, sizeof *out);
    out->scores.probabilities = seg_model_has_probabilities(m) ? out->probabilities : NULL;
    seg_model_score_tile(m, raw, n_rows, scratch, &out->scores);
    seg_free(scratch);
}

/* Same bits of row a of x and row b of y? */
static bool same_row(const struct seg_model *m, const struct scored *x, unsigned a,
                     const struct scored *y, unsigned b)
{
    const struct seg_scores *s = &x->scores, *t = &y->scores;
    if (s->status[a] != t->status[b] || s->result[a] != t->result[b] ||
        memcmp(&s->confidence[a], &t->confidence[b], sizeof(float)) != 0 ||
        memcmp(&s->distance[a], &t->distance[b], sizeof(float)) != 0)
        return false;
    for (uint32_t i = 0; seg_model_has_probabilities(m) && i < seg_model_n_results(m); i++)
        if (memcmp(&x->probabilities[i * SEG_TILE_ROWS + a],
                   &y->probabilities[i * SEG_TILE_ROWS + b], sizeof(float)) != 0)
            return false;
    return true;
}

/* A raw tile for models of blobs; rows start missing. */
struct raw {
    _Alignas(SEG_ALIGN) float cells[BLOB_CELLS * SEG_TILE_ROWS];
};

static void raw_init(const struct seg_model *m, struct raw *raw)
{
    assert_int_equal(seg_model_inputs(m)->n_cells, BLOB_CELLS);
    seg_table_clear_rows(seg_model_inputs(m), raw->cells, 0, SEG_TILE_ROWS);
}

static void raw_set(struct raw *raw, unsigned row, uint32_t cell, float number)
{
    raw->cells[cell * SEG_TILE_ROWS + row] = number;
}

static void raw_set_code(struct raw *raw, unsigned row, uint32_t cell, uint32_t code)
{
    memcpy(&raw->cells[cell * SEG_TILE_ROWS + row], &code, sizeof code);
}

static void raw_copy(struct raw *to, unsigned a, const struct raw *from, unsigned b)
{
    for (uint32_t c = 0; c < BLOB_CELLS; c++)
        memcpy(&to->cells[c * SEG_TILE_ROWS + a], &from->cells[c * SEG_TILE_ROWS + b],
               sizeof(float));
}

/* 64 rows of all sorts: usual ones, gaps, unseen categories, enormous numbers. */
static void raw_fill(const struct seg_model *m, struct raw *raw)
{
    struct seg_rng rng = seg_rng_make(3, 3);
    raw_init(m, raw);
    for (unsigned r = 0; r < SEG_TILE_ROWS; r++) {
        for (uint32_t c = 0; c < BLOB_CELLS; c++)
            if (c != 2 && seg_rng_below(&rng, 8) != 0)
                raw_set(raw, r, c, (float)(5 + 6 * seg_rng_normal(&rng)));
        if (r % 5 != 0) raw_set_code(raw, r, 2, r % 7 == 0 ? SEG_CODE_UNSEEN : r % 2);
    }
    raw_set(raw, 9, 0, FLT_MAX);
    raw_set(raw, 10, 1, -FLT_MAX);
    raw_set(raw, 11, 3, FLT_MIN);
}

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

/* Whatever was scored is a number in its range. */
static void check_finite(const struct seg_model *m, const struct scored *s, unsigned n_rows)
{
    for (unsigned r = 0; r < n_rows; r++) {
        if (s->scores.status[r] == SEG_ROW_INSUFFICIENT) continue;
        assert_true(s->scores.result[r] < seg_model_n_results(m));
        assert_true(s->scores.confidence[r] >= 0 && s->scores.confidence[r] <= 1.0001f);
        assert_int_equal(isfinite(s->scores.distance[r]), seg_model_has_distance(m));
        for (uint32_t i = 0; seg_model_has_probabilities(m) && i < seg_model_n_results(m); i++)
            assert_true(s->probabilities[i * SEG_TILE_ROWS + r] >= 0 &&
                        s->probabilities[i * SEG_TILE_ROWS + r] <= 1.0001f);
    }
}

static void a_row_alone_gets_the_bits_it_gets_at_any_place_of_a_batch(void **state)
{
    (void)state;
    for (size_t kind = 0; kind < N_BLOB_KINDS; kind++) {
        struct seg_model *m = blobs_model(BLOB_KINDS[kind].algorithm, BLOB_KINDS[kind].has_head);
        struct raw batch, alone, moved;
        struct scored in_batch, by_itself, elsewhere;
        raw_fill(m, &batch);
        score(m, batch.cells, SEG_TILE_ROWS, &in_batch);
        for (unsigned r = 0; r < SEG_TILE_ROWS; r++) {
            raw_init(m, &alone);
            raw_copy(&alone, 0, &batch, r);
            score(m, alone.cells, 1, &by_itself);
            assert_true(same_row(m, &in_batch, r, &by_itself, 0));
            raw_fill(m, &moved);
            unsigned to = (r * 37 + 13) % SEG_TILE_ROWS;
            raw_copy(&moved, to, &batch, r);
            score(m, moved.cells, SEG_TILE_ROWS, &elsewhere);
            assert_true(same_row(m, &in_batch, r, &elsewhere, to));
            score(m, batch.cells, r + 1, &by_itself); /* in a batch that ends with it */
            assert_true(same_row(m, &in_batch, r, &by_itself, r));
        }
        seg_model_unref(m);
    }
}

static void missing_names_each_cell_without_a_value_and_each_new_category(void **state)
{
    (void)state;
    struct seg_model *m = blobs_model(SEG_KMEANS, false);
    const struct seg_schema *inputs = seg_model_inputs(m);
    uint64_t missing[BLOB_CELLS], unseen[BLOB_CELLS];
    struct seg_scores scores = { .missing = missing };
    struct raw raw;
    float *scratch = seg_alloc_aligned(seg_model_scratch(m), sizeof(float));
    assert_non_null(scratch);
    raw_fill(m, &raw);
    seg_model_score_tile(m, raw.cells, SEG_TILE_ROWS, scratch, &scores);
    seg_model_unseen(m, raw.cells, unseen);
    seg_free(scratch);
    for (uint32_t f = 0; f < inputs->n_features; f++)
        for (unsigned r = 0; r < SEG_TILE_ROWS; r++) {
            const struct seg_feature *feature = &inputs->features[f];
            const float *cells = &raw.cells[feature->cell * SEG_TILE_ROWS + r];
            bool is_category = feature->type == SEG_CATEGORICAL, is_missing = true;
            uint32_t code;
            memcpy(&code, cells, sizeof code);
            for (uint32_t i = 0; i < feature->width && !is_category; i++)
                is_missing = is_missing && isnan(cells[i * SEG_TILE_ROWS]); /* a vector's all */
            if (is_category) is_missing = code == SEG_CODE_MISSING;
            assert_int_equal(missing[f] >> r & 1, is_missing);
            assert_int_equal(unseen[f] >> r & 1, is_category && code == SEG_CODE_UNSEEN);
        }
    seg_model_unref(m);
}

static void a_stored_model_scores_the_same_bits_and_is_stored_as_the_same_bytes(void **state)
{
    (void)state;
    for (size_t kind = 0; kind < N_BLOB_KINDS; kind++) {
        struct seg_model *m = blobs_model(BLOB_KINDS[kind].algorithm, BLOB_KINDS[kind].has_head);
        struct seg_model *loaded = reload(m);
        struct raw raw;
        struct scored before, after;
        uint8_t *a = NULL, *b = NULL;
        size_t n_a = 0, n_b = 0;
        raw_fill(m, &raw);
        score(m, raw.cells, SEG_TILE_ROWS, &before);
        score(loaded, raw.cells, SEG_TILE_ROWS, &after);
        for (unsigned r = 0; r < SEG_TILE_ROWS; r++)
            assert_true(same_row(m, &before, r, &after, r));
        assert_int_equal(seg_model_algorithm(loaded), BLOB_KINDS[kind].algorithm);
        assert_int_equal(seg_model_task(loaded), seg_model_task(m));
        assert_true(seg_model_min_features_share(loaded) == 0.5);
        assert_int_equal(seg_model_save(m, NULL, &a, &n_a), SEG_OK);
        assert_int_equal(seg_model_save(loaded, NULL, &b, &n_b), SEG_OK);
        assert_int_equal(n_a, n_b);
        assert_memory_equal(a, b, n_a);
        seg_free(a);
        seg_free(b);
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

static void a_row_with_too_few_features_gets_no_result(void **state)
{
    (void)state;
    struct seg_model *m = blobs_model(SEG_KMEANS, true);
    struct raw raw;
    struct scored s;
    raw_init(m, &raw); /* 4 features, at least half must be there; row 0 has none */
    raw_set(&raw, 1, 0, 1.0f);
    raw_set(&raw, 2, 0, 1.0f);
    raw_set(&raw, 2, 1, 1.0f);
    raw_set(&raw, 3, 0, 1.0f); /* an unseen category is a value */
    raw_set_code(&raw, 3, 2, SEG_CODE_UNSEEN);
    raw_set(&raw, 4, 3, 1.0f); /* both dimensions of a vector are one feature */
    raw_set(&raw, 4, 4, 1.0f);
    raw_set(&raw, 5, 4, 1.0f); /* half a vector is a value too */
    raw_set_code(&raw, 5, 2, 1);
    static const enum seg_row_status WANTED[] = { SEG_ROW_INSUFFICIENT, SEG_ROW_INSUFFICIENT,
                                                  SEG_ROW_OK,           SEG_ROW_OK,
                                                  SEG_ROW_INSUFFICIENT, SEG_ROW_OK };
    score(m, raw.cells, 6, &s);
    for (unsigned r = 0; r < 6; r++) {
        assert_int_equal(s.scores.status[r], WANTED[r]);
        if (WANTED[r] == SEG_ROW_OK) {
            assert_true(s.scores.result[r] < 3);
            continue;
        }
        assert_int_equal(s.scores.result[r], UINT32_MAX);
        assert_true(isnan(s.scores.confidence[r]));
        assert_true(isnan(s.scores.distance[r]));
    }
    seg_model_unref(m);
}

static void the_smallest_share_is_met_exactly_or_not_at_all(void **state)
{
    (void)state;
    static const struct {
        double share;
        unsigned n_wanted; /* of 4 features */
    } CASES[] = { { 0.0, 0 }, { 0.25, 1 }, { 0.2500001, 2 }, { 0.75, 3 }, { 1.0, 4 } };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        struct blobs b;
        struct seg_report report = { 0 };
        struct raw raw;
        struct scored s;
        blobs_init(&b, SEG_KMEANS, false, 30, 1.0);
        b.spec.min_features_share = CASES[i].share;
        struct seg_model *m = blobs_train(&b, NULL, &report);
        raw_init(m, &raw);
        for (unsigned r = 0; r <= 4; r++) { /* row r has r features */
            if (r > 0) raw_set(&raw, r, 0, 1.0f);
            if (r > 1) raw_set(&raw, r, 1, 1.0f);
            if (r > 2) raw_set_code(&raw, r, 2, 0);
            if (r > 3) raw_set(&raw, r, 3, 1.0f);
        }
        score(m, raw.cells, 5, &s);
        for (unsigned r = 0; r <= 4; r++)
            assert_int_equal(s.scores.status[r],
                             r < CASES[i].n_wanted ? SEG_ROW_INSUFFICIENT : SEG_ROW_OK);
        seg_model_unref(m);
        seg_report_release(&report);
        blobs_release(&b);
    }
}

/* The naive twin: distances in float64 of preprocessed row r to every centroid. */
static void distances(const struct seg_model *m, const float *raw, unsigned r, double *ret_d)
{
    struct seg_matrix c = { 0 };
    uint32_t n = seg_preprocess_n_out(seg_model_preprocess(m));
    float *x = seg_alloc_aligned((size_t)n * SEG_TILE_ROWS, sizeof(float));
    assert_non_null(x);
    seg_preprocess_tile(seg_model_preprocess(m), raw, NULL, x);
    assert_int_equal(seg_model_centroids(m, &c), SEG_OK);
    assert_int_equal(c.n_cols, n);
    for (size_t i = 0; i < c.n_rows; i++) {
        double sum = 0;
        for (uint32_t j = 0; j < n; j++) {
            double diff = (double)x[j * SEG_TILE_ROWS + r] - (double)seg_matrix_row(&c, i)[j];
            bool is_code = seg_preprocess_out_codes(seg_model_preprocess(m), j) > 0;
            sum += !is_code ? diff * diff : diff != 0 ? seg_model_category_weight(m) : 0;
        }
        ret_d[i] = sqrt(sum);
    }
    seg_matrix_release(&c);
    seg_free(x);
}

static void distance_and_confidence_are_those_of_the_definition(void **state)
{
    (void)state;
    for (int kind = 0; kind < 4; kind++) {
        const bool has_head = kind % 2 == 1;
        struct seg_model *m = blobs_model(kind < 2 ? SEG_KMEANS : SEG_K_PROTOTYPES, has_head);
        struct raw raw;
        struct scored s;
        raw_fill(m, &raw);
        for (unsigned r = 9; r < 12; r++) /* the enormous ones are another test's */
            raw_copy(&raw, r, &raw, 12);
        score(m, raw.cells, SEG_TILE_ROWS, &s);
        for (unsigned r = 0; r < SEG_TILE_ROWS; r++) {
            double d[3], first = HUGE_VAL, second = HUGE_VAL;
            if (s.scores.status[r] == SEG_ROW_INSUFFICIENT) continue;
            distances(m, raw.cells, r, d);
            for (int i = 0; i < 3; i++) {
                if (d[i] < first) {
                    second = first;
                    first = d[i];
                } else if (d[i] < second) {
                    second = d[i];
                }
            }
            assert_true(fabs((double)s.scores.distance[r] - d[s.scores.result[r]]) <= 1e-4);
            if (has_head) {
                float most = s.probabilities[s.scores.result[r] * SEG_TILE_ROWS + r], sum = 0;
                for (uint32_t i = 0; i < 3; i++) {
                    assert_true(s.probabilities[i * SEG_TILE_ROWS + r] <= most);
                    sum += s.probabilities[i * SEG_TILE_ROWS + r];
                }
                assert_true(fabsf(sum - 1.0f) <= 1e-5f);
                assert_true(s.scores.confidence[r] == most);
            } else {
                assert_true(fabs((double)s.scores.distance[r] - first) <= 1e-4);
                assert_true(fabs((double)s.scores.confidence[r] - (1 - first / second)) <= 1e-4);
            }
        }
        seg_model_unref(m);
    }
}

static void enormous_inputs_give_ordinary_answers(void **state)
{
    (void)state;
    for (size_t kind = 0; kind < N_BLOB_KINDS; kind++) {
        struct seg_model *m = blobs_model(BLOB_KINDS[kind].algorithm, BLOB_KINDS[kind].has_head);
        struct raw raw;
        struct scored s;
        raw_init(m, &raw);
        for (unsigned r = 0; r < SEG_TILE_ROWS; r++) {
            for (uint32_t c = 0; c < BLOB_CELLS; c++)
                if (c != 2) raw_set(&raw, r, c, (r >> c) & 1 ? FLT_MAX : -FLT_MAX);
            raw_set_code(&raw, r, 2, r % 2);
        }
        score(m, raw.cells, SEG_TILE_ROWS, &s);
        check_finite(m, &s, SEG_TILE_ROWS);
        seg_model_unref(m);
    }
}

static void centroids_of_an_autoencoder_are_decoded(void **state)
{
    (void)state;
    struct seg_model *m = blobs_model(SEG_AUTOENCODER_KMEANS, false);
    struct seg_model *classifier = blobs_model(SEG_MLP, false);
    struct seg_matrix c = { 0 };
    assert_int_equal(seg_model_centroids(m, &c), SEG_OK);
    assert_int_equal(c.n_rows, 3);
    assert_int_equal(c.n_cols, seg_preprocess_n_out(seg_model_preprocess(m)));
    /* the three groups stand apart in the first two columns, so must what the code stands for */
    for (size_t i = 0; i < 3; i++)
        for (size_t j = 0; j < i; j++)
            assert_true(hypotf(seg_matrix_row(&c, i)[0] - seg_matrix_row(&c, j)[0],
                               seg_matrix_row(&c, i)[1] - seg_matrix_row(&c, j)[1]) > 1.0f);
    seg_matrix_release(&c);
    assert_int_equal(seg_model_centroids(classifier, &c), SEG_EINVAL);
    seg_model_unref(m);
    seg_model_unref(classifier);
}

static void a_reference_keeps_the_model(void **state)
{
    (void)state;
    struct seg_model *m = blobs_model(SEG_MLP, false);
    struct seg_model *again = seg_model_ref(m);
    assert_ptr_equal(again, m);
    seg_model_unref(m);
    assert_string_equal(seg_model_class_name(again, 2), "lapsed");
    assert_false(seg_model_has_distance(again));
    seg_model_unref(again);
    seg_model_unref(NULL);
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
        for (uint64_t nth = 1; st != SEG_OK; nth++) {
            seg_alloc_fail_at(nth);
            st = seg_model_save(m, NULL, &bytes, &len);
            seg_alloc_fail_at(0);
            assert_true(st == SEG_OK || (st == SEG_ENOMEM && bytes == NULL));
        }
        st = SEG_ENOMEM;
        for (uint64_t nth = 1; st != SEG_OK; nth++) {
            seg_alloc_fail_at(nth);
            st = seg_model_load(bytes, len, &loaded, NULL);
            seg_alloc_fail_at(0);
            assert_true(st == SEG_OK || (st == SEG_ENOMEM && loaded == NULL));
        }
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

static void the_table_of_algorithms_knows_its_names(void **state)
{
    (void)state;
    for (int i = 0; i < SEG_N_ALGORITHMS; i++) {
        const struct seg_algorithm_info *info = seg_algorithm_info((enum seg_algorithm)i);
        assert_int_equal(seg_algorithm_from_name(info->name), i);
        assert_true(info->clusters == (info->task == SEG_SEGMENTATION));
    }
    assert_int_equal(seg_algorithm_from_name("k-means"), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_row_alone_gets_the_bits_it_gets_at_any_place_of_a_batch),
        cmocka_unit_test(missing_names_each_cell_without_a_value_and_each_new_category),
        cmocka_unit_test(a_stored_model_scores_the_same_bits_and_is_stored_as_the_same_bytes),
        cmocka_unit_test(a_callers_metadata_travels_with_the_model_and_cannot_displace_ours),
        cmocka_unit_test(
            a_model_with_derived_columns_is_of_format_2_and_scores_the_same_when_loaded),
        cmocka_unit_test(a_row_with_too_few_features_gets_no_result),
        cmocka_unit_test(the_smallest_share_is_met_exactly_or_not_at_all),
        cmocka_unit_test(distance_and_confidence_are_those_of_the_definition),
        cmocka_unit_test(enormous_inputs_give_ordinary_answers),
        cmocka_unit_test(centroids_of_an_autoencoder_are_decoded),
        cmocka_unit_test(a_reference_keeps_the_model),
        cmocka_unit_test(loading_refuses_parts_that_make_no_sense_together),
        cmocka_unit_test(loading_needs_every_tensor_but_those_of_a_head),
        cmocka_unit_test(loading_refuses_two_classes_of_one_name),
        cmocka_unit_test(loading_survives_every_failed_allocation),
        cmocka_unit_test(damaged_bytes_are_refused_or_score_finitely),
        cmocka_unit_test(the_table_of_algorithms_knows_its_names),
    };
    if (seg_gemm_init(NULL) != SEG_OK) return 1; /* one BLAS thread, as in the service */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
