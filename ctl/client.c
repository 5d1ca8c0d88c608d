/* One easy handle that is reset for each request: the connection stays, the options do not. */
#include "client.h"

#include <errno.h>
#include <string.h>
#include <curl/curl.h>
#include "base/alloc.h"

#define CONNECT_TIMEOUT_S  10L
#define DOCUMENT_TIMEOUT_S 120L /* a whole request without streams */
#define UNIX_PREFIX        "unix:"

struct transfer {
    struct client *client;
    const struct client_request *request;
    char *body; /* of the answer, when it is kept */
    size_t len, cap;
    bool sunk;           /* a part of the answer went into the sink */
    const char *failure; /* why we broke it off ourselves, or NULL */
};

static bool is_printable(const char *s)
{
    for (; *s != '\0'; s++)
        if (*s < 0x21 || *s > 0x7e) return false;
    return true;
}

const char *client_init(struct client *c, const char *url, const char *token)
{
    const char *socket = NULL, *fault = NULL;
    memset(c, 0, sizeof(*c));
    if (strncmp(url, UNIX_PREFIX, strlen(UNIX_PREFIX)) == 0) socket = url + strlen(UNIX_PREFIX);
    size_t len = strlen(url);
    while (len > 0 && url[len - 1] == '/')
        len--;
    if (socket != NULL && *socket == '\0') return "--url names no socket: unix:/path";
    if (socket == NULL && strncmp(url, "http://", 7) != 0 && strncmp(url, "https://", 8) != 0)
        return "--url must be http://…, https://… or unix:/path";
    if (len >= sizeof(c->base) / 2) return "--url is too long";
    if (token != NULL && (*token == '\0' || !is_printable(token)))
        return "the token must be printable ASCII without spaces";
    if (socket == NULL)
        memcpy(c->base, url, len);
    else
        strcpy(c->base, "http://localhost");
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK || (c->curl = curl_easy_init()) == NULL)
        return "libcurl cannot be set up";
    CURLcode rc = CURLE_OK;
    if (socket != NULL) rc = curl_easy_setopt(c->curl, CURLOPT_UNIX_SOCKET_PATH, socket);
    if (rc == CURLE_OK && token != NULL) {
        curl_easy_setopt(c->curl, CURLOPT_HTTPAUTH, CURLAUTH_BEARER);
        rc = curl_easy_setopt(c->curl, CURLOPT_XOAUTH2_BEARER, token);
    }
    if (rc != CURLE_OK) {
        fault = rc == CURLE_OUT_OF_MEMORY ? "out of memory" : "--url or --token is too long";
        client_release(c);
    }
    return fault;
}

void client_release(struct client *c)
{
    curl_easy_cleanup(c->curl);
    c->curl = NULL;
    curl_global_cleanup();
}

void client_reply_release(struct client_reply *r)
{
    seg_free(r->body);
    *r = (struct client_reply){ 0 };
}

/* Appends to the address; false when it does not fit. */
static bool append(struct client *c, size_t *at, const char *s, size_t len)
{
    if (len >= sizeof(c->address) - *at) return false;
    memcpy(c->address + *at, s, len);
    *at += len;
    c->address[*at] = '\0';
    return true;
}

static bool append_escaped(struct client *c, size_t *at, const char *s)
{
    /* libcurl measures an empty text itself, and any other would be cut at 2^31 bytes. */
    char *escaped = strlen(s) < sizeof(c->address) ? curl_easy_escape(c->curl, s, 0) : NULL;
    bool fits = escaped != NULL && append(c, at, escaped, strlen(escaped));
    curl_free(escaped);
    return fits;
}

bool client_address(struct client *c, const char *path, const char *const *args,
                    const struct client_parameter *parameters)
{
    size_t at = 0;
    char joint = '?';
    bool fits = append(c, &at, c->base, strlen(c->base));
    while (fits && *path != '\0') {
        size_t len = strcspn(path, "{");
        fits = append(c, &at, path, len);
        path += len;
        if (*path != '{') continue;
        fits = fits && append_escaped(c, &at, *args++);
        path += 2;
    }
    for (; fits && parameters != NULL && parameters->name != NULL; parameters++) {
        if (parameters->value == NULL) continue;
        fits = append(c, &at, &joint, 1) &&
               append(c, &at, parameters->name, strlen(parameters->name)) &&
               append(c, &at, "=", 1) && append_escaped(c, &at, parameters->value);
        joint = '&';
    }
    if (!fits) snprintf(c->error, sizeof(c->error), "the address would be too long");
    return fits;
}

static size_t on_read(char *buffer, size_t size, size_t n, void *arg)
{
    struct transfer *t = arg;
    size_t len = fread(buffer, 1, size * n, t->request->upload);
    if (len > 0 || !ferror(t->request->upload)) return len;
    t->failure = strerror(errno);
    return CURL_READFUNC_ABORT;
}

static bool keep(struct transfer *t, const char *bytes, size_t len)
{
    if (len > CLIENT_DOCUMENT_MAX - t->len) {
        t->failure = "the answer is too long";
        return false;
    }
    if (t->len + len + 1 > t->cap) {
        size_t cap = (t->len + len + 1) * 2;
        char *grown = seg_realloc(t->body, cap, 1);
        if (grown == NULL) {
            t->failure = "out of memory";
            return false;
        }
        t->body = grown;
        t->cap = cap;
    }
    memcpy(t->body + t->len, bytes, len);
    t->len += len;
    t->body[t->len] = '\0';
    return true;
}

static size_t on_write(char *bytes, size_t size, size_t n, void *arg)
{
    struct transfer *t = arg;
    long status = 0;
    curl_easy_getinfo(t->client->curl, CURLINFO_RESPONSE_CODE, &status);
    if (t->request->sink == NULL || status < 200 || status > 299)
        return keep(t, bytes, size * n) ? size * n : 0;
    t->sunk = true;
    if (t->request->sink(t->request->ctx, bytes, size * n)) return size * n;
    t->failure = "the output could not be written";
    return 0;
}

static int on_progress(void *arg, curl_off_t down_total, curl_off_t down_now, curl_off_t up_total,
                       curl_off_t up_now)
{
    struct transfer *t = arg;
    (void)down_total, (void)down_now, (void)up_total;
    t->request->on_upload(t->request->ctx, up_now);
    return 0;
}

static void set_upload(CURL *curl, const struct client_request *rq, struct transfer *t)
{
    curl_easy_setopt(curl, CURLOPT_UPLOAD, 1L); /* chunked when the size is not known */
    curl_easy_setopt(curl, CURLOPT_INFILESIZE_LARGE, (curl_off_t)rq->upload_size);
    curl_easy_setopt(curl, CURLOPT_READFUNCTION, on_read);
    curl_easy_setopt(curl, CURLOPT_READDATA, t);
    curl_easy_setopt(curl, CURLOPT_UPLOAD_BUFFERSIZE, 1L << 18);
}

static void set_body(CURL *curl, const struct client_request *rq)
{
    curl_easy_setopt(curl, CURLOPT_POSTFIELDS, rq->body != NULL ? rq->body : "");
    curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)rq->body_len);
}

/* The options of one request; those of the client stay. False: no memory. */
static bool set_request(struct client *c, const struct client_request *rq, struct transfer *t,
                        struct curl_slist **ret_headers)
{
    CURL *curl = c->curl;
    char type[64];
    bool streams = rq->upload != NULL || rq->sink != NULL;
    snprintf(type, sizeof(type), "Content-Type:%s%s", rq->content_type ? " " : "",
             rq->content_type ? rq->content_type : "");
    *ret_headers = curl_slist_append(NULL, type);
    if (*ret_headers == NULL) return false;
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, *ret_headers);
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, c->curl_error);
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(curl, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(curl, CURLOPT_USERAGENT, "segmentctl/" SEGMENTD_VERSION);
    curl_easy_setopt(curl, CURLOPT_ACCEPT_ENCODING, streams ? NULL : "gzip");
    curl_easy_setopt(curl, CURLOPT_PATH_AS_IS, 1L); /* a name may be ".." */
    curl_easy_setopt(curl, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, CONNECT_TIMEOUT_S);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT, streams ? 0L : DOCUMENT_TIMEOUT_S);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_write);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, t);
    curl_easy_setopt(curl, CURLOPT_NOPROGRESS, rq->on_upload == NULL ? 1L : 0L);
    curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, on_progress);
    curl_easy_setopt(curl, CURLOPT_XFERINFODATA, t);
    curl_easy_setopt(curl, CURLOPT_UPLOAD, 0L);
    curl_easy_setopt(curl, CURLOPT_HTTPGET, 1L);
    if (rq->upload != NULL)
        set_upload(curl, rq, t);
    else if (strcmp(rq->method, "GET") != 0)
        set_body(curl, rq);
    curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, rq->method);
    return curl_easy_setopt(curl, CURLOPT_URL, c->address) == CURLE_OK;
}

bool client_send(struct client *c, const struct client_request *rq, struct client_reply *ret)
{
    struct transfer t = { .client = c, .request = rq };
    struct curl_slist *headers = NULL;
    long status = 0;
    CURLcode rc = CURLE_OUT_OF_MEMORY;
    *ret = (struct client_reply){ 0 };
    c->curl_error[0] = '\0';
    if (set_request(c, rq, &t, &headers)) rc = curl_easy_perform(c->curl);
    curl_easy_setopt(c->curl, CURLOPT_HTTPHEADER, NULL);
    curl_slist_free_all(headers);
    curl_easy_getinfo(c->curl, CURLINFO_RESPONSE_CODE, &status);
    /* A server that refuses a long body answers and hangs up: the answer counts, not how it ended.
     */
    bool refused = status >= 400 && t.len > 0 && t.failure == NULL;
    if (rc == CURLE_OK || refused) {
        if (t.body == NULL) t.body = seg_strdup("");
        if (t.body != NULL) {
            *ret = (struct client_reply){ (unsigned)status, t.body, t.len };
            return true;
        }
        t.failure = "out of memory";
    }
    const char *why = t.failure          ? t.failure
                      : c->curl_error[0] ? c->curl_error
                                         : curl_easy_strerror(rc);
    snprintf(c->error, sizeof(c->error), "%s%s", t.sunk ? "the answer is not complete: " : "", why);
    seg_free(t.body);
    return false;
}
