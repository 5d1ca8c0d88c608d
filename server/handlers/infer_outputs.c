/* A row of the table is an output: its name, its type, and which models have it. */
#include "handlers/infer_outputs.h"

#include <endian.h>
#include <math.h>
#include <string.h>

enum { SEGMENT, SEGMENT_NAME, CLASS, CONFIDENCE, DISTANCE, PROBABILITIES, STATUS, N_OUTPUTS };
_Static_assert((unsigned)N_OUTPUTS <= TENSOR_OUTPUTS_MAX, "a request can ask for every output");

static const struct {
    const char *name, *datatype;
} OUTPUTS[N_OUTPUTS] = {
    [SEGMENT] = { "segment", "INT32" },  [SEGMENT_NAME] = { "segment_name", "BYTES" },
    [CLASS] = { "class", "BYTES" },      [CONFIDENCE] = { "confidence", "FP32" },
    [DISTANCE] = { "distance", "FP32" }, [PROBABILITIES] = { "probabilities", "FP32" },
    [STATUS] = { "status", "BYTES" },
};
static const char *const STATUS_NAMES[] = { "ok", "insufficient_data", "invalid" };

static bool has_output(const struct seg_model *m, unsigned which)
{
    bool segments = seg_model_task(m) == SEG_SEGMENTATION;
    switch (which) {
    case SEGMENT:
    case SEGMENT_NAME: return segments;
    case CLASS: return !segments;
    case DISTANCE: return seg_model_has_distance(m);
    case PROBABILITIES: return seg_model_has_probabilities(m);
    default: return true;
    }
}

uint32_t infer_outputs_choose(const struct served_model *served, const struct tensor_request *q,
                              struct infer_output ret[TENSOR_OUTPUTS_MAX], struct faults *f)
{
    uint32_t n = 0;
    for (unsigned i = 0; q->n_outputs == 0 && i < N_OUTPUTS; i++)
        if (has_output(served->model, i)) ret[n++] = (struct infer_output){ i, q->binary_output };
    for (uint32_t k = 0; k < q->n_outputs; k++) {
        unsigned i = 0;
        const char *name = q->outputs[k].name;
        while (i < N_OUTPUTS && strcmp(OUTPUTS[i].name, name) != 0)
            i++;
        bool twice = false;
        for (uint32_t before = 0; before < n; before++)
            twice |= ret[before].which == i;
        const bool is_there = i < N_OUTPUTS && has_output(served->model, i);
        if (is_there && !twice) {
            ret[n++] = (struct infer_output){ i, q->outputs[k].binary };
            continue;
        }
        const char *at = seg_arena_printf(f->arena, "/outputs/%u/name", k);
        if (at == NULL) at = "";
        if (is_there)
            faults_add(f, at, "duplicate", "%s is asked for twice", name);
        else
            faults_add(f, at, "unknown_value", "the model has no output %s", name);
    }
    return n;
}

void infer_outputs_describe(const struct served_model *served, struct json_out *o)
{
    json_out_key(o, "outputs");
    json_out_array(o);
    for (unsigned i = 0; i < N_OUTPUTS; i++) {
        if (!has_output(served->model, i)) continue;
        json_out_object(o);
        json_out_member_string(o, "name", OUTPUTS[i].name);
        json_out_member_string(o, "datatype", OUTPUTS[i].datatype);
        json_out_key(o, "shape");
        json_out_array(o);
        json_out_int(o, -1);
        if (i == PROBABILITIES) json_out_uint(o, seg_model_n_results(served->model));
        json_out_end_array(o);
        json_out_end_object(o);
    }
    json_out_end_array(o);
}

/* The text of a BYTES output for a row; "" where there is none. */
static const char *text_of(const struct served_model *m, const struct infer_scores *s,
                           unsigned which, uint32_t row)
{
    if (which == STATUS) return STATUS_NAMES[s->status[row]];
    if (s->status[row] != INFER_OK) return "";
    if (which == CLASS) return seg_model_class_name(m->model, s->result[row]);
    const char *name = m->segment_names != NULL ? m->segment_names[s->result[row]] : NULL;
    return name != NULL ? name : "";
}

/* -1 where a row has no segment. */
static int32_t segment_of(const struct served_model *m, const struct infer_scores *s, uint32_t row)
{
    return s->status[row] == INFER_OK ? (int32_t)seg_model_segment_id(m->model, s->result[row])
                                      : -1;
}

static const float *floats_of(const struct infer_scores *s, unsigned which, size_t *ret_n)
{
    *ret_n = s->n_rows;
    if (which == CONFIDENCE) return s->confidence;
    if (which == DISTANCE) return s->distance;
    *ret_n *= s->n_results;
    return s->probabilities;
}

static void append_u32(struct score_text *t, uint32_t v)
{
    v = htole32(v);
    score_text_append(t, &v, sizeof(v));
}

static void write_binary(const struct served_model *m, const struct infer_scores *s, unsigned which,
                         struct score_text *bytes)
{
    if (strcmp(OUTPUTS[which].datatype, "FP32") == 0) {
        size_t n;
        const float *x = floats_of(s, which, &n);
        if (__BYTE_ORDER == __LITTLE_ENDIAN) {
            score_text_append(bytes, x, n * sizeof(*x));
            return;
        }
        for (size_t i = 0; i < n; i++) {
            uint32_t bits;
            memcpy(&bits, &x[i], sizeof(bits));
            append_u32(bytes, bits);
        }
        return;
    }
    for (uint32_t row = 0; row < s->n_rows; row++) {
        if (which == SEGMENT) {
            append_u32(bytes, (uint32_t)segment_of(m, s, row));
            continue;
        }
        const char *text = text_of(m, s, which, row);
        append_u32(bytes, (uint32_t)strlen(text));
        score_text_append(bytes, text, strlen(text));
    }
}

static void write_json(const struct served_model *m, const struct infer_scores *s, unsigned which,
                       struct json_out *o)
{
    json_out_key(o, "data");
    json_out_array(o);
    if (strcmp(OUTPUTS[which].datatype, "FP32") == 0) {
        size_t n;
        const float *x = floats_of(s, which, &n);
        for (size_t i = 0; i < n; i++)
            json_out_float(o, x[i]);
    } else {
        for (uint32_t row = 0; row < s->n_rows; row++)
            if (which == SEGMENT)
                json_out_int(o, segment_of(m, s, row));
            else
                json_out_string(o, text_of(m, s, which, row));
    }
    json_out_end_array(o);
}

void infer_outputs_write(const struct served_model *served, const struct infer_scores *s,
                         const struct infer_output *outputs, uint32_t n, struct json_out *o,
                         struct score_text *bytes)
{
    json_out_key(o, "outputs");
    json_out_array(o);
    for (uint32_t k = 0; k < n; k++) {
        unsigned which = outputs[k].which;
        json_out_object(o);
        json_out_member_string(o, "name", OUTPUTS[which].name);
        json_out_member_string(o, "datatype", OUTPUTS[which].datatype);
        json_out_key(o, "shape");
        json_out_array(o);
        json_out_uint(o, s->n_rows);
        if (which == PROBABILITIES) json_out_uint(o, s->n_results);
        json_out_end_array(o);
        if (outputs[k].binary) {
            size_t before = bytes->len;
            write_binary(served, s, which, bytes);
            json_out_key(o, "parameters");
            json_out_object(o);
            json_out_member_uint(o, "binary_data_size", bytes->len - before);
            json_out_end_object(o);
        } else {
            write_json(served, s, which, o);
        }
        json_out_end_object(o);
    }
    json_out_end_array(o);
}
