/* model.c - the life of a model, and what it says about itself. */
#include "model/model_private.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include "base/alloc.h"

struct seg_model *model_new(void)
{
    struct seg_model *m = seg_calloc(1, sizeof(*m));
    if (m == NULL) return NULL;
    atomic_init(&m->n_refs, 1);
    return m;
}

struct seg_model *seg_model_ref(struct seg_model *m)
{
    atomic_fetch_add_explicit(&m->n_refs, 1, memory_order_relaxed);
    return m;
}

void seg_model_unref(struct seg_model *m)
{
    /* Release our reads before the count falls, acquire everybody's before the memory goes. */
    if (m == NULL || atomic_fetch_sub_explicit(&m->n_refs, 1, memory_order_acq_rel) != 1) return;
    seg_preprocess_free(m->preprocess);
    seg_network_release(&m->autoencoder);
    seg_matrix_release(&m->centroids);
    seg_gmm_release(&m->mixture);
    seg_mixed_release(&m->mixed);
    seg_free(m->segment_ids);
    seg_network_release(&m->network);
    for (uint32_t i = 0; m->class_names != NULL && i < m->n_classes; i++)
        seg_free(m->class_names[i]);
    seg_free(m->class_names);
    seg_free(m);
}

enum seg_status model_mixed_init(struct seg_model *m, double weight)
{
    const uint32_t n = seg_preprocess_n_out(m->preprocess);
    uint32_t *n_codes = seg_alloc(n, sizeof(*n_codes));
    if (n_codes == NULL) return SEG_ENOMEM;
    for (uint32_t i = 0; i < n; i++)
        n_codes[i] = seg_preprocess_out_codes(m->preprocess, i);
    enum seg_status st = seg_mixed_init(&m->mixed, n_codes, n);
    m->mixed.weight = (float)weight;
    seg_free(n_codes);
    return st;
}

enum seg_task seg_model_task(const struct seg_model *m)
{
    return m->task;
}

enum seg_algorithm seg_model_algorithm(const struct seg_model *m)
{
    return m->algorithm;
}

const struct seg_schema *seg_model_inputs(const struct seg_model *m)
{
    return seg_preprocess_inputs(m->preprocess);
}

const struct seg_preprocess *seg_model_preprocess(const struct seg_model *m)
{
    return m->preprocess;
}

double seg_model_min_features_share(const struct seg_model *m)
{
    return m->min_features_share;
}

uint32_t seg_model_n_results(const struct seg_model *m)
{
    return m->n_results;
}

uint32_t seg_model_segment_id(const struct seg_model *m, uint32_t result)
{
    assert(m->task == SEG_SEGMENTATION && result < m->n_results);
    return m->segment_ids[result];
}

const char *seg_model_class_name(const struct seg_model *m, uint32_t i)
{
    assert(i < m->n_results);
    return m->class_names != NULL ? m->class_names[i] : NULL;
}

double seg_model_category_weight(const struct seg_model *m)
{
    return m->mixed.n_cols > 0 ? (double)m->mixed.weight : (double)NAN;
}

uint32_t seg_model_n_pictured(const struct seg_model *m)
{
    return m->mixed.n_cols > 0 ? seg_mixed_width(&m->mixed) : m->n_inputs;
}

void seg_model_pictured_name(const struct seg_model *m, uint32_t i, char *out, size_t size)
{
    const struct seg_mixed *mixed = &m->mixed;
    uint32_t category = 0, column = i;
    if (mixed->n_cols > 0 && i < mixed->n_numbers) column = mixed->numbers[i];
    if (mixed->n_cols == 0 || i < mixed->n_numbers) {
        snprintf(out, size, "%s", seg_preprocess_out_name(m->preprocess, column));
        return;
    }
    i -= mixed->n_numbers;
    while (i >= mixed->first_code[category + 1])
        category++;
    i -= mixed->first_code[category];
    column = mixed->categories[category];
    const struct seg_dictionary *d =
        &seg_model_inputs(m)
             ->features[seg_preprocess_column_feature(m->preprocess, column)]
             .dictionary;
    snprintf(out, size, "%s=%s", seg_preprocess_out_name(m->preprocess, column),
             i < d->n ? d->strings[i] : "(other)");
}

bool seg_model_has_probabilities(const struct seg_model *m)
{
    return m->network.n_layers > 0 || m->mixture.k > 0 || m->soft;
}

bool seg_model_has_distance(const struct seg_model *m)
{
    return m->task == SEG_SEGMENTATION;
}
