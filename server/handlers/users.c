/* Users: the segments that one user is in. */
#include <string.h>

#include "db/segments.h"
#include "handlers/handlers.h"

enum http_status users_segments_get(struct http_request *rq)
{
    struct db_document *docs = NULL;
    size_t n = 0;
    struct json_out o;
    const char *user = rq->path_args[0];
    if (!user_id_is_valid(user, strlen(user)))
        return reply_error(rq, ERR_INVALID,
                           "a user id is 1 to 256 bytes of UTF-8 without control characters");
    enum db_status st = db_segments_of_user(rq->db, user, &rq->arena, &docs, &n);
    if (st == DB_NONE)
        return reply_error(rq, ERR_USER_NOT_FOUND, "no current labels name this user");
    if (st != DB_ONE) return reply_db_error(rq, st);
    json_out_init(&o);
    json_out_object(&o);
    json_out_member_string(&o, "user_id", user);
    json_out_key(&o, "segments");
    json_out_array(&o);
    for (size_t i = 0; i < n; i++)
        json_out_raw(&o, docs[i].json);
    json_out_end_array(&o);
    json_out_end_object(&o);
    return reply_json(rq, HTTP_200, &o);
}
