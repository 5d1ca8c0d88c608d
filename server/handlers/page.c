/* Static files. web_root is for people who edit the page: the names stay those of the binary, and
 * links are not followed. */
#include "handlers/page.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/alloc.h"
#include "embedded.h"
#include "handlers/handlers.h"

#define FILE_BYTES_MAX ((off_t)16 << 20)

static const char CSP[] = "default-src 'self'; style-src 'self'; img-src 'self' data:; "
                          "frame-ancestors 'none'; base-uri 'none'; form-action 'self'";

static const struct {
    const char *suffix, *type;
} TYPES[] = {
    { ".html", "text/html; charset=utf-8" },
    { ".css", "text/css; charset=utf-8" },
    { ".js", "text/javascript; charset=utf-8" },
    { ".json", "application/json" },
    { ".svg", "image/svg+xml" },
    { ".png", "image/png" },
    { ".ico", "image/x-icon" },
    { ".woff2", "font/woff2" },
};

static const char *type_of(const char *name)
{
    const char *dot = strrchr(name, '.');
    for (size_t i = 0; dot != NULL && i < sizeof(TYPES) / sizeof(TYPES[0]); i++)
        if (strcmp(dot, TYPES[i].suffix) == 0) return TYPES[i].type;
    return "application/octet-stream";
}

static const struct embedded_file *find(const char *name)
{
    for (size_t i = 0; i < N_EMBEDDED_WEB; i++)
        if (strcmp(EMBEDDED_WEB[i].name, name) == 0) return &EMBEDDED_WEB[i];
    return NULL;
}

/* The bytes of root/name (seg_free), or NULL when it is not a regular file that can be read. */
static char *read_file(const char *root, const char *name, size_t *ret_len)
{
    struct stat st;
    char *bytes = NULL;
    size_t len = 0;
    int fd = -1;
    int dir = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (dir >= 0) fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || st.st_size > FILE_BYTES_MAX)
        goto out;
    bytes = seg_alloc((size_t)st.st_size + 1, 1);
    while (bytes != NULL && len < (size_t)st.st_size) {
        ssize_t n = read(fd, bytes + len, (size_t)st.st_size - len);
        if (n <= 0) break;
        len += (size_t)n;
    }
    *ret_len = len;
out:
    if (fd >= 0) close(fd);
    if (dir >= 0) close(dir);
    return bytes;
}

enum http_status page_reply(struct http_request *rq, const char *name)
{
    const char *root = rq->app->config->http.web_root;
    const struct embedded_file *file = find(name);
    if (file == NULL) return reply_error(rq, ERR_NO_SUCH_ROUTE, NULL);
    reply_header(rq, "Content-Security-Policy", CSP);
    reply_header(rq, "Referrer-Policy", "no-referrer");
    if (root[0] != '\0') {
        size_t len = 0;
        char *bytes = read_file(root, name, &len);
        if (bytes == NULL) return reply_error(rq, ERR_NO_SUCH_ROUTE, NULL);
        return reply_take(rq, HTTP_200, type_of(name), bytes, len);
    }
    if (reply_etag(rq, file->sha256)) return reply_empty(rq, HTTP_304);
    return reply_static(rq, type_of(name), file->bytes, file->len, file->gzip, file->gzip_len);
}

enum http_status page_get(struct http_request *rq)
{
    return page_reply(rq, rq->path_args[0] != NULL ? rq->path_args[0] : "index.html");
}
