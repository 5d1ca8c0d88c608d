/* An array of served versions under one mutex, held for look-ups and pointer swaps only: never
 * across SQL, never across loading. A refresh, which takes both, is one thread's at a time by a
 * flag under that mutex, for which others wait no longer than for a database thread. */
#include "model_cache.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "auth.h"
#include "base/alloc.h"
#include "db/models.h"

#define EXTRA_MAX  8 /* versions kept that are nobody's champion */
#define REFRESH_MS 5000
#define WAIT_MS    250 /* how late a stop is noticed */
#define TURN_MS                                                                                    \
    5000 /* how long a refresh waits for another: as a request for a database thread               \
          */

struct entry {
    struct served_model *served;
    bool champion;
    uint64_t used; /* clock of look-ups, for dropping the version unused for longest */
};

struct champions { /* as the database had them at a moment */
    struct seg_arena arena;
    struct db_champion *items; /* (n) by name */
    size_t n;
};

struct model_cache {
    struct app *app;
    pthread_mutex_t lock; /* guards entries … refreshing */
    struct entry *entries;
    size_t n_entries, entries_cap;
    uint64_t clock;
    bool ready;
    struct champions seen; /* by the last refresh that went through */
    bool refreshing;       /* a thread is in refresh_in_turn */
    pthread_cond_t idle;   /* refreshing became false */
    pthread_t thread;
    bool has_thread;
    atomic_bool stop;
};

/* Lock held. */
static struct entry *find(struct model_cache *c, const char *name, uint32_t version)
{
    for (size_t i = 0; i < c->n_entries; i++) {
        struct entry *e = &c->entries[i];
        bool wanted = version == 0 ? e->champion : e->served->version == version;
        if (wanted && strcmp(e->served->name, name) == 0) return e;
    }
    return NULL;
}

struct served_model *model_cache_get(struct model_cache *c, const char *name, uint32_t version)
{
    struct served_model *served = NULL;
    pthread_mutex_lock(&c->lock);
    struct entry *e = find(c, name, version);
    if (e != NULL) {
        e->used = ++c->clock;
        served = served_model_ref(e->served);
    }
    pthread_mutex_unlock(&c->lock);
    return served;
}

/* Lock held. Room for one more; drops the extra version unused for longest when there are too many.
 */
static bool make_room(struct model_cache *c)
{
    size_t n_extra = 0, oldest = SIZE_MAX;
    for (size_t i = 0; i < c->n_entries; i++) {
        if (c->entries[i].champion) continue;
        n_extra++;
        if (oldest == SIZE_MAX || c->entries[i].used < c->entries[oldest].used) oldest = i;
    }
    if (n_extra >= EXTRA_MAX) {
        served_model_unref(c->entries[oldest].served);
        c->entries[oldest] = c->entries[--c->n_entries];
    }
    if (c->n_entries < c->entries_cap) return true;
    size_t cap = c->entries_cap ? c->entries_cap * 2 : 16;
    struct entry *more = seg_realloc(c->entries, cap, sizeof(*more));
    if (more == NULL) return false;
    c->entries = more;
    c->entries_cap = cap;
    return true;
}

enum db_status model_cache_load(struct model_cache *c, struct db *db, const char *name,
                                uint32_t version, struct served_model **ret)
{
    struct served_model *s = NULL;
    char names_hash[DB_NAMES_HASH_SIZE];
    *ret = model_cache_get(c, name, version);
    if (*ret != NULL) return DB_ONE;
    enum db_status st = db_models_names_hash(db, name, version, names_hash);
    if (st == DB_ONE) st = served_model_load(db, name, version, names_hash, &s);
    if (st != DB_ONE) return st;
    pthread_mutex_lock(&c->lock);
    struct entry *e = find(c, name, version); /* another thread may have been quicker */
    if (e == NULL && make_room(c)) {
        e = &c->entries[c->n_entries++];
        *e = (struct entry){ .served = served_model_ref(s) };
    }
    if (e != NULL) e->used = ++c->clock;
    pthread_mutex_unlock(&c->lock);
    *ret = s;
    return DB_ONE;
}

/* Makes (name, version) the champion. s: freshly loaded, taken; NULL: its entry is there already.
 */
static void set_champion(struct model_cache *c, const struct db_champion *ch,
                         struct served_model *s)
{
    struct served_model *old = NULL;
    pthread_mutex_lock(&c->lock);
    struct entry *e = find(c, ch->name, ch->version);
    if (e == NULL && s != NULL && make_room(c)) {
        e = &c->entries[c->n_entries++];
        *e = (struct entry){ .served = s };
        s = NULL;
    } else if (e != NULL && s != NULL) {
        old = e->served;
        e->served = s;
        s = NULL;
    }
    e = find(c, ch->name, ch->version);
    if (e != NULL) { /* else the one before goes on serving */
        struct entry *before = find(c, ch->name, 0);
        if (before != NULL) before->champion = false; /* stays as an extra version for a while */
        e->champion = true;
        e->used = ++c->clock;
    }
    pthread_mutex_unlock(&c->lock);
    served_model_unref(old);
    served_model_unref(s);
}

/* Drops models that are in the database no more. */
static void drop_others(struct model_cache *c, const struct db_champion *champions, size_t n)
{
    pthread_mutex_lock(&c->lock);
    for (size_t i = 0; i < c->n_entries;) {
        bool there = false;
        for (size_t k = 0; k < n && !there; k++)
            there = strcmp(champions[k].name, c->entries[i].served->name) == 0;
        if (there || !c->entries[i].champion) {
            i++;
            continue;
        }
        served_model_unref(c->entries[i].served);
        c->entries[i] = c->entries[--c->n_entries];
    }
    pthread_mutex_unlock(&c->lock);
}

/* Drops versions by number that were deleted (their number may be another model's by now) or whose
 * segments have other names: who asks for one next loads it as it is. */
static void drop_outdated(struct model_cache *c, struct db *db, struct seg_arena *arena)
{
    size_t n = 0;
    pthread_mutex_lock(&c->lock);
    struct served_model **extras = seg_arena_alloc(arena, (c->n_entries + 1) * sizeof(*extras));
    for (size_t i = 0; extras != NULL && i < c->n_entries; i++) {
        if (c->entries[i].champion) continue;
        extras[n++] = served_model_ref(c->entries[i].served);
    }
    pthread_mutex_unlock(&c->lock);
    for (size_t k = 0; k < n; k++) {
        char hash[DB_NAMES_HASH_SIZE];
        struct served_model *s = extras[k];
        enum db_status st = db_models_names_hash(db, s->name, s->version, hash);
        bool outdated = st == DB_NONE || (st == DB_ONE && strcmp(hash, s->names_hash) != 0);
        pthread_mutex_lock(&c->lock);
        for (size_t i = 0; outdated && i < c->n_entries; i++) {
            if (c->entries[i].served != s || c->entries[i].champion) continue;
            served_model_unref(c->entries[i].served);
            c->entries[i] = c->entries[--c->n_entries];
            break;
        }
        pthread_mutex_unlock(&c->lock);
        served_model_unref(s);
    }
}

static enum db_status read_champions(struct db *db, struct champions *ret)
{
    *ret = (struct champions){ 0 };
    seg_arena_init(&ret->arena, 0);
    return db_models_champions(db, &ret->arena, &ret->items, &ret->n);
}

static bool champion_equals(const struct db_champion *a, const struct db_champion *b)
{
    return a->version == b->version && strcmp(a->name, b->name) == 0 &&
           strcmp(a->names_hash, b->names_hash) == 0;
}

/* Loads the champion unless it is there. DB_FATAL: its bytes are refused. */
static enum db_status bring_up(struct model_cache *c, struct db *db, const struct db_champion *ch)
{
    struct served_model *s = NULL;
    pthread_mutex_lock(&c->lock);
    struct entry *e = find(c, ch->name, ch->version);
    bool fresh = e != NULL && e->champion && strcmp(e->served->names_hash, ch->names_hash) == 0;
    pthread_mutex_unlock(&c->lock);
    if (fresh) return DB_ONE;
    enum db_status st = served_model_load(db, ch->name, ch->version, ch->names_hash, &s);
    if (st == DB_ONE) set_champion(c, ch, s);
    return st;
}

/* Takes the turn of refreshing. False when another thread has kept it for all of TURN_MS: the
 * database does not answer it. */
static bool begin_turn(struct model_cache *c)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += TURN_MS / 1000;
    pthread_mutex_lock(&c->lock);
    int waited = 0;
    while (c->refreshing && waited != ETIMEDOUT)
        waited = pthread_cond_timedwait(&c->idle, &c->lock, &until);
    bool mine = !c->refreshing;
    c->refreshing = true;
    pthread_mutex_unlock(&c->lock);
    return mine;
}

static void end_turn(struct model_cache *c)
{
    pthread_mutex_lock(&c->lock);
    c->refreshing = false;
    pthread_cond_signal(&c->idle);
    pthread_mutex_unlock(&c->lock);
}

static enum db_status refresh_in_turn(struct model_cache *c, struct db *db)
{
    struct champions now;
    size_t n_failed = 0;
    enum db_status st = read_champions(db, &now);
    bool is_known = st == DB_ONE || st == DB_NONE;
    for (size_t i = 0; is_known && i < now.n; i++) {
        enum db_status one = bring_up(c, db, &now.items[i]);
        is_known = one != DB_RETRY; /* a bad model does not hold up the others */
        n_failed += one != DB_ONE;
    }
    if (is_known) {
        drop_others(c, now.items, now.n);
        drop_outdated(c, db, &now.arena);
        metrics_set(c->app->metrics, METRIC_MODELS_LOADED, (double)(now.n - n_failed));
        pthread_mutex_lock(&c->lock);
        struct champions before = c->seen;
        c->seen = now;
        now = before;
        c->ready = true;
        pthread_mutex_unlock(&c->lock);
    }
    seg_arena_release(&now.arena);
    if (is_known) return DB_ONE;
    return st == DB_FATAL ? DB_FATAL : DB_RETRY;
}

enum db_status model_cache_refresh(struct model_cache *c, struct db *db)
{
    if (!begin_turn(c)) return DB_RETRY;
    enum db_status st = refresh_in_turn(c, db);
    end_turn(c);
    return st;
}

/* True when the last refresh found these champions. */
static bool has_seen(struct model_cache *c, const struct champions *now)
{
    pthread_mutex_lock(&c->lock);
    bool is_seen = c->ready && c->seen.n == now->n;
    for (size_t i = 0; is_seen && i < now->n; i++)
        is_seen = champion_equals(&c->seen.items[i], &now->items[i]);
    pthread_mutex_unlock(&c->lock);
    return is_seen;
}

enum db_status model_cache_catch_up(struct model_cache *c, struct db *db)
{
    struct champions now;
    enum db_status st = read_champions(db, &now);
    if (st == DB_NONE) st = DB_ONE;
    if (st == DB_ONE && !has_seen(c, &now)) {
        st = begin_turn(c) ? DB_ONE : DB_RETRY;
        if (st == DB_ONE) { /* the refresh before may have been of use to us */
            if (!has_seen(c, &now)) st = refresh_in_turn(c, db);
            end_turn(c);
        }
    }
    seg_arena_release(&now.arena);
    return st;
}

bool model_cache_ready(struct model_cache *c)
{
    pthread_mutex_lock(&c->lock);
    bool ready = c->ready;
    pthread_mutex_unlock(&c->lock);
    return ready;
}

size_t model_cache_count(struct model_cache *c)
{
    size_t n = 0;
    pthread_mutex_lock(&c->lock);
    for (size_t i = 0; i < c->n_entries; i++)
        n += c->entries[i].champion;
    pthread_mutex_unlock(&c->lock);
    return n;
}

/* Refreshes models and tokens: at once when told by NOTIFY, and every five seconds, since
 * notifications may be lost. */
static void *cache_main(void *arg)
{
    struct model_cache *c = arg;
    struct db *db = NULL;
    char channel[80];
    snprintf(channel, sizeof(channel), "%s_models", c->app->config->database.schema);
    while (!atomic_load(&c->stop)) {
        if (db != NULL && db_is_broken(db)) {
            db_close(db);
            db = NULL;
        }
        if (db == NULL) {
            db = db_connect(c->app->config, c->app->config->database.statement_timeout_s, true,
                            c->app->metrics);
            if (db != NULL) {
                db_stop_with(db, &c->stop);
                db_listen(db, channel);
            }
        }
        metrics_set(c->app->metrics, METRIC_DB_UP, db != NULL);
        if (db != NULL) {
            model_cache_refresh(c, db);
            auth_refresh(c->app->auth, db);
        }
        for (unsigned waited = 0; waited < REFRESH_MS && !atomic_load(&c->stop);
             waited += WAIT_MS) {
            if (db == NULL || db_is_broken(db)) {
                nanosleep(&(struct timespec){ 0, WAIT_MS * 1000000L }, NULL);
                if (waited >= 1000) break; /* try to connect again sooner */
            } else if (db_wait_notify(db, WAIT_MS)) {
                break;
            }
        }
    }
    db_close(db);
    return NULL;
}

struct model_cache *model_cache_new(struct app *app)
{
    struct model_cache *c = seg_calloc(1, sizeof(*c));
    if (c == NULL) return NULL;
    c->app = app;
    seg_arena_init(&c->seen.arena, 0);
    pthread_mutex_init(&c->lock, NULL);
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&c->idle, &attr);
    pthread_condattr_destroy(&attr);
    struct db *db = db_pool_get(app->db, 5000);
    if (db != NULL) {
        model_cache_refresh(c, db); /* so that the first request finds its model */
        db_pool_put(app->db, db);
    }
    c->has_thread = pthread_create(&c->thread, NULL, cache_main, c) == 0;
    if (c->has_thread) return c;
    model_cache_free(c);
    return NULL;
}

void model_cache_free(struct model_cache *c)
{
    if (c == NULL) return;
    atomic_store(&c->stop, true);
    if (c->has_thread) pthread_join(c->thread, NULL);
    for (size_t i = 0; i < c->n_entries; i++)
        served_model_unref(c->entries[i].served);
    seg_free(c->entries);
    seg_arena_release(&c->seen.arena);
    pthread_mutex_destroy(&c->lock);
    pthread_cond_destroy(&c->idle);
    seg_free(c);
}
