/* commands.c - the commands but serve's own work are short: they load the configuration, do one
 * thing and say what came of it. */
#include "commands.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "app.h"
#include "auth.h"
#include "config.h"
#include "db/migrate.h"
#include "db/tokens.h"
#include "doctor.h"
#include "health_probe.h"
#include "json/json.h"
#include "log.h"

#define EXPIRES_DAYS_MAX 36500
#define TOKEN_NAME_MAX   100

static int usage(const char *sentence)
{
    fprintf(stderr, "segmentd: %s; see segmentd --help\n", sentence);
    return 2;
}

/* True when the only word is `word`. */
static bool word_is(const struct arguments *a, const char *word)
{
    return a->n_words == 1 && strcmp(a->words[0], word) == 0;
}

/* Options from file and environment, and the log as they want it. False: faults were printed. */
static bool load(const struct arguments *a, struct config *c)
{
    if (config_load(c, a->config, stderr) > 0) return false;
    bool json = c->log.format == LOG_FORMAT_JSON;
    if (c->log.format == LOG_FORMAT_AUTO) json = !isatty(STDERR_FILENO);
    log_init((enum log_level)c->log.level, json);
    return true;
}

int command_serve(const struct arguments *a)
{
    struct config c;
    if (a->n_words > 0) return usage("serve takes no words");
    return load(a, &c) ? app_run(&c) : 2;
}

int command_migrate(const struct arguments *a)
{
    static const struct {
        const char *word;
        int (*run)(const struct config *c, FILE *out);
    } ACTIONS[] = {
        { "up", migrate_up },
        { "status", migrate_status },
        { "verify", migrate_verify },
    };
    for (size_t i = 0; i < sizeof ACTIONS / sizeof *ACTIONS; i++) {
        struct config c;
        if (!word_is(a, ACTIONS[i].word)) continue;
        return load(a, &c) ? ACTIONS[i].run(&c, stdout) : 2;
    }
    return usage("migrate is followed by up, status or verify");
}

int command_config(const struct arguments *a)
{
    struct config c;
    if (word_is(a, "example")) {
        config_example(stdout);
        return 0;
    }
    if (!word_is(a, "check") && !word_is(a, "show")) {
        return usage("config is followed by check, show or example");
    }
    if (config_load(&c, a->config, stderr) > 0) return 2;
    if (word_is(a, "show")) config_show(&c, stdout);
    return 0;
}

/* A connection to a database with this program's schema; NULL after saying why. */
static struct db *connect_db(const struct config *c)
{
    char sentence[512];
    if (migrate_check(c, sentence, sizeof sentence) != MIGRATE_CURRENT) {
        fprintf(stderr, "segmentd: %s\n", sentence);
        return NULL;
    }
    return db_connect(c, c->database.statement_timeout_s, true, NULL);
}

static bool name_is_plain(const char *name)
{
    size_t len = strlen(name);
    if (len == 0 || len > TOKEN_NAME_MAX || !utf8_valid(name, len)) return false;
    for (const char *at = name; *at != '\0'; at++) {
        if ((unsigned char)*at < 0x20 || *at == 0x7f) return false;
    }
    return true;
}

static bool parse_days(const char *text, uint32_t *ret)
{
    char *end;
    if (text[0] < '0' || text[0] > '9') return false;
    errno = 0;
    unsigned long days = strtoul(text, &end, 10);
    if (errno != 0 || *end != '\0' || days < 1 || days > EXPIRES_DAYS_MAX) return false;
    *ret = (uint32_t)days;
    return true;
}

static int token_failed(const struct db *db)
{
    fprintf(stderr, "segmentd: the database did not do it: %s\n", db_message(db));
    return 1;
}

static int token_create(const struct arguments *a, struct db *db, uint32_t expires_days)
{
    struct new_token token;
    enum db_status st;
    do {
        auth_make_token(&token);
        st = db_tokens_create(db, token.id, token.sha256, a->name, a->scope, expires_days);
    } while (st == DB_CONFLICT);
    if (st != DB_ONE && st != DB_NONE) return token_failed(db);
    printf("%s\n", token.text);
    fprintf(stderr, "token %s was made; it is not shown again\n", token.id);
    return 0;
}

static int token_list(struct db *db)
{
    struct seg_arena arena;
    struct db_token *tokens = NULL;
    size_t n = 0;
    seg_arena_init(&arena, 0);
    enum db_status st = db_tokens_list(db, false, &arena, &tokens, &n);
    if (st != DB_ONE && st != DB_NONE) {
        seg_arena_release(&arena);
        return token_failed(db);
    }
    printf("%-8s  %-5s  %-7s  %-20s  %-20s  %s\n", "ID", "SCOPE", "STATE", "CREATED", "EXPIRES",
           "NAME");
    for (size_t i = 0; i < n; i++) {
        const struct db_token *t = &tokens[i];
        bool expired = t->expires_at != NULL && t->left_ms <= 0;
        const char *state = t->revoked_at != NULL ? "revoked" : expired ? "expired" : "live";
        printf("%-8s  %-5s  %-7s  %-20s  %-20s  %s\n", t->id, t->scope, state, t->created_at,
               t->expires_at != NULL ? t->expires_at : "never", t->name);
    }
    seg_arena_release(&arena);
    return 0;
}

static int token_revoke(struct db *db, const char *id)
{
    switch (db_tokens_revoke(db, id)) {
    case DB_ONE: return 0;
    case DB_NONE: fprintf(stderr, "segmentd: no token %s that could be revoked\n", id); return 1;
    default: return token_failed(db);
    }
}

int command_token(const struct arguments *a)
{
    uint32_t expires_days = 0;
    bool create = word_is(a, "create"), list = word_is(a, "list");
    bool revoke = a->n_words == 2 && strcmp(a->words[0], "revoke") == 0;
    if (!create && !list && !revoke) {
        return usage("token is followed by create, list or revoke ID");
    }
    if (!create && (a->name != NULL || a->scope != NULL || a->expires_days != NULL)) {
        return usage("--name, --scope and --expires-days belong to token create");
    }
    if (create && (a->name == NULL || a->scope == NULL)) {
        return usage("token create needs --name and --scope");
    }
    if (create && !name_is_plain(a->name)) {
        return usage("--name must be 1 to 100 bytes of text without control characters");
    }
    if (create && scope_from_text(a->scope) == SCOPE_NONE) {
        return usage("--scope must be read, score, train or admin");
    }
    if (a->expires_days != NULL && !parse_days(a->expires_days, &expires_days)) {
        return usage("--expires-days must be 1 to 36500");
    }

    struct config c;
    if (!load(a, &c)) return 2;
    struct db *db = connect_db(&c);
    if (db == NULL) return 1;
    int status = create ? token_create(a, db, expires_days)
                 : list ? token_list(db)
                        : token_revoke(db, a->words[1]);
    db_close(db);
    return status;
}

int command_doctor(const struct arguments *a)
{
    struct config c;
    if (a->n_words > 0) return usage("doctor takes no words");
    return load(a, &c) ? doctor_run(&c, stdout) : 2;
}

int command_healthcheck(const struct arguments *a)
{
    struct config c;
    char reason[256];
    if (a->n_words > 0) return usage("healthcheck takes no words");
    if (a->url == NULL && config_load(&c, a->config, stderr) > 0) return 2;
    bool alive = a->url != NULL ? health_probe_url(a->url, reason, sizeof reason)
                                : health_probe_listen(c.http.listen, reason, sizeof reason);
    if (!alive) fprintf(stderr, "segmentd: %s\n", reason);
    return alive ? 0 : 1;
}
