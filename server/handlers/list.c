/* Keyset paging: the cursor is the key of the last item, so that rows that come and go do not shift
 * pages. */
#include "handlers/list.h"

#include <stdio.h>
#include <string.h>

#include "digest.h"
#include "http/route.h"

bool list_page(struct http_request *rq, unsigned *ret_limit, const char **ret_after)
{
    struct faults f;
    faults_init(&f, &rq->arena);
    *ret_limit = request_limit(rq, &f);
    *ret_after = request_cursor(rq, &f);
    if (f.n_total == 0) return true;
    reply_faults(rq, ERR_BAD_PARAMETER, &f);
    return false;
}

/* The request's own path with the parameters it had and the new cursor. */
static const char *next_link(struct http_request *rq, const char *cursor, unsigned limit)
{
    char *link = seg_arena_strndup(&rq->arena, "<", 1);
    const char *p = rq->route->path;
    for (unsigned arg = 0; *p != '\0' && link != NULL;) {
        size_t len = strcspn(p, "{");
        link = seg_arena_printf(&rq->arena, "%s%.*s", link, (int)len, p);
        p += len;
        if (*p != '{' || link == NULL) continue;
        /* Arguments of lists are names, numbers and ids: nothing in them needs escaping. */
        link = seg_arena_printf(&rq->arena, "%s%s", link, rq->path_args[arg++]);
        p = strchr(p, '}') + 1;
    }
    if (link == NULL) return NULL;
    static const char *const kept[] = { "state", "model", "order", "version" };
    link = seg_arena_printf(&rq->arena, "%s?limit=%u&cursor=%s", link, limit, cursor);
    for (size_t i = 0; i < sizeof(kept) / sizeof(kept[0]) && link != NULL; i++) {
        const char *value =
            strstr(rq->route->query, kept[i]) != NULL ? request_query(rq, kept[i]) : NULL;
        if (value != NULL) link = seg_arena_printf(&rq->arena, "%s&%s=%s", link, kept[i], value);
    }
    return link ? seg_arena_printf(&rq->arena, "%s>; rel=\"next\"", link) : NULL;
}

enum http_status list_reply(struct http_request *rq, const char *head,
                            const struct db_document *docs, size_t n, unsigned limit)
{
    struct json_out o;
    const char *cursor = n > limit ? request_make_cursor(rq, docs[limit - 1].key) : NULL;
    const char *link = cursor ? next_link(rq, cursor, limit) : NULL;
    if (link != NULL) reply_header(rq, "Link", link);
    json_out_init(&o);
    json_out_object(&o);
    if (*head != '\0') json_out_raw(&o, head);
    json_out_key(&o, "items");
    json_out_array(&o);
    for (size_t i = 0; i < n && i < limit; i++)
        json_out_raw(&o, docs[i].json);
    json_out_end_array(&o);
    json_out_key(&o, "next_cursor");
    json_out_string(&o, cursor);
    json_out_end_object(&o);
    return reply_json(rq, HTTP_200, &o);
}

bool list_etag(struct http_request *rq, const struct db_document *head,
               const struct db_document *docs, size_t n)
{
    struct digest d;
    uint8_t sum[DIGEST_BYTES];
    char etag[DIGEST_HEX_SIZE];
    digest_init(&d);
    digest_update(&d, head->json, strlen(head->json));
    for (size_t i = 0; i < n; i++)
        digest_update(&d, docs[i].json, strlen(docs[i].json));
    digest_final(&d, sum);
    digest_hex(sum, 16, etag);
    return reply_etag(rq, etag);
}
