/* model_cache.h - the models that serve, in memory. Scoring reads it and never the database.
 *
 * Properties: a lookup takes a reference under a lock held for a few instructions; a change of
 * champion is one pointer. Lookups by name alone give the version that alias champion points to.
 * Operation: model_cache_refresh reads aliases and loads what is new; run at start, after an alias
 * moved, on NOTIFY and every 5 s by the cache's own thread, which has a connection of its own. What
 * a client may read of champions elsewhere (a job that has succeeded, a model's aliases) goes out
 * behind model_cache_catch_up, so that nobody knows of a champion that does not serve yet. Old
 * versions asked for by number are loaded on demand by the caller's connection and kept while
 * recently used (8). Safety: any thread. */
#ifndef SERVER_MODEL_CACHE_H
#define SERVER_MODEL_CACHE_H

#include "app.h"
#include "served_model.h"

struct model_cache *model_cache_new(struct app *app);
/* Stops its thread, drops all references. NULL is fine. */
void model_cache_free(struct model_cache *c);
/* The champion (version 0) or that version, with a reference; NULL when it is not in memory. */
struct served_model *model_cache_get(struct model_cache *c, const char *name, uint32_t version);
/* Loads a version by db and keeps it. DB_NONE: no such version. */
enum db_status model_cache_load(struct model_cache *c, struct db *db, const char *name,
                                uint32_t version, struct served_model **ret);
/* Brings champions up to date and drops what was deleted, and versions by number whose segments
 * were renamed. A stored model that is refused leaves the champion before it in its place and is no
 * failure. */
enum db_status model_cache_refresh(struct model_cache *c, struct db *db);
/* Refreshes if champions have changed since the last refresh: then everything that db has read so
 * far serves. One short statement when nothing has changed. DB_RETRY as above: the answer that
 * would tell of a champion is then a 503. */
enum db_status model_cache_catch_up(struct model_cache *c, struct db *db);
/* True once the first refresh succeeded. */
bool model_cache_ready(struct model_cache *c);
/* Names of champions in memory, for /readyz. */
size_t model_cache_count(struct model_cache *c);

#endif
