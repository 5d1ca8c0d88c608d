/* test_pipeline_check.c - what cannot be trained is refused with a sentence that says why. */
#include "blobs.h"
#include "compute/gemm.h"

/* One fault of a spec or of the data, and the sentence it must bring. */
struct fault {
    enum seg_algorithm algorithm;
    size_t n_rows;
    void (*make)(struct blobs *b);
    const char *sentence;
};

static void make_k_5(struct blobs *b)
{
    b->spec.kmeans.k = 5;
}

static void make_big_split(struct blobs *b)
{
    b->spec.kmeans.k = 6;
    b->spec.test = 0.5;
}

static void make_shares_of_one(struct blobs *b)
{
    b->spec.test = 0.5;
    b->spec.validation = 0.5;
}

static void make_nan_share(struct blobs *b)
{
    b->spec.min_features_share = NAN;
}

static void make_one_class(struct blobs *b)
{
    memset(b->y, 0, 9 * sizeof *b->y);
}

static void make_unknown_class(struct blobs *b)
{
    b->y[4] = 3;
}

static void make_no_target(struct blobs *b)
{
    b->training.y = NULL;
}

static void make_other_task(struct blobs *b)
{
    b->spec.task = SEG_CLASSIFICATION;
}

static void make_short_spec(struct blobs *b)
{
    b->spec.n_columns = 3;
}

static void make_no_encoder(struct blobs *b)
{
    b->spec.n_encoder = 0;
}

static void make_wide_encoder(struct blobs *b)
{
    b->spec.encoder[1] = SEG_UNITS_MAX + 1;
}

static void make_bad_head(struct blobs *b)
{
    b->spec.has_head = true;
    b->spec.mlp.learning_rate = 0;
}

static void make_bad_autoencoder(struct blobs *b)
{
    b->spec.autoencoder.epochs = 0;
}

static void make_enormous(struct blobs *b)
{
    for (uint32_t f = 0; f < BLOB_FEATURES; f++)
        b->spec.columns[f].scale = SEG_SCALE_NONE;
    for (size_t row = 0; row < 9; row++)
        seg_table_cell(&b->table, row, 0)->number = 1e30f;
}

static void make_one_hot(struct blobs *b)
{
    b->spec.columns[2].encode = SEG_ENCODE_ONE_HOT;
}

static void make_code(struct blobs *b)
{
    b->spec.columns[2].encode = SEG_ENCODE_CODE;
}

static void make_bad_weight(struct blobs *b)
{
    b->spec.prototypes.weight_auto = false;
    b->spec.prototypes.weight = -1;
}

static const struct fault FAULTS[] = {
    { SEG_KMEANS, 3, make_k_5, "k is 5 but the feature set has only 3 users" },
    { SEG_KMEANS, 1, make_k_5, "k is 5 but the feature set has only 1 user" },
    { SEG_KMEANS, 0, make_k_5, "the feature set has no users" },
    { SEG_KMEANS, 9, make_big_split, "k is 6 but the split leaves only" },
    { SEG_KMEANS, 9, make_shares_of_one, "split leaves nothing to train on" },
    { SEG_KMEANS, 9, make_nan_share, "min_features_share is nan (limit 0..1)" },
    { SEG_KMEANS, 9, make_other_task, "algorithm kmeans does not do that task" },
    { SEG_KMEANS, 9, make_short_spec, "the spec describes 3 features but the data has 4" },
    { SEG_KMEANS, 9, make_bad_head, "head: learning_rate" },
    { SEG_KMEANS, 9, make_enormous, "scale features" },
    { SEG_KMEANS, 9, make_code, "feature channel: kmeans cannot have its categories encoded as" },
    { SEG_K_PROTOTYPES, 9, make_one_hot, "feature channel: k_prototypes wants its categories" },
    { SEG_K_PROTOTYPES, 9, make_bad_weight, "the weight of categories must be" },
    { SEG_MLP, 9, make_one_class, "the target has only one class: \"new\"" },
    { SEG_MLP, 9, make_unknown_class, "row 4 has class 3 of only 3" },
    { SEG_MLP, 9, make_no_target, "classification needs a target" },
    { SEG_AUTOENCODER_KMEANS, 9, make_no_encoder, "encoder has 0 layers (limit 1..8)" },
    { SEG_AUTOENCODER_KMEANS, 9, make_wide_encoder, "encoder layer 2 has 4097 units" },
    { SEG_AUTOENCODER_KMEANS, 9, make_bad_autoencoder, "autoencoder: epochs" },
};

static void what_cannot_be_trained_is_refused_with_a_sentence(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof FAULTS / sizeof FAULTS[0]; i++) {
        struct blobs b;
        struct seg_error err = { "" };
        struct seg_model *m = NULL;
        struct seg_report r = { 0 };
        blobs_init(&b, FAULTS[i].algorithm, false, FAULTS[i].n_rows, 1.0);
        FAULTS[i].make(&b);
        assert_int_equal(seg_train(NULL, &b.training, &m, &r, &err), SEG_EINVAL);
        if (strstr(err.text, FAULTS[i].sentence) == NULL)
            fail_msg("\"%s\" instead of \"%s\"", err.text, FAULTS[i].sentence);
        assert_null(m);
        assert_null(r.warnings);
        blobs_release(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_cannot_be_trained_is_refused_with_a_sentence),
    };
    if (seg_gemm_init(NULL) != SEG_OK) return 1; /* one BLAS thread, as in the service */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
