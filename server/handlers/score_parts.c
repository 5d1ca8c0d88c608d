/* The texts of an answer that are the same in every request, made once for a served model. */
#include "handlers/score_private.h"

#include "base/alloc.h"

static bool part_take(struct part *ret, struct seg_arena *arena, const char *from, const char *end)
{
    size_t len = (size_t)(end - from);
    char *text = seg_arena_alloc(arena, len + PART_SLACK);
    if (text == NULL) return false;
    memcpy(text, from, len);
    memset(text + len, 0, PART_SLACK);
    *ret = (struct part){ text, len };
    return true;
}

static const char *result_name(const struct score *s, const struct served_model *served, uint32_t i)
{
    if (s->is_classification) return seg_model_class_name(s->model, i);
    return served->segment_names != NULL && served->segment_names[i] != NULL
               ? served->segment_names[i]
               : "";
}

/* A good row without a user id up to its confidence. */
static char *put_result(char *p, const struct score *s, uint32_t i, const char *name, size_t len)
{
    unsigned id = s->is_classification ? 0 : seg_model_segment_id(s->model, i);
    if (s->format == SCORE_CSV) {
        p = PUT(p, ",ok,");
        if (!s->is_classification) p += sprintf(p, "%u,", id);
        p = put_csv(p, name, len);
        return PUT(p, ",");
    }
    p = PUT(p, "{\"status\":\"ok\",");
    if (s->is_classification)
        p = PUT(p, "\"class\":");
    else
        p += sprintf(p, "\"segment\":%u,\"segment_name\":", id);
    return PUT(put_json(p, name, len), ",\"confidence\":");
}

static char *put_probability_key(char *p, const struct score *s, uint32_t i, const char *name,
                                 size_t len)
{
    if (s->format == SCORE_CSV) return PUT(p, ",");
    p = i == 0 ? PUT(p, ",\"probabilities\":{") : PUT(p, ",");
    if (s->is_classification)
        p = put_json(p, name, len);
    else
        p += sprintf(p, "\"%u\"", seg_model_segment_id(s->model, i));
    return PUT(p, ":");
}

static bool make_result(struct score *s, struct seg_arena *arena, const struct served_model *served,
                        uint32_t i)
{
    const char *name = result_name(s, served, i);
    size_t len = strlen(name);
    char *buf = seg_alloc(6 * len + 128, 1);
    if (buf == NULL) return false;
    bool ok =
        part_take(&s->results[i], arena, buf, put_result(buf, s, i, name, len)) &&
        part_take(&s->probabilities[i], arena, buf, put_probability_key(buf, s, i, name, len));
    seg_free(buf);
    return ok;
}

/* The column of result i's probability, a CSV field of at most 2 len + 64 bytes. raw: as much. */
static char *put_column(char *p, char *raw, const struct score *s, uint32_t i)
{
    char *end = PUT(raw, "probability_");
    if (s->is_classification) {
        const char *name = seg_model_class_name(s->model, i);
        end = put(end, name, strlen(name));
    } else {
        end += sprintf(end, "%u", seg_model_segment_id(s->model, i));
    }
    return put_csv(p, raw, (size_t)(end - raw));
}

/* The header record. */
static bool make_csv_head(struct score *s, struct seg_arena *arena)
{
    size_t n = FIXED_BYTES;
    for (uint32_t i = 0; s->is_classification && i < s->n_results; i++)
        n += 2 * strlen(seg_model_class_name(s->model, i));
    n += 64 * (size_t)s->n_results;
    char *buf = seg_alloc(n, 2);
    if (buf == NULL) return false;
    char *raw = buf + n;
    char *p = s->is_classification
                  ? PUT(buf, "user_id,status,class,confidence")
                  : PUT(buf, "user_id,status,segment,segment_name,confidence,distance");
    for (uint32_t i = 0; s->has_probabilities && i < s->n_results; i++)
        p = put_column(PUT(p, ","), raw, s, i);
    bool ok = part_take(&s->head, arena, buf, PUT(p, ",error\r\n"));
    seg_free(buf);
    return ok;
}

static bool make_head(struct score *s, struct seg_arena *arena, const struct served_model *served)
{
    char buf[sizeof(served->name) + 64];
    if (s->format == SCORE_CSV) return make_csv_head(s, arena);
    if (s->format == SCORE_NDJSON) return true;
    int n = snprintf(buf, sizeof(buf), "{\"model\":\"%s\",\"version\":%u,\"predictions\":[",
                     served->name, served->version);
    return part_take(&s->head, arena, buf, buf + n);
}

/* features and derived. Adds what the names of a row take at most to *bytes. */
static bool make_names(struct score *s, struct seg_arena *arena, size_t *bytes)
{
    const struct seg_preprocess *pre = seg_model_preprocess(s->model);
    uint32_t n_features = s->schema->n_features, n_derived = seg_preprocess_n_derived(pre);
    s->features = seg_arena_alloc(arena, (n_features + n_derived) * sizeof(*s->features));
    s->derived = seg_arena_alloc(arena, (n_derived + 1) * sizeof(*s->derived));
    if (s->features == NULL || s->derived == NULL) return false;
    for (uint32_t i = 0; i < n_derived; i++)
        if (!seg_derive_is_part(seg_preprocess_derived(pre, i)->op)) s->derived[s->n_derived++] = i;
    for (uint32_t i = 0; i < n_features + s->n_derived; i++) {
        char buf[SEG_NAME_BYTES_MAX * 6 + 2];
        const char *name = i < n_features
                               ? s->schema->features[i].name
                               : seg_preprocess_derived(pre, s->derived[i - n_features])->name;
        const char *end = put_json(buf, name, strlen(name));
        if (!part_take(&s->features[i], arena, buf, end)) return false;
        *bytes += 2 * (s->features[i].len + 1); /* a feature may be imputed and unseen at most */
    }
    return true;
}

struct score *score_new(struct seg_arena *arena, const struct served_model *served,
                        enum score_format format)
{
    struct score *s = seg_arena_alloc(arena, sizeof(*s));
    if (s == NULL) return NULL;
    *s = (struct score){ .model = served->model, .format = format };
    s->schema = seg_model_inputs(served->model);
    s->is_classification = seg_model_task(served->model) == SEG_CLASSIFICATION;
    s->has_probabilities = seg_model_has_probabilities(served->model);
    s->n_results = seg_model_n_results(served->model);
    s->results = seg_arena_alloc(arena, s->n_results * sizeof(*s->results));
    s->probabilities = seg_arena_alloc(arena, s->n_results * sizeof(*s->probabilities));
    if (s->results == NULL || s->probabilities == NULL) return NULL;
    size_t results_max = 0, keys = 0, names = 0;
    for (uint32_t i = 0; i < s->n_results; i++) {
        if (!make_result(s, arena, served, i)) return NULL;
        if (s->results[i].len > results_max) results_max = s->results[i].len;
        keys += s->probabilities[i].len;
    }
    if (!make_names(s, arena, &names)) return NULL;
    size_t n_numbers = s->n_results + 2;
    s->row_bytes_max = FIXED_BYTES + USER_ID_BYTES + results_max + keys + names +
                       n_numbers * NUMBER_BYTES + PART_SLACK;
    s->row_bytes_usual = results_max + 48 + (s->has_probabilities ? keys + n_numbers * 12 : 24);
    return make_head(s, arena, served) ? s : NULL;
}

void score_write_head(const struct score *s, uint32_t n_rows, struct score_text *out)
{
    score_text_reserve(out, s->head.len + score_block_bytes(s, n_rows));
    score_text_append(out, s->head.text, s->head.len);
}
