/* Figures that are not defined (a silhouette of one cluster) are null, never 0. */
#include "jobs/report_json.h"

#include <math.h>
#include <string.h>

#include "json/json.h"
#include "spec.h"

#define PICTURED_NAME_BYTES_MAX 600 /* a feature's name and a category */

static void write_doubles(struct json_out *o, const char *key, const double *values, size_t n)
{
    json_out_key(o, key);
    if (values == NULL) {
        json_out_null(o);
        return;
    }
    json_out_array(o);
    for (size_t i = 0; i < n; i++)
        json_out_double(o, values[i]);
    json_out_end_array(o);
}

static void write_class_name(struct json_out *o, const char *key, const struct seg_model *m,
                             uint32_t i)
{
    json_out_key(o, key);
    if (seg_model_task(m) == SEG_CLASSIFICATION)
        json_out_string(o, seg_model_class_name(m, i));
    else
        json_out_uint(o, seg_model_segment_id(m, i));
}

static void write_classification(const struct seg_classification *c, const struct seg_model *m,
                                 struct json_out *o)
{
    const char *key = seg_model_task(m) == SEG_CLASSIFICATION ? "class" : "segment";
    json_out_member_double(o, "accuracy", c->accuracy);
    json_out_member_double(o, "precision", c->macro_precision);
    json_out_member_double(o, "recall", c->macro_recall);
    json_out_member_double(o, "f1", c->macro_f1);
    json_out_member_double(o, "roc_auc", c->roc_auc);
    json_out_member_double(o, "pr_auc", c->pr_auc);
    json_out_member_double(o, "log_loss", c->log_loss);
    json_out_key(o, "classes");
    json_out_array(o);
    for (uint32_t i = 0; i < c->n_classes; i++) {
        json_out_object(o);
        write_class_name(o, key, m, i);
        json_out_member_uint(o, "support", c->classes[i].support);
        json_out_member_double(o, "precision", c->classes[i].precision);
        json_out_member_double(o, "recall", c->classes[i].recall);
        json_out_member_double(o, "f1", c->classes[i].f1);
        json_out_member_double(o, "roc_auc", c->classes[i].roc_auc);
        json_out_member_double(o, "pr_auc", c->classes[i].pr_auc);
        json_out_end_object(o);
    }
    json_out_end_array(o);
    json_out_key(o, "confusion_matrix"); /* [truth][predicted], in the order of classes */
    json_out_array(o);
    for (uint32_t i = 0; i < c->n_classes; i++) {
        json_out_array(o);
        for (uint32_t k = 0; k < c->n_classes; k++)
            json_out_uint(o, c->confusion[(size_t)i * c->n_classes + k]);
        json_out_end_array(o);
    }
    json_out_end_array(o);
}

void report_k_search_json(const struct seg_report *r, struct json_out *o)
{
    const struct seg_k_search *s = &r->k_search;
    json_out_array(o);
    for (size_t i = 0; i < s->n_candidates; i++) {
        const struct seg_k_candidate *c = &s->candidates[i];
        json_out_object(o);
        json_out_member_uint(o, "k", c->k);
        json_out_member_bool(o, "chosen", c->k == s->k);
        json_out_member_double(o, "inertia", c->inertia);
        json_out_member_double(o, "silhouette", c->silhouette);
        json_out_member_double(o, "davies_bouldin", c->davies_bouldin);
        json_out_member_double(o, "calinski_harabasz", c->calinski_harabasz);
        json_out_member_double(o, "gap", c->gap);
        json_out_member_double(o, "gap_error", c->gap_error);
        json_out_member_double(o, "stability_ari", c->stability_ari);
        json_out_member_double(o, "stability_jaccard", c->stability_jaccard);
        json_out_member_double(o, "share_min", c->share_min);
        json_out_end_object(o);
    }
    json_out_end_array(o);
}

static void write_trial(const struct seg_mlp_trial *t, struct json_out *o)
{
    struct seg_train_params p = t->params;
    p.epochs = t->epochs;
    json_out_object(o);
    train_spec_write_mlp(&p, o);
    json_out_member_double(o, "score", t->score);
    json_out_end_object(o);
}

static void write_mlp_search(const struct seg_mlp_search *s, struct json_out *o)
{
    const struct seg_mlp_trial best = { .params = s->best,
                                        .epochs = s->best.epochs,
                                        .score = s->score };
    if (s->n_trials == 0) return;
    json_out_key(o, "search");
    json_out_object(o);
    json_out_member_string(o, "reason", s->reason);
    json_out_key(o, "best");
    write_trial(&best, o);
    json_out_key(o, "trials");
    json_out_array(o);
    for (size_t i = 0; i < s->n_trials; i++)
        write_trial(&s->trials[i], o);
    json_out_end_array(o);
    json_out_end_object(o);
}

static void write_mean_sd(const char *key, const struct seg_mean_sd *v, struct json_out *o)
{
    json_out_key(o, key);
    json_out_object(o);
    json_out_member_double(o, "mean", v->mean);
    json_out_member_double(o, "sd", v->sd);
    json_out_end_object(o);
}

static void write_cv(const struct seg_mlp_cv *cv, struct json_out *o)
{
    json_out_key(o, "cross_validation");
    json_out_object(o);
    write_mean_sd("accuracy", &cv->accuracy, o);
    write_mean_sd("log_loss", &cv->log_loss, o);
    write_mean_sd("roc_auc", &cv->roc_auc, o);
    json_out_end_object(o);
}

static void write_pca(const struct seg_preprocess *pre, struct json_out *o)
{
    const double *explained = seg_preprocess_explained(pre);
    uint32_t n = seg_preprocess_n_out(pre);
    double total = 0;
    if (explained == NULL) return;
    for (uint32_t i = 0; i < n; i++)
        total += explained[i];
    json_out_key(o, "pca");
    json_out_object(o);
    json_out_member_uint(o, "columns", seg_preprocess_n_columns(pre));
    json_out_member_uint(o, "components", n);
    json_out_member_double(o, "explained_variance", total);
    write_doubles(o, "explained_variance_ratio", explained, n);
    json_out_end_object(o);
}

void report_metrics_json(const struct seg_report *r, const struct seg_model *m, struct json_out *o)
{
    bool segmentation = seg_model_task(m) == SEG_SEGMENTATION;
    json_out_object(o);
    json_out_member_string(o, "evaluated_on", r->evaluated_on_test ? "test" : "training");
    json_out_key(o, "rows");
    json_out_object(o);
    json_out_member_uint(o, "train", r->n_rows[SEG_PART_TRAIN]);
    json_out_member_uint(o, "validation", r->n_rows[SEG_PART_VALIDATION]);
    json_out_member_uint(o, "test", r->n_rows[SEG_PART_TEST]);
    json_out_end_object(o);
    write_pca(seg_model_preprocess(m), o);
    if (segmentation) {
        const struct seg_cluster_quality *q = &r->quality;
        json_out_member_uint(o, "k", seg_model_n_results(m));
        if (r->k_search.n_candidates > 0) {
            json_out_member_string(o, "k_reason", r->k_search.reason);
            json_out_member_uint(o, "k_search_rows", r->k_search.n_rows_used);
            json_out_member_uint(o, "k_search_silhouette_rows", r->k_search.n_rows_few);
            json_out_member_uint(o, "k_search_resample_rows", r->k_search.n_rows_drawn);
            json_out_member_bool(o, "k_search_sampled", r->k_search.sampled);
        }
        json_out_member_double(o, "inertia", r->has_likelihood ? q->inertia : r->inertia);
        if (r->has_likelihood) {
            json_out_member_double(o, "log_likelihood", r->log_likelihood);
            json_out_member_double(o, "aic", r->aic);
            json_out_member_double(o, "bic", r->bic);
        }
        if (!isnan(seg_model_category_weight(m)))
            json_out_member_double(o, "category_weight", seg_model_category_weight(m));
        json_out_member_uint(o, "iterations", r->n_iter);
        json_out_member_bool(o, "converged", r->converged);
        json_out_member_double(o, "silhouette", q->silhouette);
        json_out_member_string(o, "silhouette_method", q->silhouette_sampled ? "sampled" : "exact");
        json_out_member_uint(o, "silhouette_rows", q->silhouette_rows);
        write_doubles(o, "silhouette_by_segment", q->silhouette_by_cluster,
                      q->silhouette_by_cluster ? seg_model_n_results(m) : 0);
        json_out_member_double(o, "davies_bouldin", q->davies_bouldin);
        json_out_member_double(o, "calinski_harabasz", q->calinski_harabasz);
    }
    if (r->has_classification && segmentation) {
        json_out_key(o, "head");
        json_out_object(o);
    }
    if (r->has_classification) write_classification(&r->classification, m, o);
    if (r->has_classification && segmentation) json_out_end_object(o);
    write_mlp_search(&r->mlp_search, o);
    if (r->has_cv) write_cv(&r->cv, o);
    json_out_end_object(o);
}

static void write_network_curve(const struct seg_curve *c, const char *key, struct json_out *o)
{
    if (c->n_epochs == 0) return;
    json_out_key(o, key);
    json_out_object(o);
    json_out_member_uint(o, "epochs", c->n_epochs);
    json_out_member_uint(o, "best_epoch", c->best_epoch + 1);
    write_doubles(o, "train_loss", c->train_loss, c->n_epochs);
    write_doubles(o, "validation_loss", c->validation_loss, c->n_epochs);
    write_doubles(o, "validation_accuracy", c->validation_accuracy, c->n_epochs);
    if (c->code_loss != NULL) write_doubles(o, "clustering_loss", c->code_loss, c->n_epochs);
    json_out_end_object(o);
}

void report_curve_json(const struct seg_report *r, struct json_out *o)
{
    json_out_object(o);
    if (r->kmeans_curve != NULL) write_doubles(o, "inertia", r->kmeans_curve, r->n_iter);
    if (r->likelihood_curve != NULL)
        write_doubles(o, "log_likelihood", r->likelihood_curve, r->n_iter);
    write_network_curve(&r->autoencoder_curve, "autoencoder", o);
    write_network_curve(&r->clustering_curve, "clustering", o);
    write_network_curve(&r->network_curve, "network", o);
    json_out_end_object(o);
}

void report_projection_json(const struct seg_report *r, const struct seg_model *m,
                            struct json_out *o)
{
    const struct seg_projection *p = &r->projection;
    json_out_object(o);
    json_out_key(o, "columns");
    json_out_array(o);
    for (uint32_t i = 0; i < seg_model_n_pictured(m); i++) {
        char name[PICTURED_NAME_BYTES_MAX];
        seg_model_pictured_name(m, i, name, sizeof(name));
        name[utf8_prefix(name, strlen(name))] = '\0'; /* may be cut inside a character */
        json_out_string(o, name);
    }
    json_out_end_array(o);
    json_out_key(o, "axes");
    json_out_array(o);
    for (size_t a = 0; a < p->axes.n_rows; a++) {
        json_out_array(o);
        for (size_t c = 0; c < p->axes.n_cols; c++)
            json_out_float(o, p->axes.data[a * p->axes.n_cols + c]);
        json_out_end_array(o);
    }
    json_out_end_array(o);
    write_doubles(o, "explained", p->explained, 2);
    json_out_key(o, "points");
    json_out_array(o);
    for (size_t i = 0; i < p->n_points; i++) {
        json_out_object(o);
        json_out_key(o, "x");
        json_out_float(o, p->points[2 * i]);
        json_out_key(o, "y");
        json_out_float(o, p->points[2 * i + 1]);
        write_class_name(o, seg_model_task(m) == SEG_CLASSIFICATION ? "class" : "segment", m,
                         r->projection_result[i]);
        json_out_end_object(o);
    }
    json_out_end_array(o);
    json_out_end_object(o);
}
