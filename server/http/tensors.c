/* The header is gone over once: what stands in it is kept as a list of inputs, whose values are
 * read when all of them are known to fit. */
#include "http/tensors.h"

#include <stdio.h>
#include "http/tensors_private.h"
#include "json/json.h"

/* ---- the header ---- */

static const char *pointer(struct reading *d, const char *list, uint32_t i, const char *member)
{
    const char *p = seg_arena_printf(&d->s.r->arena, "/%s/%u/%s", list, i, member);
    return p != NULL ? p : "";
}

static bool take_text(struct scan *s, const char **ret, const char *detail)
{
    const char *text;
    size_t len;
    if (!scan_open(s, '"', "", detail) || !scan_string(s, &text, &len)) return false;
    *ret = seg_arena_strndup(&s->r->arena, text, len);
    return *ret != NULL || scan_no_memory(s);
}

/* A whole number below 2^53. */
static bool take_size(struct scan *s, uint64_t *ret, const char *detail)
{
    uint64_t v = 0;
    s->at = skip_blanks(s->at, s->end);
    const char *p = s->at;
    for (; p < s->end && *p >= '0' && *p <= '9' && p - s->at < 16; p++)
        v = v * 10 + (uint64_t)(*p - '0');
    bool more = p < s->end && ((*p >= '0' && *p <= '9') || *p == '.' || (*p | 0x20) == 'e');
    if (p == s->at || more || v > (UINT64_C(1) << 53)) return scan_fail(s, "bad_body", "", detail);
    s->at = p;
    *ret = v;
    return true;
}

static bool take_flag(struct scan *s, bool *ret)
{
    s->at = skip_blanks(s->at, s->end);
    *ret = s->at < s->end && *s->at == 't';
    return *ret ? scan_word(s, "true", 4) : scan_word(s, "false", 5);
}

/* {"binary_data_size": 80, …}: what is known is read, the rest is the caller's own. Each of the
 * pointers may be NULL. */
static bool parameters(struct scan *s, bool *ret_all_binary, bool *ret_binary, uint64_t *ret_size,
                       bool *ret_has_size)
{
    bool again;
    if (!scan_open(s, '{', "", "\"parameters\" must be an object") || !scan_enter(s, '}', &again))
        return false;
    while (again) {
        const char *name;
        size_t len;
        bool ok;
        if (!scan_key(s, &name, &len)) return false;
        if (ret_all_binary != NULL && scan_is(name, len, "binary_data_output")) {
            ok = take_flag(s, ret_all_binary);
        } else if (ret_binary != NULL && scan_is(name, len, "binary_data")) {
            ok = take_flag(s, ret_binary);
        } else if (ret_size != NULL && scan_is(name, len, "binary_data_size")) {
            *ret_has_size = true;
            ok = take_size(s, ret_size, "\"binary_data_size\" must be a number of bytes");
        } else {
            ok = scan_skip_value(s);
        }
        if (!ok || !scan_more(s, '}', &again)) return false;
    }
    s->depth--;
    return true;
}

static bool shape(struct scan *s, struct tensor *t)
{
    static const char wanted[] = "\"shape\" must be an array of one or two sizes";
    bool again;
    if (!scan_open(s, '[', "", wanted) || !scan_enter(s, ']', &again)) return false;
    for (t->n_dims = 0; again; t->n_dims++) {
        uint64_t size;
        if (!take_size(s, &size, wanted) || !scan_more(s, ']', &again)) return false;
        if (t->n_dims < TENSOR_DIMS_MAX) t->dims[t->n_dims] = size;
    }
    s->depth--;
    return true;
}

static int datatype_of(const char *name)
{
    for (int i = 0; i < TENSOR_TYPES; i++)
        if (strcmp(TENSOR_TYPE[i].name, name) == 0) return i;
    return -1;
}

static bool input_member(struct reading *d, struct tensor *t, const char *key, size_t len)
{
    struct scan *s = &d->s;
    if (scan_is(key, len, "name")) return take_text(s, &t->name, "\"name\" must be a string");
    if (scan_is(key, len, "datatype"))
        return take_text(s, &t->datatype, "\"datatype\" must be a string");
    if (scan_is(key, len, "shape")) return shape(s, t);
    if (scan_is(key, len, "parameters"))
        return parameters(s, NULL, NULL, &t->n_bytes, &t->is_binary);
    if (!scan_is(key, len, "data"))
        return scan_fail(s, "unknown_key", "",
                         "an input has name, shape, datatype, parameters and data");
    s->at = skip_blanks(s->at, s->end);
    t->json = s->at;
    if (!scan_peek(s, '[')) return scan_fail(s, "bad_body", "", "\"data\" must be an array");
    return scan_skip_value(s);
}

/* Keys of an object must differ: remembers up to 8 of them as bits of their order in keys. */
static bool seen_before(struct scan *s, unsigned *seen, const char *const *keys, const char *key,
                        size_t len)
{
    for (unsigned i = 0; keys[i] != NULL; i++) {
        if (!scan_is(key, len, keys[i])) continue;
        bool twice = (*seen >> i & 1) != 0;
        *seen |= 1u << i;
        return twice && !scan_fail(s, "duplicate_key", "", "a key is given twice");
    }
    return false;
}

static bool input(struct reading *d)
{
    static const char *const keys[] = { "name", "shape", "datatype", "parameters", "data", NULL };
    struct scan *s = &d->s;
    unsigned seen = 0;
    bool again;
    if (d->n_tensors == SEG_FEATURES_MAX)
        return scan_fail(s, "bad_body", "/inputs", "more inputs than a model can have features");
    struct tensor *t = &d->tensors[d->n_tensors++];
    *t = (struct tensor){ .feature = -1, .type = -1 };
    if (!scan_open(s, '{', "", "an input must be an object") || !scan_enter(s, '}', &again))
        return false;
    while (again) {
        const char *key;
        size_t len;
        if (!scan_key(s, &key, &len) || seen_before(s, &seen, keys, key, len) ||
            !input_member(d, t, key, len) || !scan_more(s, '}', &again))
            return false;
    }
    s->depth--;
    return true;
}

static bool output(struct reading *d, struct tensor_request *q)
{
    struct scan *s = &d->s;
    bool again;
    if (q->n_outputs == TENSOR_OUTPUTS_MAX)
        return scan_fail(s, "bad_body", "/outputs", "no model has that many outputs");
    struct tensor_output *o = &q->outputs[q->n_outputs++];
    *o = (struct tensor_output){ .binary = q->binary_output };
    if (!scan_open(s, '{', "", "an output must be an object") || !scan_enter(s, '}', &again))
        return false;
    while (again) {
        const char *key;
        size_t len;
        bool ok;
        if (!scan_key(s, &key, &len)) return false;
        if (scan_is(key, len, "name")) {
            ok = take_text(s, &o->name, "\"name\" must be a string");
        } else if (scan_is(key, len, "parameters")) {
            ok = parameters(s, NULL, &o->binary, NULL, NULL);
        } else {
            ok = scan_fail(s, "unknown_key", "", "an output has name and parameters");
        }
        if (!ok || !scan_more(s, '}', &again)) return false;
    }
    s->depth--;
    if (o->name == NULL)
        faults_add(d->faults, pointer(d, "outputs", q->n_outputs - 1, "name"), "missing",
                   "an output needs a name");
    return true;
}

/* An array of objects, each taken by one of the two. */
static bool objects(struct reading *d, struct tensor_request *q)
{
    bool again;
    const char *wanted = q != NULL ? "\"outputs\" must be an array of objects"
                                   : "\"inputs\" must be an array of objects";
    if (!scan_open(&d->s, '[', "", wanted) || !scan_enter(&d->s, ']', &again)) return false;
    while (again)
        if (!(q != NULL ? output(d, q) : input(d)) || !scan_more(&d->s, ']', &again)) return false;
    d->s.depth--;
    return true;
}

static bool header(struct reading *d, struct tensor_request *q)
{
    static const char *const keys[] = { "id", "parameters", "inputs", "outputs", NULL };
    struct scan *s = &d->s;
    unsigned seen = 0;
    const char *outputs = NULL; /* read last: parameters may come behind them */
    bool again;
    if (!scan_open(s, '{', "", "the body must be an object with \"inputs\"") ||
        !scan_enter(s, '}', &again))
        return false;
    while (again) {
        const char *key;
        size_t len;
        bool ok;
        if (!scan_key(s, &key, &len) || seen_before(s, &seen, keys, key, len)) return false;
        if (scan_is(key, len, "id")) {
            ok = take_text(s, &q->id, "\"id\" must be a string");
        } else if (scan_is(key, len, "parameters")) {
            ok = parameters(s, &q->binary_output, NULL, NULL, NULL);
        } else if (scan_is(key, len, "inputs")) {
            ok = objects(d, NULL);
        } else if (scan_is(key, len, "outputs")) {
            outputs = s->at;
            ok = scan_skip_value(s);
        } else {
            ok = scan_fail(s, "unknown_key", "",
                           "a request has id, parameters, inputs and outputs; nothing else");
        }
        if (!ok || !scan_more(s, '}', &again)) return false;
    }
    s->depth--;
    if (!scan_finish(s)) return false;
    if (outputs == NULL) return true;
    s->at = outputs;
    s->depth = 1;
    return objects(d, q);
}

/* ---- what the inputs mean for the model ---- */

/* Whether values of the type can be the feature's. */
static bool type_suits(int type, enum seg_type feature)
{
    switch (feature) {
    case SEG_NUMERIC:
    case SEG_VECTOR: return TENSOR_TYPE[type].kind != TENSOR_BYTES && type != TENSOR_BOOL;
    case SEG_BOOLEAN: return TENSOR_TYPE[type].kind != TENSOR_BYTES;
    case SEG_CATEGORICAL: return TENSOR_TYPE[type].kind != TENSOR_FLOAT;
    case SEG_TIMESTAMP: return TENSOR_TYPE[type].kind == TENSOR_BYTES;
    }
    return false;
}

static bool all_numbers(const struct seg_schema *s)
{
    for (uint32_t i = 0; i < s->n_features; i++)
        if (s->features[i].type == SEG_CATEGORICAL || s->features[i].type == SEG_TIMESTAMP)
            return false;
    return true;
}

static void check_shape(struct reading *d, uint32_t i, struct tensor *t)
{
    const struct seg_schema *schema = d->s.r->schema;
    uint32_t width = t->feature >= 0 ? schema->features[t->feature].width : schema->n_cells;
    bool ok = t->n_dims == 2 ? t->dims[1] == width : t->n_dims == 1 && width == 1;
    t->width = width;
    if (!ok)
        faults_add(d->faults, pointer(d, "inputs", i, "shape"), "wrong_shape",
                   "%s must have the shape [n, %u]%s", t->name, width, width == 1 ? " or [n]" : "");
    else if (t->dims[0] > d->n_rows_max)
        faults_add(d->faults, pointer(d, "inputs", i, "shape"), "too_many_rows",
                   "has more than %u rows", d->n_rows_max);
    else if (t->dims[0] != d->tensors[0].dims[0])
        faults_add(d->faults, pointer(d, "inputs", i, "shape"), "wrong_shape",
                   "%s has another number of rows than %s", t->name,
                   d->tensors[0].name != NULL ? d->tensors[0].name : "the first input");
}

/* Where the values stand. Binary ones follow each other behind the header. */
static void check_data(struct reading *d, uint32_t i, struct tensor *t)
{
    const char *at = pointer(d, "inputs", i, "data");
    if (t->is_binary == (t->json != NULL)) {
        faults_add(d->faults, at, t->is_binary ? "bad_body" : "missing",
                   t->is_binary ? "an input has data or binary_data_size, not both"
                                : "an input needs data, or binary_data_size in its parameters");
        return;
    }
    if (!t->is_binary) {
        if (t->type == TENSOR_FP16 || t->type == TENSOR_BF16)
            faults_add(d->faults, at, "wrong_type", "%s comes as binary data", t->datatype);
        return;
    }
    size_t left = (size_t)(d->bytes_end - d->bytes);
    if (t->n_bytes > left) {
        faults_add(d->faults, at, "too_short", "%llu bytes were announced and %zu are there",
                   (unsigned long long)t->n_bytes, left);
        return;
    }
    t->bytes = d->bytes;
    d->bytes += t->n_bytes;
    size_t size = t->type >= 0 ? TENSOR_TYPE[t->type].size : 0;
    if (size > 0 && t->n_dims > 0 && t->n_bytes != t->dims[0] * t->width * size)
        faults_add(
            d->faults, at, "wrong_shape", "%llu bytes are not the %llu that shape and datatype say",
            (unsigned long long)t->n_bytes, (unsigned long long)(t->dims[0] * t->width * size));
}

static void check_input(struct reading *d, uint32_t i)
{
    struct tensor *t = &d->tensors[i];
    const struct seg_schema *schema = d->s.r->schema;
    if (t->name == NULL)
        faults_add(d->faults, pointer(d, "inputs", i, "name"), "missing", "an input needs a name");
    if (t->datatype != NULL) t->type = datatype_of(t->datatype);
    if (t->type < 0)
        faults_add(d->faults, pointer(d, "inputs", i, "datatype"),
                   t->datatype == NULL ? "missing" : "unknown_value",
                   "must be FP16, BF16, FP32, FP64, BOOL, BYTES, or INT or UINT of 8 to 64 bits");
    if (t->name == NULL) return;

    t->feature = seg_schema_find(schema, t->name, strlen(t->name));
    bool matrix = t->feature < 0 && strcmp(t->name, "features") == 0;
    if (matrix && d->n_tensors > 1) {
        faults_add(d->faults, pointer(d, "inputs", i, "name"), "bad_body",
                   "\"features\" holds every feature and stands alone");
    } else if (matrix && (!all_numbers(schema) ||
                          (t->type >= 0 && TENSOR_TYPE[t->type].kind == TENSOR_BYTES))) {
        faults_add(d->faults, pointer(d, "inputs", i, "name"), "wrong_type",
                   "one matrix can only hold numbers: this model wants a tensor a feature");
    } else if (!matrix && t->feature < 0) {
        faults_add(d->faults, pointer(d, "inputs", i, "name"), "unknown_feature",
                   "the model has no feature %s", t->name);
        return;
    }
    for (uint32_t k = 0; k < i; k++)
        if (d->tensors[k].name != NULL && strcmp(d->tensors[k].name, t->name) == 0)
            faults_add(d->faults, pointer(d, "inputs", i, "name"), "duplicate", "%s is given twice",
                       t->name);
    if (t->feature >= 0 && t->type >= 0 && !type_suits(t->type, schema->features[t->feature].type))
        faults_add(d->faults, pointer(d, "inputs", i, "datatype"), "wrong_type",
                   "%s cannot be read as %s, which is %s", t->datatype, t->name,
                   seg_type_name(schema->features[t->feature].type));
    check_shape(d, i, t);
    check_data(d, i, t);
}

static void check_inputs(struct reading *d)
{
    if (d->n_tensors == 0)
        faults_add(d->faults, "/inputs", "missing", "a request needs at least one input");
    for (uint32_t i = 0; i < d->n_tensors; i++)
        check_input(d, i);
    if (d->faults->n_total == 0 && d->bytes != d->bytes_end)
        faults_add(d->faults, "/inputs", "bad_body",
                   "%zu bytes behind the last tensor are nobody's",
                   (size_t)(d->bytes_end - d->bytes));
    if (d->faults->n_total == 0 && d->tensors[0].dims[0] == 0)
        faults_add(d->faults, "/inputs/0/shape", "missing", "there are no rows");
}

enum rows_status tensors_decode(struct rows *r, const char *body, size_t len, size_t json_len,
                                uint32_t n_rows_max, struct tensor_request *ret,
                                struct rows_error *e, struct faults *f)
{
    struct reading d = {
        .s = { .r = r, .at = body, .end = body + json_len, .start = body, .e = e },
        .faults = f,
        .n_rows_max = n_rows_max,
        .bytes = body + json_len,
        .bytes_end = body + len,
    };
    *ret = (struct tensor_request){ 0 };
    d.tensors = seg_arena_alloc(&r->arena, SEG_FEATURES_MAX * sizeof(*d.tensors));
    if (d.tensors == NULL || !rows_prepare(r)) return scan_no_memory(&d.s), ROWS_NO_MEMORY;
    if (!scan_is_text(&d.s) || !header(&d, ret)) return d.s.status;
    check_inputs(&d);
    if (f->n_total == 0 && !tensors_fill(&d)) return d.s.status;
    if (f->n_total == 0) return ROWS_OK;
    e->code = NULL;
    return ROWS_REFUSED;
}
