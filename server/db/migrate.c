/* migrate.c - one transaction for each missing migration. Every transaction takes the lock and
 * reads the history again, so that two migrators at once share the work, and one that is killed
 * leaves the last whole migration behind. */
#include "db/migrate.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include "db/connection.h"
#include "embedded.h"

static const char MARK[] = "-- migrate:up\n"; /* dbmate's, so that its tools read our files */

struct history {
    int applied; /* highest version in the database, 0: none */
    int needed;  /* highest version of this binary */
    enum migrate_state state;
    char sentence[512]; /* what to do, "" when current */
};

static int version_of(const struct embedded_file *f)
{
    return (int)strtol(f->name, NULL, 10);
}

/* "0002_models.sql" is "models". */
static void name_of(const struct embedded_file *f, char *out, size_t size)
{
    const char *start = strchr(f->name, '_') + 1;
    snprintf(out, size, "%.*s", (int)(strlen(start) - strlen(".sql")), start);
}

/* A connection for migrating; NULL and the reason. */
static struct db *connect_db(const struct config *c, uint32_t statement_timeout_s, char *sentence,
                             size_t size)
{
    struct db *db = connection_new(c, statement_timeout_s, false, NULL);
    if (db == NULL) {
        snprintf(sentence, size, "out of memory");
        return NULL;
    }
    if (connection_open(db, clock_ms() + (int64_t)c->database.connect_timeout_s * 1000)) return db;
    snprintf(sentence, size, "the database cannot be reached: %s", db_message(db));
    db_close(db);
    return NULL;
}

static bool ok(enum db_status st)
{
    return st == DB_ONE || st == DB_NONE;
}

/* version, name, sha256, applied_at of what is applied, in order; no rows without the table. */
static enum db_status read_applied(struct db *db, struct db_result **ret)
{
    struct db_result *r = NULL;
    enum db_status st =
        db_exec_sql(db, "SELECT to_regclass('schema_migrations') IS NOT NULL", NULL, 0, &r);
    bool exists = ok(st) && db_result_bool(r, 0, 0);
    db_result_free(r);
    if (!ok(st)) return st;
    return db_exec_sql(db,
                       exists ? "SELECT version, name, sha256"
                                "     , to_char(applied_at, 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')"
                                "  FROM schema_migrations ORDER BY version"
                              : "SELECT NULL, NULL, NULL, NULL WHERE false",
                       NULL, 0, ret);
}

/* Compares what is applied with what is embedded. */
static void compare(const struct db_result *r, struct history *h)
{
    size_t n = db_result_rows(r);
    *h = (struct history){ .state = MIGRATE_CURRENT };
    h->applied = n == 0 ? 0 : (int)db_result_int(r, n - 1, 0);
    h->needed = version_of(&EMBEDDED_MIGRATIONS[N_EMBEDDED_MIGRATIONS - 1]);
    for (size_t i = 0; i < n && i < N_EMBEDDED_MIGRATIONS; i++) {
        const struct embedded_file *f = &EMBEDDED_MIGRATIONS[i];
        if (db_result_int(r, i, 0) == version_of(f) &&
            strcmp(db_result_text(r, i, 2), f->sha256) == 0)
            continue;
        h->state = MIGRATE_EDITED;
        snprintf(h->sentence, sizeof h->sentence,
                 "migration %d (%s) was applied with another text than this binary's %s: use the "
                 "binary that applied it, or restore the database from a backup",
                 (int)db_result_int(r, i, 0), db_result_text(r, i, 1), f->name);
        return;
    }
    if (n > N_EMBEDDED_MIGRATIONS) {
        h->state = MIGRATE_NEWER;
        snprintf(h->sentence, sizeof h->sentence,
                 "the database is at migration %d, this binary knows %d: install a newer segmentd",
                 h->applied, h->needed);
    } else if (n < N_EMBEDDED_MIGRATIONS) {
        h->state = MIGRATE_OLD;
        snprintf(h->sentence, sizeof h->sentence,
                 "the database is at migration %d, this binary needs %d: run \"segmentd migrate "
                 "up\" with the same configuration",
                 h->applied, h->needed);
    }
}

static void unreadable(struct history *h, struct db *db)
{
    h->state = MIGRATE_UNREACHABLE;
    snprintf(h->sentence, sizeof h->sentence, "the history of migrations cannot be read: %s",
             db_message(db));
}

/* Serialises migrators of one schema until the end of the transaction. */
static enum db_status lock_schema(struct db *db, const char *schema)
{
    const char *const params[] = { schema };
    enum db_status st = db_exec_sql(db, "SET LOCAL lock_timeout = '60s'", NULL, 0, NULL);
    if (!ok(st)) return st;
    return db_exec_sql(
        db, "SELECT pg_advisory_xact_lock(hashtextextended('segmentd migrate ' || $1, 0))", params,
        1, NULL);
}

/* The schema and the table of the history. CREATE SCHEMA IF NOT EXISTS would ask for a privilege on
 * the database even when an administrator has made the schema already. */
static enum db_status create_history(struct db *db, const char *schema)
{
    char ident[2 * 63 + 3], sql[sizeof ident + 16];
    const char *const params[] = { schema };
    if (!db_ident(db, schema, ident, sizeof ident)) return DB_FATAL;
    enum db_status st =
        db_exec_sql(db, "SELECT 1 FROM pg_namespace WHERE nspname = $1", params, 1, NULL);
    if (st == DB_NONE) {
        snprintf(sql, sizeof sql, "CREATE SCHEMA %s", ident);
        st = db_exec_sql(db, sql, NULL, 0, NULL);
    }
    if (!ok(st)) return st;
    return db_exec_sql(db,
                       "CREATE TABLE IF NOT EXISTS schema_migrations ("
                       " version integer PRIMARY KEY,"
                       " name text NOT NULL,"
                       " sha256 text NOT NULL CHECK (sha256 ~ '^[0-9a-f]{64}$'),"
                       " applied_at timestamptz NOT NULL DEFAULT now());"
                       "COMMENT ON TABLE schema_migrations IS"
                       " 'The files of migrations/ that were applied here, and their texts'' hash'",
                       NULL, 0, NULL);
}

static enum db_status apply(struct db *db, const struct embedded_file *f, const char *name)
{
    char version[16];
    const char *const params[] = { version, name, f->sha256 };
    snprintf(version, sizeof version, "%d", version_of(f));
    assert(f->len > strlen(MARK) && memcmp(f->bytes, MARK, strlen(MARK)) == 0);
    enum db_status st = db_exec_sql(db, (const char *)f->bytes, NULL, 0, NULL);
    if (!ok(st)) return st;
    return db_exec_sql(db,
                       "INSERT INTO schema_migrations (version, name, sha256) VALUES ($1, $2, $3)",
                       params, 3, NULL);
}

/* One transaction: applies the first missing migration, if any. *h says where that leaves us. */
static enum db_status step(struct db *db, const char *schema, struct history *h, FILE *out)
{
    struct db_result *r = NULL;
    char name[64] = "";
    enum db_status st = db_begin(db);
    if (ok(st)) st = lock_schema(db, schema);
    if (ok(st)) st = create_history(db, schema);
    if (ok(st)) st = read_applied(db, &r);
    if (!ok(st)) goto out;
    compare(r, h);
    if (h->state == MIGRATE_OLD) {
        const struct embedded_file *next = &EMBEDDED_MIGRATIONS[db_result_rows(r)];
        name_of(next, name, sizeof name);
        st = apply(db, next, name);
        h->applied = version_of(next);
    }
    if (ok(st)) st = db_commit(db);
    if (ok(st) && name[0] != '\0') fprintf(out, "applied %04d %s\n", h->applied, name);
out:
    if (!ok(st)) {
        db_rollback(db);
        if (name[0] != '\0')
            fprintf(out, "migration %04d %s failed and was rolled back: %s\n", h->applied, name,
                    db_message(db));
        else
            fprintf(out, "cannot migrate: %s\n", db_message(db));
    }
    db_result_free(r);
    return st;
}

int migrate_up(const struct config *c, FILE *out)
{
    char sentence[640];
    struct history h = { .state = MIGRATE_OLD };
    struct db *db = connect_db(c, 0, sentence, sizeof sentence);
    if (db == NULL) {
        fprintf(out, "%s\n", sentence);
        return 1;
    }
    enum db_status st = DB_NONE;
    do
        st = step(db, c->database.schema, &h, out);
    while (ok(st) && h.state == MIGRATE_OLD);
    if (ok(st) && h.state == MIGRATE_CURRENT)
        fprintf(out, "schema %s is at migration %d\n", c->database.schema, h.applied);
    else if (ok(st))
        fprintf(out, "%s\n", h.sentence);
    db_close(db);
    return ok(st) && h.state == MIGRATE_CURRENT ? 0 : 1;
}

/* Reads the history without changing anything. *ret_rows may be NULL. */
static void look(const struct config *c, struct history *h, struct db_result **ret_rows)
{
    struct db_result *r = NULL;
    *h = (struct history){ .state = MIGRATE_UNREACHABLE };
    struct db *db = connect_db(c, c->database.statement_timeout_s, h->sentence, sizeof h->sentence);
    if (db == NULL) return;
    if (ok(read_applied(db, &r)))
        compare(r, h);
    else
        unreadable(h, db);
    db_close(db);
    if (ret_rows != NULL)
        *ret_rows = r;
    else
        db_result_free(r);
}

int migrate_status(const struct config *c, FILE *out)
{
    struct history h;
    struct db_result *r = NULL;
    look(c, &h, &r);
    if (h.state == MIGRATE_UNREACHABLE) {
        fprintf(out, "%s\n", h.sentence);
        return 1;
    }
    size_t n = db_result_rows(r);
    for (size_t i = 0; i < n; i++)
        fprintf(out, "%04d %-24s applied %s\n", (int)db_result_int(r, i, 0),
                db_result_text(r, i, 1), db_result_text(r, i, 3));
    for (size_t i = n; i < N_EMBEDDED_MIGRATIONS; i++) {
        char name[64];
        name_of(&EMBEDDED_MIGRATIONS[i], name, sizeof name);
        fprintf(out, "%04d %-24s pending\n", version_of(&EMBEDDED_MIGRATIONS[i]), name);
    }
    if (h.state == MIGRATE_EDITED || h.state == MIGRATE_NEWER) fprintf(out, "%s\n", h.sentence);
    db_result_free(r);
    return 0;
}

int migrate_verify(const struct config *c, FILE *out)
{
    struct history h;
    look(c, &h, NULL);
    if (h.state != MIGRATE_CURRENT) {
        fprintf(out, "%s\n", h.sentence);
        return 1;
    }
    fprintf(out, "schema %s is at migration %d, as this binary needs\n", c->database.schema,
            h.applied);
    return 0;
}

enum migrate_state migrate_check(const struct config *c, char *sentence, size_t size)
{
    struct history h;
    look(c, &h, NULL);
    snprintf(sentence, size, "%s", h.sentence);
    return h.state;
}
