/* One struct import carries both passes. A row is judged by the same function in both, so that what
 * was checked is what is stored. */
#include "import/import.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "db/copy_rows.h"
#include "db/feature_rows.h"
#include "json/json.h"

#define IMPORT_TIMEOUT_S 3600

static const char *const TYPE_WANTED[] = {
    [SEG_NUMERIC] = "must be a finite number",
    [SEG_BOOLEAN] = "must be true or false",
    [SEG_TIMESTAMP] = "must be a time such as 2026-11-23T10:00:00Z",
    [SEG_CATEGORICAL] = "must be text",
    [SEG_VECTOR] = "must be an array of numbers of the column's length"
};

struct import {
    struct http_request *rq;
    struct source *source;
    const char *id_column;
    bool skip;
    bool existing; /* the set was there before */
    struct feature_set fs;
    uint32_t *columns;         /* source column -> fs column; the id's is UINT32_MAX */
    uint32_t n_mapped;         /* source columns mapped so far */
    struct field_types *types; /* new set: by source column */
    int id;                    /* source column of the id, -1 while not seen */
    struct faults faults;
    uint64_t n_rows, n_bad;
    bool columns_bad; /* a fault of a whole column: no row can be stored, skip or not */
    struct db *db;
    struct copy_rows out; /* to the stage */
};

static void row_fault(struct import *im, const struct record *rec, int column, const char *code,
                      const char *detail)
{
    struct seg_arena *a = &im->rq->arena;
    char *at;
    if (im->faults.n_items == FAULTS_MAX) { /* only counted from here on */
        faults_add(&im->faults, "", code, "%s", "");
        return;
    }
    if (column >= 0)
        at = seg_arena_printf(a, "line %zu, column %d (%s)", rec->line, column + 1,
                              im->source->columns[column]);
    else if (rec->column > 0)
        at = seg_arena_printf(a, "line %zu, column %zu", rec->line, rec->column);
    else
        at = seg_arena_printf(a, "line %zu", rec->line);
    faults_add(&im->faults, at ? at : "", code, "%s", detail);
}

/* Text of an id; false when the field is none. */
static bool id_text(const struct field *f, char number[32], const char **ret, size_t *ret_len)
{
    if (f->kind == FIELD_NUMBER && f->number == floor(f->number) &&
        fabs(f->number) <= 9007199254740992.0) {
        *ret_len = (size_t)snprintf(number, 32, "%.0f", f->number);
        *ret = number;
        return true;
    }
    *ret = f->text;
    *ret_len = f->len;
    return f->kind == FIELD_TEXT && user_id_is_valid(f->text, f->len);
}

/* Maps source columns that have appeared since the last row. */
static bool map_columns(struct import *im)
{
    struct source *s = im->source;
    if (s->n_columns == im->n_mapped) return true;
    uint32_t *columns = seg_realloc(im->columns, s->n_columns, sizeof(*columns));
    if (columns == NULL) return false;
    im->columns = columns;
    struct field_types *types = seg_realloc(im->types, s->n_columns, sizeof(*types));
    if (types == NULL) return false;
    im->types = types;
    for (uint32_t i = im->n_mapped; i < s->n_columns; i++) {
        field_types_init(&types[i]);
        columns[i] = UINT32_MAX;
        if (im->id_column != NULL && strcmp(s->columns[i], im->id_column) == 0) {
            im->id = (int)i;
            continue;
        }
        for (uint32_t k = 0; im->existing && k < im->fs.n_columns; k++)
            if (strcmp(im->fs.columns[k].name, s->columns[i]) == 0) columns[i] = k;
        if (!im->existing || columns[i] != UINT32_MAX) continue;
        im->columns_bad = true;
        faults_add(&im->faults, s->columns[i], "unknown_column",
                   "feature set %s has no such column", im->fs.name);
    }
    im->n_mapped = s->n_columns;
    return true;
}

/* True when the row is good. report: add its faults. */
static bool judge(struct import *im, const struct record *rec, bool report)
{
    char number[32];
    const char *text;
    size_t len;
    double x;
    int64_t micros;
    bool good = true;
    if (rec->bad) {
        if (report) row_fault(im, rec, -1, rec->code, rec->detail);
        return false;
    }
    if (im->id_column != NULL &&
        (im->id < 0 || !id_text(&rec->fields[im->id], number, &text, &len))) {
        good = false;
        if (report)
            row_fault(im, rec, im->id, "bad_user_id",
                      "the id must be 1 to 256 bytes of UTF-8 without control characters");
    }
    for (uint32_t i = 0; im->existing && i < im->source->n_columns; i++) {
        const struct field *f = &rec->fields[i];
        if ((int)i == im->id || im->columns[i] == UINT32_MAX || f->kind == FIELD_MISSING) continue;
        const struct feature_column *c = &im->fs.columns[im->columns[i]];
        bool nul = f->kind == FIELD_TEXT && memchr(f->text, '\0', f->len) != NULL;
        if (!nul && field_convert(f, c->type, c->width, &x, &micros)) continue;
        good = false;
        if (!report) return false;
        row_fault(im, rec, (int)i, "wrong_type", TYPE_WANTED[c->type]);
    }
    return good;
}

/* Checks every row, narrows types, collects faults. */
static enum source_status first_pass(struct import *im)
{
    struct record rec;
    for (;;) {
        enum source_status status = im->source->next(im->source, &rec);
        if (status != SOURCE_RECORD) return status;
        im->n_rows++;
        if (!map_columns(im)) return SOURCE_NO_MEMORY;
        if (!judge(im, &rec, true)) {
            im->n_bad++;
            continue;
        }
        for (uint32_t i = 0; !im->existing && i < im->source->n_columns; i++)
            if ((int)i != im->id) field_narrow(&im->types[i], &rec.fields[i]);
    }
}

/* A new set's columns, c1, c2 … in the order of the body, of the types inferred. */
static bool infer_columns(struct import *im)
{
    static const char *const sql_types[] = { [SEG_NUMERIC] = "double precision",
                                             [SEG_BOOLEAN] = "boolean",
                                             [SEG_TIMESTAMP] = "timestamp with time zone",
                                             [SEG_CATEGORICAL] = "text",
                                             [SEG_VECTOR] = "real[]" };
    struct seg_arena *a = &im->rq->arena;
    struct source *s = im->source;
    im->fs.columns = seg_arena_alloc(a, (s->n_columns + 1) * sizeof(*im->fs.columns));
    if (im->fs.columns == NULL) return false;
    for (uint32_t i = 0; i < s->n_columns; i++) {
        if ((int)i == im->id) continue;
        int type = field_type(&im->types[i]);
        if (type < 0) {
            im->columns_bad = true;
            faults_add(&im->faults, s->columns[i], "mixed_types",
                       "arrays must all have the same length and not be mixed with other values");
            continue;
        }
        uint32_t k = im->fs.n_columns++;
        im->columns[i] = k;
        im->fs.columns[k] =
            (struct feature_column){ .name =
                                         seg_arena_strndup(a, s->columns[i], strlen(s->columns[i])),
                                     .type = (enum seg_type)type,
                                     .column = seg_arena_printf(a, "c%u", k + 1),
                                     .sql_type = sql_types[type],
                                     .width = type == SEG_VECTOR ? im->types[i].width : 1 };
        if (im->fs.columns[k].name == NULL || im->fs.columns[k].column == NULL) return false;
    }
    im->fs.managed = true;
    im->fs.imported_id = im->id_column;
    im->fs.numbered = im->id_column == NULL;
    return true;
}

static enum db_status put_row(struct import *im, const struct record *rec, uint32_t n_columns,
                              uint64_t row)
{
    char number[32];
    const char *id = number;
    size_t len = 0;
    if (im->id_column == NULL)
        len = (size_t)snprintf(number, sizeof(number), "%llu", (unsigned long long)row);
    else
        id_text(&rec->fields[im->id], number, &id, &len);
    copy_rows_next(&im->out, n_columns + 2);
    copy_rows_int8(&im->out, (int64_t)rec->line);
    copy_rows_text(&im->out, id, len);
    for (uint32_t i = 0; i < im->source->n_columns; i++) {
        if (im->columns[i] == UINT32_MAX) continue;
        const struct feature_column *c = &im->fs.columns[im->columns[i]];
        field_copy(&rec->fields[i], c->type, c->width, &im->out);
    }
    return im->out.status;
}

/* Writes the good rows into the stage. */
static enum db_status second_pass(struct import *im, const uint32_t *columns, uint32_t n_columns)
{
    struct record rec;
    uint64_t row = 0, n_copied;
    if (!im->source->rewind(im->source)) return DB_FATAL;
    enum db_status st = db_feature_rows_stage(im->db, &im->fs, columns, n_columns, &im->rq->arena);
    if (st != DB_ONE) return st;
    copy_rows_begin(&im->out, im->db);
    im->existing = true; /* from here on rows are judged by the set's types */
    for (enum source_status s;
         (s = im->source->next(im->source, &rec)) != SOURCE_END && st == DB_ONE;) {
        if (s != SOURCE_RECORD)
            st = DB_FATAL;
        else if (judge(im, &rec, false))
            st = put_row(im, &rec, n_columns, ++row);
    }
    if (st == DB_ONE) st = copy_rows_end(&im->out, &n_copied);
    if (st != DB_ONE && st != DB_NONE) db_copy_in_abort(im->db);
    return st;
}

/* Ids that occur twice: faults, or with skip the later ones are left out. */
static enum db_status check_duplicates(struct import *im)
{
    struct duplicate_row *rows = NULL;
    size_t n;
    uint64_t total;
    enum db_status st =
        db_feature_rows_duplicates(im->db, FAULTS_MAX, &im->rq->arena, &rows, &n, &total);
    if (st != DB_ONE) return st == DB_NONE ? DB_ONE : st;
    for (size_t i = 0; i < n; i++) {
        char *at = seg_arena_printf(&im->rq->arena, "line %llu", (unsigned long long)rows[i].line);
        faults_add(&im->faults, at ? at : "", "duplicate_id", "line %llu has the same id",
                   (unsigned long long)rows[i].first_line);
    }
    im->faults.n_total += total - n;
    im->n_bad += total;
    if (!im->skip) return DB_CONFLICT;
    st = db_feature_rows_drop_duplicates(im->db);
    return st == DB_NONE ? DB_ONE : st;
}

static enum db_status store(struct import *im, uint64_t *ret_inserted, uint64_t *ret_updated)
{
    struct seg_arena *a = &im->rq->arena;
    bool created;
    uint32_t n = 0;
    uint32_t *columns = seg_arena_alloc(a, (im->source->n_columns + 1) * sizeof(*columns));
    if (columns == NULL) return DB_FATAL;
    for (uint32_t i = 0; i < im->source->n_columns; i++)
        if (im->columns[i] != UINT32_MAX) columns[n++] = im->columns[i];
    enum db_status st = db_feature_rows_begin(im->db);
    if (st == DB_ONE && !im->existing) {
        st = db_feature_sets_put_managed(im->db, &im->fs, &im->fs.id, &created);
        im->fs.relation_schema = im->rq->app->config->database.schema;
        im->fs.relation_name = seg_arena_printf(a, "fs_%lld", (long long)im->fs.id);
    }
    if (st == DB_ONE) st = second_pass(im, columns, n);
    if (st == DB_ONE) st = check_duplicates(im);
    if (st == DB_ONE)
        st = db_feature_rows_merge(im->db, &im->fs, columns, n, a, ret_inserted, ret_updated);
    if (st == DB_ONE) return db_commit(im->db);
    db_rollback(im->db);
    return st;
}

static enum http_status reply_import(struct import *im, uint64_t inserted, uint64_t updated)
{
    struct json_out o;
    json_out_init(&o);
    json_out_object(&o);
    json_out_member_string(&o, "feature_set", im->fs.name);
    json_out_member_uint(&o, "inserted", inserted);
    json_out_member_uint(&o, "updated", updated);
    json_out_member_uint(&o, "skipped", im->n_bad);
    json_out_key(&o, "columns");
    json_out_array(&o);
    for (uint32_t i = 0; i < im->fs.n_columns; i++) {
        json_out_object(&o);
        json_out_member_string(&o, "name", im->fs.columns[i].name);
        json_out_member_string(&o, "type", seg_type_name(im->fs.columns[i].type));
        json_out_end_object(&o);
    }
    json_out_end_array(&o);
    if (im->n_bad > 0) {
        json_out_key(&o, "errors");
        json_out_array(&o);
        for (size_t i = 0; i < im->faults.n_items; i++) {
            json_out_object(&o);
            json_out_member_string(&o, "pointer", im->faults.items[i].pointer);
            json_out_member_string(&o, "code", im->faults.items[i].code);
            json_out_member_string(&o, "detail", im->faults.items[i].detail);
            json_out_end_object(&o);
        }
        json_out_end_array(&o);
    }
    json_out_end_object(&o);
    return reply_json(im->rq, HTTP_200, &o);
}

/* The set as it is, or as it would be. HTTP_200: go on. */
static enum http_status open_set(struct import *im, const char *name)
{
    struct http_request *rq = im->rq;
    enum db_status st = db_feature_sets_get(rq->db, name, &rq->arena, &im->fs);
    if (st != DB_ONE && st != DB_NONE) return reply_db_error(rq, st);
    im->existing = st == DB_ONE;
    if (st == DB_NONE) {
        im->fs = (struct feature_set){ .name = name };
        return HTTP_200;
    }
    if (!im->fs.managed)
        return reply_error(rq, ERR_CONFLICT,
                           "feature set %s stands in a relation of yours, which is only read",
                           name);
    if (im->fs.numbered != (im->id_column == NULL))
        return reply_error(rq, ERR_CONFLICT,
                           im->fs.numbered
                               ? "the rows of %s are numbered: leave id_column out"
                               : "feature set %s has an id column: name it by ?id_column=",
                           name);
    return HTTP_200;
}

enum http_status import_rows(struct http_request *rq, const char *name, struct source *source,
                             const char *id_column, bool skip)
{
    struct import im = {
        .rq = rq, .source = source, .id_column = id_column, .skip = skip, .id = -1
    };
    uint64_t inserted = 0, updated = 0;
    faults_init(&im.faults, &rq->arena);
    enum http_status status = open_set(&im, name);
    if (status != HTTP_200) return status;
    enum source_status s = first_pass(&im);
    if (s == SOURCE_NO_MEMORY) {
        status = reply_error(rq, ERR_INTERNAL, NULL);
        goto out;
    }
    if (s == SOURCE_REFUSED) {
        char *at = seg_arena_printf(&rq->arena, "line %zu", source->refusal_line);
        faults_add(&im.faults, at ? at : "", source->refusal_code, "%s", source->refusal);
    } else if (im.n_rows == 0) {
        faults_add(&im.faults, "", "no_rows", "the body has no rows");
    } else if (id_column != NULL && im.id < 0) {
        faults_add(&im.faults, "?id_column", "unknown_column", "the body has no column %s",
                   id_column);
    }
    bool hopeless =
        s == SOURCE_REFUSED || im.n_rows == im.n_bad || (id_column != NULL && im.id < 0);
    if (!hopeless && !im.existing && !infer_columns(&im)) {
        status = reply_error(rq, ERR_INTERNAL, NULL);
        goto out;
    }
    if (hopeless || im.columns_bad || (im.faults.n_total > 0 && !skip)) {
        status = reply_faults(rq, ERR_INVALID, &im.faults);
        goto out;
    }
    im.db = db_connect(rq->app->config, IMPORT_TIMEOUT_S, true, rq->app->metrics);
    enum db_status st = im.db ? store(&im, &inserted, &updated) : DB_RETRY;
    if (st == DB_CONFLICT && im.faults.n_total > 0)
        status = reply_faults(rq, ERR_INVALID, &im.faults);
    else if (st == DB_CONFLICT)
        status =
            reply_error(rq, ERR_CONFLICT,
                        "another import has just made feature set %s with other columns", name);
    else if (st == DB_RETRY && im.db != NULL && db_feature_rows_busy(im.db))
        status = reply_error(rq, ERR_FEATURE_SET_BUSY, "an import into %s has run for %u s", name,
                             DB_FEATURE_ROWS_WAIT_S);
    else
        status = st == DB_ONE ? reply_import(&im, inserted, updated) : reply_db_error(rq, st);
out:
    db_close(im.db);
    seg_free(im.columns);
    seg_free(im.types);
    copy_rows_release(&im.out);
    return status;
}
