/* PUT of a feature set: the name of a relation of the user's, or the columns of a table of ours. */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "db/feature_catalogue.h"
#include "handlers/feature_sets.h"
#include "handlers/handlers.h"
#include "json/json.h"

/* An SQL name as we take it: ^[A-Za-z_][A-Za-z0-9_]{0,62}$. Everything goes through the catalogue
 * and is quoted besides. */
static bool is_sql_name(const char *s, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (!isalpha((unsigned char)s[i]) && s[i] != '_' &&
            (i == 0 || !isdigit((unsigned char)s[i])))
            return false;
    return len >= 1 && len <= 63;
}

/* A string member of the body, NULL when absent or after a fault. */
static const char *string_member(const struct json *body, const char *key, struct faults *f)
{
    char pointer[64];
    const struct json *v = json_get(body, key);
    if (v == NULL) return NULL;
    if (json_kind(v) == JSON_STRING) return json_string(v);
    snprintf(pointer, sizeof(pointer), "/%s", key);
    faults_add(f, pointer, "wrong_type", "must be a string, not %s", json_kind_name(json_kind(v)));
    return NULL;
}

/* Whether values of an SQL type that is `own` by nature can be read as `wanted`. */
static bool can_be(enum seg_type own, enum seg_type wanted)
{
    return own == wanted || (wanted == SEG_CATEGORICAL && own != SEG_VECTOR) ||
           (wanted == SEG_NUMERIC && own == SEG_BOOLEAN);
}

/* One element of "columns": its name and wanted type, -1 when not said. False after a fault. */
static bool read_column(struct http_request *rq, const struct json *v, unsigned index,
                        const char **ret_name, int *ret_type, struct faults *f)
{
    char *at = seg_arena_printf(&rq->arena, "/columns/%u", index);
    if (json_kind(v) != JSON_OBJECT) {
        faults_add(f, at, "wrong_type", "must be an object: {\"name\": …, \"type\": …}");
        return false;
    }
    for (const struct json *m = json_first(v); m != NULL; m = json_next(m))
        if (strcmp(json_key(m), "name") != 0 && strcmp(json_key(m), "type") != 0 &&
            strcmp(json_key(m), "width") != 0)
            faults_add(f, seg_arena_printf(&rq->arena, "%s/%s", at, json_key(m)), "unknown_key",
                       "there is no such option here");
    const struct json *name = json_get(v, "name"), *type = json_get(v, "type");
    *ret_type = -1;
    if (name == NULL || json_kind(name) != JSON_STRING || *json_string(name) == '\0' ||
        strlen(json_string(name)) > SEG_NAME_BYTES_MAX) {
        faults_add(f, seg_arena_printf(&rq->arena, "%s/name", at), "wrong_type",
                   "must be a name of 1 to %u bytes", SEG_NAME_BYTES_MAX);
        return false;
    }
    *ret_name = json_string(name);
    if (type == NULL) return true;
    if (json_kind(type) == JSON_STRING) *ret_type = seg_type_from_name(json_string(type));
    if (*ret_type < 0)
        faults_add(f, seg_arena_printf(&rq->arena, "%s/type", at), "unknown_value",
                   "must be numeric, categorical, boolean, timestamp or vector");
    return *ret_type >= 0;
}

/* The fault of a column that the body lists and that cannot be taken. */
static void refuse_column(const char *at, const char *name, const struct feature_set *fs,
                          const struct relation_columns *all, struct faults *f)
{
    for (size_t i = 0; i < all->n_left_out; i++)
        if (strcmp(all->left_out[i].name, name) == 0) {
            faults_add(f, at, "unknown_column", "%s is %s: %s", name, all->left_out[i].sql_type,
                       all->left_out[i].detail);
            return;
        }
    faults_add(f, at, "unknown_column", "%s.%s has no column %s besides the id",
               fs->relation_schema, fs->relation_name, name);
}

/* Keeps the columns that the body lists, with the types it wants, of those in fs. */
static void choose_columns(struct http_request *rq, const struct json *list,
                           const struct relation_columns *all, struct feature_set *fs,
                           struct faults *f)
{
    unsigned index = 0;
    uint32_t n = 0;
    struct feature_column *chosen =
        seg_arena_alloc(&rq->arena, (json_size(list) + 1) * sizeof(*chosen));
    for (const struct json *v = json_first(list); v != NULL && chosen != NULL;
         v = json_next(v), index++) {
        const char *name;
        int type;
        if (!read_column(rq, v, index, &name, &type, f)) continue;
        char *at = seg_arena_printf(&rq->arena, "/columns/%u", index);
        const struct feature_column *own = NULL;
        for (uint32_t i = 0; i < fs->n_columns; i++)
            if (strcmp(fs->columns[i].name, name) == 0) own = &fs->columns[i];
        bool twice = false;
        for (uint32_t i = 0; i < n; i++)
            twice = twice || strcmp(chosen[i].name, name) == 0;
        if (own == NULL)
            refuse_column(at, name, fs, all, f);
        else if (twice)
            faults_add(f, at, "duplicate", "is listed twice");
        else if (type >= 0 && !can_be(own->type, (enum seg_type)type))
            faults_add(f, at, "wrong_type", "%s is %s and cannot be read as %s", name,
                       own->sql_type, seg_type_name((enum seg_type)type));
        else {
            chosen[n] = *own;
            if (type >= 0) chosen[n].type = (enum seg_type)type;
            n++;
        }
    }
    if (n == 0 && f->n_total == 0)
        faults_add(f, "/columns", "missing", "must list at least one column");
    fs->columns = chosen;
    fs->n_columns = n;
}

/* "place point, tags jsonb". */
static const char *list_left_out(struct http_request *rq, const struct relation_columns *all)
{
    const char *text = all->n_left_out > 0 ? "" : "none";
    for (size_t i = 0; text != NULL && i < all->n_left_out; i++)
        text = seg_arena_printf(&rq->arena, "%s%s%s %s", text, i > 0 ? ", " : "",
                                all->left_out[i].name, all->left_out[i].sql_type);
    return text != NULL ? text : "";
}

/* The document of the columns that are left out though the body does not choose; the request frees
 * it. NULL: out of memory. */
static const char *left_out_text(struct http_request *rq, const struct relation_columns *all,
                                 bool chosen)
{
    struct json_out o;
    size_t len;
    json_out_init(&o);
    json_out_array(&o);
    for (size_t i = 0; !chosen && i < all->n_left_out; i++) {
        json_out_object(&o);
        json_out_member_string(&o, "name", all->left_out[i].name);
        json_out_member_string(&o, "sql_type", all->left_out[i].sql_type);
        json_out_member_string(&o, "detail", all->left_out[i].detail);
        json_out_end_object(&o);
    }
    json_out_end_array(&o);
    char *text = json_out_take(&o, &len);
    return text != NULL && request_defer(rq, seg_free, text) ? text : NULL;
}

/* {"relation", "id_column", "columns"?}. */
static enum http_status put_relation(struct http_request *rq, const struct json *body,
                                     const char *name, const char *relation, struct faults *f)
{
    struct feature_set fs = { .name = name };
    struct relation_columns all = { 0 };
    const char *id = string_member(body, "id_column", f);
    const char *dot = strchr(relation, '.');
    fs.relation_schema =
        dot ? seg_arena_strndup(&rq->arena, relation, (size_t)(dot - relation)) : "public";
    fs.relation_name = dot ? dot + 1 : relation;
    bool named = fs.relation_schema != NULL &&
                 is_sql_name(fs.relation_schema, strlen(fs.relation_schema)) &&
                 is_sql_name(fs.relation_name, strlen(fs.relation_name));
    if (!named)
        faults_add(f, "/relation", "bad_identifier",
                   "must be table or schema.table, of letters, digits and _");
    if (named && strcmp(fs.relation_schema, rq->app->config->database.schema) == 0)
        faults_add(f, "/relation", "bad_identifier", "schema %s is segmentd's own",
                   fs.relation_schema);
    if (id == NULL && json_get(body, "id_column") == NULL)
        faults_add(f, "/id_column", "missing", "must be the column that holds the user id");
    if (f->n_total > 0) return reply_faults(rq, ERR_INVALID, f);
    enum db_status st =
        db_feature_catalogue(rq->db, fs.relation_schema, fs.relation_name, &rq->arena, &all);
    if (st == DB_NONE)
        faults_add(f, "/relation", "unknown_relation",
                   "there is no table or view %s.%s that may be read", fs.relation_schema,
                   fs.relation_name);
    if (st != DB_ONE && st != DB_NONE) return reply_db_error(rq, st);
    fs.columns = all.columns;
    for (size_t i = 0; i < all.n; i++) {
        if (strcmp(all.columns[i].name, id) == 0) {
            fs.id_column = all.columns[i].column; /* not a feature */
            continue;
        }
        fs.columns[fs.n_columns++] = all.columns[i];
    }
    if (st == DB_ONE && fs.id_column == NULL)
        faults_add(f, "/id_column", "unknown_column",
                   "%s has no column %s of a type that can be an id", relation, id);
    const struct json *list = json_get(body, "columns");
    if (list != NULL && json_kind(list) != JSON_ARRAY)
        faults_add(f, "/columns", "wrong_type", "must be an array, not %s",
                   json_kind_name(json_kind(list)));
    else if (list != NULL && st == DB_ONE)
        choose_columns(rq, list, &all, &fs, f);
    else if (st == DB_ONE && fs.n_columns == 0)
        faults_add(f, "/relation", "no_features",
                   "%s has no column of a supported type but the id (left out: %s)", relation,
                   list_left_out(rq, &all));
    if (f->n_total > 0) return reply_faults(rq, ERR_INVALID, f);
    fs.left_out = left_out_text(rq, &all, list != NULL);
    if (fs.left_out == NULL) return reply_error(rq, ERR_INTERNAL, NULL);
    bool created = false;
    st = db_feature_sets_put_relation(rq->db, &fs, &created);
    if (st == DB_CONFLICT)
        return reply_error(rq, ERR_CONFLICT, "feature set %s is managed; delete it first", name);
    if (st != DB_ONE) return reply_db_error(rq, st);
    return feature_sets_reply(rq, created ? HTTP_201 : HTTP_200);
}

/* {"columns": [{"name", "type"}]}: a managed set of these columns. */
static enum http_status put_managed(struct http_request *rq, const struct json *body,
                                    const char *name, struct faults *f)
{
    static const char *const sql_types[] = { [SEG_NUMERIC] = "double precision",
                                             [SEG_BOOLEAN] = "boolean",
                                             [SEG_TIMESTAMP] = "timestamp with time zone",
                                             [SEG_CATEGORICAL] = "text",
                                             [SEG_VECTOR] = "real[]" };
    const struct json *list = json_get(body, "columns");
    int64_t id, width;
    bool created = false;
    unsigned index = 0;
    if (list == NULL || json_kind(list) != JSON_ARRAY || json_size(list) == 0 ||
        json_size(list) > SEG_FEATURES_MAX) {
        faults_add(f, "/columns", list ? "wrong_type" : "missing",
                   "must be an array of 1 to %u columns (or give relation and id_column)",
                   SEG_FEATURES_MAX);
        return reply_faults(rq, ERR_INVALID, f);
    }
    struct feature_set fs = { .name = name,
                              .managed = true,
                              .imported_id = string_member(body, "id_column", f) };
    fs.numbered = fs.imported_id == NULL;
    fs.columns = seg_arena_alloc(&rq->arena, json_size(list) * sizeof(*fs.columns));
    for (const struct json *v = json_first(list); v != NULL && fs.columns != NULL;
         v = json_next(v), index++) {
        const char *column;
        int type;
        if (!read_column(rq, v, index, &column, &type, f)) continue;
        char *at = seg_arena_printf(&rq->arena, "/columns/%u", index);
        for (uint32_t i = 0; i < fs.n_columns; i++)
            if (strcmp(fs.columns[i].name, column) == 0)
                faults_add(f, at, "duplicate", "is listed twice");
        if (type < 0)
            faults_add(f, seg_arena_printf(&rq->arena, "%s/type", at), "missing",
                       "must be numeric, categorical, boolean, timestamp or vector");
        width = 1;
        if (type == SEG_VECTOR &&
            (json_get(v, "width") == NULL ||
             !json_integer(json_get(v, "width"), 1, SEG_VECTOR_WIDTH_MAX, &width)))
            faults_add(f, seg_arena_printf(&rq->arena, "%s/width", at), "missing",
                       "a vector's width is 1 to %u", SEG_VECTOR_WIDTH_MAX);
        if (type < 0) continue;
        uint32_t k = fs.n_columns++;
        fs.columns[k] =
            (struct feature_column){ .name = column,
                                     .type = (enum seg_type)type,
                                     .column = seg_arena_printf(&rq->arena, "c%u", k + 1),
                                     .sql_type = sql_types[type],
                                     .width = (uint32_t)width };
    }
    if (f->n_total > 0) return reply_faults(rq, ERR_INVALID, f);
    enum db_status st = db_begin(rq->db);
    if (st == DB_ONE) st = db_feature_sets_put_managed(rq->db, &fs, &id, &created);
    if (st == DB_ONE)
        st = db_commit(rq->db);
    else
        db_rollback(rq->db);
    if (st == DB_CONFLICT)
        return reply_error(rq, ERR_CONFLICT,
                           "feature set %s exists with other columns; delete it first", name);
    return st == DB_ONE ? feature_sets_reply(rq, created ? HTTP_201 : HTTP_200)
                        : reply_db_error(rq, st);
}

enum http_status feature_sets_put(struct http_request *rq)
{
    struct faults f;
    const char *name;
    if (!feature_sets_name(rq, &name)) return HTTP_ERROR;
    const struct json *body = request_json(rq);
    if (body == NULL) return HTTP_ERROR;
    faults_init(&f, &rq->arena);
    if (json_kind(body) != JSON_OBJECT) {
        faults_add(&f, "", "wrong_type", "must be an object");
        return reply_faults(rq, ERR_INVALID, &f);
    }
    for (const struct json *m = json_first(body); m != NULL; m = json_next(m))
        if (strcmp(json_key(m), "relation") != 0 && strcmp(json_key(m), "id_column") != 0 &&
            strcmp(json_key(m), "columns") != 0)
            faults_add(&f, seg_arena_printf(&rq->arena, "/%s", json_key(m)), "unknown_key",
                       "there is no such option here");
    const char *relation = string_member(body, "relation", &f);
    return relation != NULL ? put_relation(rq, body, name, relation, &f)
                            : put_managed(rq, body, name, &f);
}
