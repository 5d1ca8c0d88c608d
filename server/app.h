/* app.h - the running service: everything that has a life of its own, in start order; stopped in
 * reverse. Passed around by pointer; no other state is global. Tests build a small one. */
#ifndef SERVER_APP_H
#define SERVER_APP_H

#include <stdatomic.h>
#include <stdbool.h>
#include "compute/worker_pool.h"
#include "config.h"
#include "metrics.h"

struct app {
    const struct config *config;
    struct metrics *metrics;
    struct seg_pool *pool;      /* compute workers */
    struct db_pool *db;         /* connections of requests */
    struct auth *auth;          /* live tokens in memory */
    struct model_cache *models; /* champions in memory; scoring reads it, never the database */
    struct job_runner *runner;  /* claims and runs jobs */
    struct http_daemon *http;
    atomic_bool draining; /* SIGTERM came: /readyz is 503, nothing new is taken */
};

/* Starts everything in field order. 0, or 1 after what failed was logged and what was started is
 * stopped again. SIGPIPE and SIGXFSZ are ignored from here on, and the process's limits are set. */
int app_start(struct app *app, const struct config *config);
/* Stops in reverse order; returns when nothing of it runs any more. */
void app_stop(struct app *app);
/* app_start, wait for SIGINT or SIGTERM, drain, app_stop. Returns the exit status. A second signal
 * while it drains ends the process at once with status 1. */
int app_run(const struct config *config);

#endif
