/* dev.c - cluster, database, schema, shop, server, first model: in this order, stopped in reverse.
 * Signals are blocked before the first thread exists and taken by sigtimedwait, so that Ctrl-C
 * stops the server before its database. */
#include "dev/dev.h"

#include <errno.h>
#include <getopt.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include "app.h"
#include "db/db.h"
#include "db/migrate.h"
#include "dev/client.h"
#include "dev/cluster.h"
#include "dev/first_model.h"
#include "dev/shop.h"
#include "http/daemon.h"
#include "log.h"

#define USER     "postgres" /* who root becomes */
#define DATABASE "segmentd"
#define ROOT_DIR "/var/lib/segmentd-dev" /* the default folder of root */

struct options {
    char folder[512]; /* absolute */
    const char *listen;
    bool train, check;
};

static const char HELP[] =
    "usage: segmentd dev [--data DIR] [--listen HOST:PORT] [--no-train] [--check]\n"
    "Runs segmentd with a private PostgreSQL and a sample shop, until Ctrl-C.\n\n"
    "  --data DIR          where everything is kept; default ~/.local/state/segmentd/dev,\n"
    "                      for root " ROOT_DIR "\n"
    "  --listen HOST:PORT  loopback only, since there are no tokens; default 127.0.0.1:8080\n"
    "  --no-train          do not train the sample model at the first start\n"
    "  --check             do all of it, verify the answers, stop; exit status 0 when all is well\n"
    "  --help              this text\n";

static int fail(const char *sentence)
{
    fprintf(stderr, "segmentd dev: %s\n", sentence);
    return 1;
}

/* ---- options ---- */

static void default_folder(char *out, size_t size)
{
    const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
    const struct passwd *pw = getpwuid(getuid());
    if (geteuid() == 0)
        snprintf(out, size, "%s", ROOT_DIR);
    else if (state != NULL && state[0] == '/')
        snprintf(out, size, "%s/segmentd/dev", state);
    else
        snprintf(out, size, "%s/.local/state/segmentd/dev",
                 home != NULL && home[0] == '/' ? home
                 : pw != NULL                   ? pw->pw_dir
                                                : "/tmp");
}

/* 0 to go on, else 1 more than the exit status. */
static int read_options(int argc, char **argv, struct options *o)
{
    static const struct option LONG[] = {
        { "data", required_argument, NULL, 'd' }, { "listen", required_argument, NULL, 'l' },
        { "no-train", no_argument, NULL, 'n' },   { "check", no_argument, NULL, 'c' },
        { "help", no_argument, NULL, 'h' },       { NULL, 0, NULL, 0 },
    };
    const char *data = NULL;
    *o = (struct options){ .train = true };
    optind = 1;
    for (int opt; (opt = getopt_long(argc, argv, "", LONG, NULL)) != -1;)
        switch (opt) {
        case 'd': data = optarg; break;
        case 'l': o->listen = optarg; break;
        case 'n': o->train = false; break;
        case 'c': o->check = true; break;
        case 'h': fputs(HELP, stdout); return 1;
        default: fputs(HELP, stderr); return 3;
        }
    if (optind < argc || (o->check && !o->train)) {
        fputs(HELP, stderr);
        return 3;
    }
    if (data == NULL) {
        default_folder(o->folder, sizeof o->folder);
        return 0;
    }
    char cwd[sizeof o->folder] = "";
    if (data[0] != '/' && getcwd(cwd, sizeof cwd) == NULL)
        return 1 + fail("the current folder has no name");
    int len = snprintf(o->folder, sizeof o->folder, "%s%s%s", cwd, data[0] == '/' ? "" : "/", data);
    if (len >= (int)sizeof o->folder) return 1 + fail("--data: the name is too long");
    return 0;
}

/* ---- the folder and its owner ---- */

/* mkdir -p; only the last one is made private, and given to the owner when we made it. */
static int make_folder(const char *path, const struct passwd *owner)
{
    char part[512];
    for (const char *p = strchr(path + 1, '/'); p != NULL; p = strchr(p + 1, '/')) {
        snprintf(part, sizeof part, "%.*s", (int)(p - path), path);
        if (mkdir(part, 0755) != 0 && errno != EEXIST) return -1;
    }
    if (mkdir(path, 0700) != 0) return errno == EEXIST ? 0 : -1;
    return owner == NULL ? 0 : chown(path, owner->pw_uid, owner->pw_gid);
}

/* Makes the folder; root becomes USER for good, since PostgreSQL refuses root. */
static int settle(const char *folder)
{
    char sentence[700];
    struct stat st;
    const struct passwd *user = geteuid() == 0 ? getpwnam(USER) : NULL;
    if (geteuid() == 0 && user == NULL)
        return fail("there is no user " USER " to become, and PostgreSQL refuses root: install "
                    "postgresql-15, or run this as another user");
    if (make_folder(folder, user) != 0) {
        snprintf(sentence, sizeof sentence, "%s cannot be made: %s", folder, strerror(errno));
        return fail(sentence);
    }
    if (user != NULL) {
        if (setgroups(0, NULL) != 0 || setresgid(user->pw_gid, user->pw_gid, user->pw_gid) != 0 ||
            setresuid(user->pw_uid, user->pw_uid, user->pw_uid) != 0)
            return fail("root could not be dropped");
        setenv("HOME", user->pw_dir, 1);
        setenv("USER", USER, 1);
    }
    if (stat(folder, &st) != 0 || st.st_uid != geteuid() || (st.st_mode & 077) != 0) {
        snprintf(sentence, sizeof sentence, "%s must belong to the user %s alone (mode 0700)",
                 folder, user != NULL ? USER : "who runs this");
        return fail(sentence);
    }
    return chdir("/");
}

/* ---- the database ---- */

static bool ok(enum db_status st)
{
    return st == DB_ONE || st == DB_NONE;
}

static int create_database(const struct config *c, const struct cluster *cluster)
{
    struct config maintenance = *c;
    cluster_url(cluster, "postgres", maintenance.database.url, sizeof maintenance.database.url);
    struct db *db = db_connect(&maintenance, 60, false, NULL);
    if (db == NULL) return fail("the private PostgreSQL cannot be reached");
    enum db_status st =
        db_exec_sql(db, "SELECT 1 FROM pg_database WHERE datname = '" DATABASE "'", NULL, 0, NULL);
    if (st == DB_NONE) st = db_exec_sql(db, "CREATE DATABASE " DATABASE, NULL, 0, NULL);
    db_close(db);
    return ok(st) ? 0 : fail("the database " DATABASE " cannot be created");
}

static int prepare_database(const struct config *c, const struct cluster *cluster)
{
    if (create_database(c, cluster) != 0) return 1;
    char sentence[640];
    if (migrate_check(c, sentence, sizeof sentence) != MIGRATE_CURRENT &&
        migrate_up(c, stdout) != 0)
        return 1;
    struct db *db = db_connect(c, 0, false, NULL);
    if (db == NULL) return fail("the private PostgreSQL cannot be reached");
    enum db_status st = shop_load(db);
    db_close(db);
    if (st == DB_ONE) printf("made the sample shop: schema shop, %d users\n", SHOP_USERS);
    return ok(st) ? 0 : fail("the sample shop cannot be made");
}

/* ---- the server ---- */

static sigset_t stop_signals(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGHUP);
    return set;
}

/* True once one of the signals came; it stays pending, so that every later call is true as well. */
static bool stop_asked(void)
{
    sigset_t pending;
    sigpending(&pending);
    return sigismember(&pending, SIGINT) || sigismember(&pending, SIGTERM) ||
           sigismember(&pending, SIGHUP);
}

static int serve(const struct config *c, const struct options *o)
{
    struct app app;
    struct client client;
    int status = 0, got;
    if (app_start(&app, c) != 0) return fail("the server does not start");
    unsigned port = http_daemon_port(app.http);
    if (client_init(&client, c->http.listen, port) != 0) {
        status = fail("--listen is not an address");
        goto out;
    }
    if (port != 0)
        printf("page: http://%.*s:%u/\n", (int)(strrchr(c->http.listen, ':') - c->http.listen),
               c->http.listen, port);
    else
        printf("socket: %s\n", c->http.listen);
    fflush(stdout);
    if (o->train && !first_model_train(&client, stop_asked) && !stop_asked())
        status = fail("the sample model could not be trained");
    if (o->check) {
        if (status == 0 && !first_model_check(&client)) status = 1;
        printf("check: %s\n", status == 0 && !stop_asked() ? "all is well" : "failed");
        goto out;
    }
    printf("ready; Ctrl-C stops it, the next start finds everything as it was\n");
    fflush(stdout);
    sigset_t set = stop_signals();
    while (sigwait(&set, &got) != 0) {
    }
out:
    atomic_store(&app.draining, true);
    app_stop(&app);
    return status;
}

static int configure(struct config *c, const struct options *o, const struct cluster *cluster)
{
    unsetenv("DATABASE_URL"); /* a server of somebody else's, perhaps: never the sample's */
    unsetenv("SEGMENTD_DATABASE_URL");
    unsetenv("SEGMENTD_DATABASE_URL_FILE");
    if (config_load(c, "/dev/null", stderr) != 0) return 2;
    cluster_url(cluster, DATABASE, c->database.url, sizeof c->database.url);
    if (o->listen != NULL || o->check)
        snprintf(c->http.listen, sizeof c->http.listen, "%s",
                 o->listen != NULL ? o->listen : "127.0.0.1:0");
    c->auth.mode = AUTH_OFF;
    if (!config_listen_is_local(c))
        return fail("--listen: only loopback addresses, since there are no tokens here");
    log_init(c->log.level, c->log.format == LOG_FORMAT_JSON ||
                               (c->log.format == LOG_FORMAT_AUTO && !isatty(STDERR_FILENO)));
    return 0;
}

int dev_main(int argc, char **argv)
{
    struct options o;
    struct config c;
    struct cluster cluster;
    char sentence[1400];
    int stop = read_options(argc, argv, &o);
    if (stop != 0) return stop - 1;
    if (settle(o.folder) != 0) return 1;
    sigset_t set = stop_signals();
    sigprocmask(SIG_BLOCK, &set, NULL);
    if (cluster_start(&cluster, o.folder, sentence, sizeof sentence) != 0) return fail(sentence);
    int status = configure(&c, &o, &cluster);
    if (status == 0) status = prepare_database(&c, &cluster);
    if (status == 0) status = serve(&c, &o);
    cluster_stop(&cluster);
    return status;
}
