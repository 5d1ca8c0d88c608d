/* pipeline_report.c - what a run tells: progress while it works, warnings and figures at its end.
 */
#include "model/pipeline_private.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include "base/alloc.h"

/* The last fraction is the phases' own business: a callee may start at 0 again for every start of
 * k-means, but the whole never goes back. */
static void stage_report(void *ctx, double fraction, const char *message)
{
    struct stage *s = ctx;
    const struct seg_progress *to = &s->p->t->progress;
    char text[256];

    double whole = s->base + s->span * (fraction < 0 ? 0 : fraction > 1 ? 1 : fraction);
    if (whole > s->p->reported) s->p->reported = whole;
    snprintf(text, sizeof(text), "%s: %s", s->phase, message);
    seg_progress_report(to, s->p->reported, text);
}

void stage_begin(struct stage *s, struct pipeline *p, double base, double span, const char *phase)
{
    const struct seg_progress *to = &p->t->progress;
    *s = (struct stage){
        .as = { .cancel = to->cancel, .report = to->report ? stage_report : NULL, .ctx = s },
        .p = p,
        .base = base,
        .span = span,
        .phase = phase,
    };
}

void step_begin(struct stage *s, struct pipeline *p, struct steps *steps, double weight)
{
    double span = FRACTION_FITTED - FRACTION_PREPROCESSED;
    stage_begin(s, p, FRACTION_PREPROCESSED + span * steps->done / steps->sum,
                span * weight / steps->sum, "training");
    steps->done += weight;
}

bool pipeline_cancelled(const struct pipeline *p)
{
    return seg_progress_cancelled(&p->t->progress);
}

enum seg_status pipeline_warn(struct pipeline *p, const char *fmt, ...)
{
    struct seg_report *r = &p->report;
    va_list args, again;

    char **grown = seg_realloc(r->warnings, r->n_warnings + 1, sizeof(*grown));
    if (grown == NULL) return SEG_ENOMEM;
    r->warnings = grown;
    va_start(args, fmt);
    va_copy(again, args);
    int len = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    char *text = len < 0 ? NULL : seg_alloc((size_t)len + 1, 1);
    if (text != NULL) vsnprintf(text, (size_t)len + 1, fmt, again);
    va_end(again);
    if (text == NULL) return SEG_ENOMEM;
    r->warnings[r->n_warnings++] = text;
    return SEG_OK;
}

void names_add(struct names *names, const char *name)
{
    size_t len = strlen(name), glue = names->used > 0 ? 2 : 0;
    names->n++;
    if (glue + len >= sizeof(names->text) - names->used) return;
    memcpy(names->text + names->used, ", ", glue);
    memcpy(names->text + names->used + glue, name, len + 1);
    names->used += glue + len;
}

void seg_report_release(struct seg_report *r)
{
    seg_k_search_release(&r->k_search);
    seg_mlp_search_release(&r->mlp_search);
    seg_cluster_quality_release(&r->quality);
    seg_classification_release(&r->classification);
    seg_free(r->kmeans_curve);
    seg_free(r->likelihood_curve);
    seg_curve_release(&r->network_curve);
    seg_curve_release(&r->autoencoder_curve);
    seg_curve_release(&r->clustering_curve);
    seg_projection_release(&r->projection);
    seg_free(r->projection_result);
    for (size_t i = 0; i < r->n_warnings; i++)
        seg_free(r->warnings[i]);
    seg_free(r->warnings);
    *r = (struct seg_report){ 0 };
}
