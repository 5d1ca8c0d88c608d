/* cluster.c - initdb and postgres as children. Children are made by _Fork and exec: nothing but
 * async-signal-safe calls in between, and no atfork handler of the BLAS library is run. */
#include "dev/cluster.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SOCKET_PATH_MAX 107 /* of sun_path, without its NUL */
#define START_TIMEOUT_S 60
#define STOP_TIMEOUT_S  60

static void nap(long ms)
{
    struct timespec t = { .tv_sec = 0, .tv_nsec = ms * 1000000 };
    nanosleep(&t, NULL);
}

/* ---- the binaries ---- */

static bool has_binaries(const char *folder)
{
    char path[600];
    snprintf(path, sizeof path, "%s/initdb", folder);
    if (access(path, X_OK) != 0) return false;
    snprintf(path, sizeof path, "%s/postgres", folder);
    return access(path, X_OK) == 0;
}

static bool ask_pg_config(char *out, size_t size)
{
    FILE *f = popen("pg_config --bindir 2>/dev/null", "re");
    if (f == NULL) return false;
    bool got = fgets(out, (int)size, f) != NULL;
    pclose(f);
    if (got) out[strcspn(out, "\n")] = '\0';
    return got && has_binaries(out);
}

/* Debian's folders: the highest version that has a server. */
static bool look_in_debian(char *out, size_t size)
{
    glob_t g;
    double best = 0;
    if (glob("/usr/lib/postgresql/*/bin", 0, NULL, &g) != 0) return false;
    for (size_t i = 0; i < g.gl_pathc; i++) {
        double version = strtod(g.gl_pathv[i] + strlen("/usr/lib/postgresql/"), NULL);
        if (version <= best || !has_binaries(g.gl_pathv[i])) continue;
        best = version;
        snprintf(out, size, "%s", g.gl_pathv[i]);
    }
    globfree(&g);
    return best > 0;
}

static bool look_in_path(char *out, size_t size)
{
    for (const char *p = getenv("PATH"); p != NULL && *p != '\0';) {
        size_t len = strcspn(p, ":");
        snprintf(out, size, "%.*s", (int)len, p);
        if (has_binaries(out)) return true;
        p += len + (p[len] == ':');
    }
    return false;
}

static bool find_binaries(char *out, size_t size)
{
    return ask_pg_config(out, size) || look_in_debian(out, size) || look_in_path(out, size);
}

/* ---- children ---- */

/* Runs argv with its output at the end of the log; 0 or -1. The child gets death_signal when the
 * calling thread ends (0: none), and none of the terminal's signals: Ctrl-C is ours to order. */
static pid_t run_child(const char *const argv[], const char *log, int death_signal)
{
    int fd = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (fd < 0) return -1;
    pid_t parent = getpid(), pid = _Fork();
    if (pid == 0) {
        sigset_t none;
        sigemptyset(&none);
        sigprocmask(SIG_SETMASK, &none, NULL);
        signal(SIGPIPE, SIG_DFL);
        signal(SIGXFSZ, SIG_DFL);
        setsid();
        if (death_signal != 0) prctl(PR_SET_PDEATHSIG, death_signal);
        if (getppid() != parent) _exit(127); /* it ended before the line above */
        if (dup2(fd, STDOUT_FILENO) < 0 || dup2(fd, STDERR_FILENO) < 0) _exit(127);
        execv(argv[0], (char *const *)argv);
        _exit(127);
    }
    close(fd);
    return pid;
}

/* True when the child has ended within timeout_s. */
static bool wait_child(pid_t pid, unsigned timeout_s, int *ret_status)
{
    for (unsigned i = 0; i < timeout_s * 50; i++) {
        pid_t done = waitpid(pid, ret_status, WNOHANG);
        if (done == pid || (done < 0 && errno != EINTR)) return true;
        nap(20);
    }
    return false;
}

/* ---- the folder ---- */

static int lock_folder(struct cluster *c, char *sentence, size_t size)
{
    char path[600];
    snprintf(path, sizeof path, "%s/lock", c->folder);
    c->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (c->lock_fd < 0) {
        snprintf(sentence, size, "%s cannot be used: %s", c->folder, strerror(errno));
        return -1;
    }
    if (flock(c->lock_fd, LOCK_EX | LOCK_NB) == 0) return 0;
    snprintf(sentence, size, "another segmentd dev works in %s: stop it, or give --data DIR",
             c->folder);
    close(c->lock_fd);
    c->lock_fd = -1;
    return -1;
}

/* The socket stands in our folder, or in a short one of ours when that path is too long. */
static int choose_sockets(struct cluster *c, char *sentence, size_t size)
{
    if (strlen(c->folder) + strlen("/.s.PGSQL.5432.lock") <= SOCKET_PATH_MAX) {
        snprintf(c->sockets, sizeof c->sockets, "%s", c->folder);
        return 0;
    }
    uint64_t hash = 1469598103934665603u; /* FNV-1a */
    for (const char *p = c->folder; *p != '\0'; p++)
        hash = (hash ^ (unsigned char)*p) * 1099511628211u;
    snprintf(c->sockets, sizeof c->sockets, "/tmp/segmentd-%u-%016llx", (unsigned)getuid(),
             (unsigned long long)hash);
    struct stat st;
    bool made = mkdir(c->sockets, 0700) == 0 || errno == EEXIST;
    if (made && lstat(c->sockets, &st) == 0 && S_ISDIR(st.st_mode) && st.st_uid == getuid() &&
        (st.st_mode & 077) == 0)
        return 0;
    snprintf(sentence, size, "%s is not a folder of ours alone", c->sockets);
    return -1;
}

/* rm -rf, again and again for a while: the children of an initdb that was killed live on for a
 * moment, and write there. */
static bool remove_folder(const char *path, const char *log)
{
    const char *const argv[] = { "/bin/rm", "-rf", "--", path, NULL };
    int status;
    for (unsigned i = 0; i < 100 && access(path, F_OK) == 0; i++) {
        if (i > 0) nap(50);
        pid_t pid = run_child(argv, log, SIGKILL);
        if (pid > 0) wait_child(pid, START_TIMEOUT_S, &status);
    }
    return access(path, F_OK) != 0;
}

/* A cluster is made beside its place and renamed, so that one cut short is made again. */
static int make_cluster(const struct cluster *c, const char *binaries, const char *log,
                        char *sentence, size_t size)
{
    char pgdata[600], fresh[600], initdb[600];
    int status = 0;
    snprintf(pgdata, sizeof pgdata, "%s/pgdata", c->folder);
    if (access(pgdata, F_OK) == 0) return 0;
    snprintf(fresh, sizeof fresh, "%s/pgdata.new", c->folder);
    snprintf(initdb, sizeof initdb, "%s/initdb", binaries);
    if (!remove_folder(fresh, log)) {
        snprintf(sentence, size, "%s, left by a run that was killed, cannot be removed", fresh);
        return -1;
    }
    const char *const argv[] = { initdb, "-N",  "-A", "peer", "-E", "UTF8", "--locale=C.UTF-8",
                                 "-D",   fresh, NULL };
    pid_t pid = run_child(argv, log, SIGKILL);
    if (pid > 0 && wait_child(pid, START_TIMEOUT_S, &status) && status == 0) {
        /* initdb -N left the files to the page cache: once, here, they must be safe. */
        sync();
        if (rename(fresh, pgdata) == 0) return 0;
    }
    snprintf(sentence, size, "initdb failed: %s says why", log);
    return -1;
}

/* postmaster.pid: line 1 is its process, line 8 says "ready" once it takes connections. */
static pid_t read_pid_file(const struct cluster *c, bool *ret_ready)
{
    char path[600], line[600];
    pid_t pid = 0;
    *ret_ready = false;
    snprintf(path, sizeof path, "%s/pgdata/postmaster.pid", c->folder);
    FILE *f = fopen(path, "re");
    if (f == NULL) return 0;
    for (unsigned n = 1; fgets(line, sizeof line, f) != NULL; n++) {
        if (n == 1) pid = (pid_t)strtol(line, NULL, 10);
        if (n == 8) *ret_ready = strncmp(line, "ready", 5) == 0;
    }
    fclose(f);
    return pid;
}

/* True when the process is a PostgreSQL that works in our pgdata. */
static bool is_our_postmaster(const struct cluster *c, pid_t pid)
{
    char link[64], pgdata[600];
    struct stat theirs, ours;
    snprintf(link, sizeof link, "/proc/%d/cwd", (int)pid);
    snprintf(pgdata, sizeof pgdata, "%s/pgdata", c->folder);
    return stat(link, &theirs) == 0 && stat(pgdata, &ours) == 0 && theirs.st_dev == ours.st_dev &&
           theirs.st_ino == ours.st_ino;
}

/* We hold the lock, so a postmaster here is the orphan of a run that was killed, most likely on its
 * way out; and a pid file without one may name a process that has nothing to do with us. */
static int clear_orphan(const struct cluster *c, char *sentence, size_t size)
{
    bool ready;
    char path[600];
    pid_t pid = read_pid_file(c, &ready);
    if (pid <= 0) return 0;
    for (unsigned i = 0; is_our_postmaster(c, pid); i++) {
        if (i % 250 == 0) kill(pid, i == 0 ? SIGINT : SIGQUIT);
        if (i >= STOP_TIMEOUT_S * 50) {
            snprintf(sentence, size, "the PostgreSQL of an earlier run (process %d) does not stop",
                     (int)pid);
            return -1;
        }
        nap(20);
    }
    snprintf(path, sizeof path, "%s/pgdata/postmaster.pid", c->folder);
    if (unlink(path) != 0 && errno != ENOENT) {
        snprintf(sentence, size, "%s cannot be removed: %s", path, strerror(errno));
        return -1;
    }
    return 0;
}

/* ---- the server ---- */

static int start_server(struct cluster *c, const char *binaries, const char *log, char *sentence,
                        size_t size)
{
    char postgres[600], pgdata[600];
    snprintf(postgres, sizeof postgres, "%s/postgres", binaries);
    snprintf(pgdata, sizeof pgdata, "%s/pgdata", c->folder);
    const char *const argv[] = { postgres,
                                 "-D",
                                 pgdata,
                                 "-k",
                                 c->sockets,
                                 "-c",
                                 "listen_addresses=",
                                 "-c",
                                 "port=5432",
                                 "-c",
                                 "unix_socket_permissions=0700",
                                 "-c",
                                 "log_min_messages=warning",
                                 NULL };
    pid_t pid = run_child(argv, log, SIGINT); /* when we die: PostgreSQL's fast shutdown */
    for (unsigned i = 0; pid > 0 && i < START_TIMEOUT_S * 50; i++) {
        bool ready;
        int status;
        if (waitpid(pid, &status, WNOHANG) == pid) {
            pid = -1;
            break;
        }
        if (read_pid_file(c, &ready) == pid && ready) {
            c->postmaster = pid;
            return 0;
        }
        nap(20);
    }
    if (pid > 0) {
        c->postmaster = pid;
        cluster_stop(c);
    }
    snprintf(sentence, size, "PostgreSQL does not start: %s says why", log);
    return -1;
}

int cluster_start(struct cluster *c, const char *folder, char *sentence, size_t size)
{
    char binaries[512], log[600];
    *c = (struct cluster){ .lock_fd = -1 };
    if (strlen(folder) >= sizeof c->folder) {
        snprintf(sentence, size, "the name of the folder is too long: %zu bytes (limit %zu)",
                 strlen(folder), sizeof c->folder - 1);
        return -1;
    }
    snprintf(c->folder, sizeof c->folder, "%s", folder);
    snprintf(log, sizeof log, "%s/postgresql.log", folder);
    if (!find_binaries(binaries, sizeof binaries)) {
        snprintf(sentence, size,
                 "PostgreSQL is missing (initdb and postgres were not found): install "
                 "postgresql-15, or run \"segmentd serve\" with the [database] url of a server");
        return -1;
    }
    if (lock_folder(c, sentence, size) != 0) return -1;
    if (choose_sockets(c, sentence, size) == 0 &&
        make_cluster(c, binaries, log, sentence, size) == 0 &&
        clear_orphan(c, sentence, size) == 0 && start_server(c, binaries, log, sentence, size) == 0)
        return 0;
    close(c->lock_fd);
    c->lock_fd = -1;
    return -1;
}

void cluster_stop(struct cluster *c)
{
    int status;
    if (c->postmaster > 0) {
        kill(c->postmaster, SIGINT);
        if (!wait_child(c->postmaster, STOP_TIMEOUT_S, &status)) {
            kill(c->postmaster, SIGQUIT);
            wait_child(c->postmaster, STOP_TIMEOUT_S, &status);
        }
        c->postmaster = 0;
    }
    if (strcmp(c->sockets, c->folder) != 0) rmdir(c->sockets);
    if (c->lock_fd >= 0) close(c->lock_fd);
    c->lock_fd = -1;
}

void cluster_url(const struct cluster *c, const char *database, char *out, size_t size)
{
    char quoted[2 * sizeof c->sockets];
    char *q = quoted;
    for (const char *p = c->sockets; *p != '\0'; p++) {
        if (*p == '\'' || *p == '\\') *q++ = '\\';
        *q++ = *p;
    }
    *q = '\0';
    snprintf(out, size, "host='%s' port=5432 dbname=%s", quoted, database);
}
