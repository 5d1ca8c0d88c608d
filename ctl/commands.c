/* Asking and telling: what every command does with an answer. */
#include "commands.h"

#include <stdio.h>
#include <string.h>
#include "base/alloc.h"
#include "json_text.h"
#include "text.h"

#define PAGE_ITEMS "1000" /* the most that the server gives */

const struct json *member(const struct json *v, const char *key)
{
    return v != NULL && json_kind(v) == JSON_OBJECT ? json_get(v, key) : NULL;
}

const char *member_text(const struct json *object, const char *key, char *buffer)
{
    const struct json *v = member(object, key);
    if (v == NULL) return "";
    switch (json_kind(v)) {
    case JSON_STRING: return json_string(v);
    case JSON_BOOL: return json_bool(v) ? "yes" : "no";
    case JSON_NUMBER: {
        int64_t integer;
        if (json_integer(v, -(1LL << 53), 1LL << 53, &integer))
            snprintf(buffer, MEMBER_TEXT_SIZE, "%lld", (long long)integer);
        else
            snprintf(buffer, MEMBER_TEXT_SIZE, "%.4g", json_number(v));
        return buffer;
    }
    case JSON_NULL:
    case JSON_ARRAY:
    case JSON_OBJECT: break;
    }
    return "";
}

void answer_release(struct answer *a)
{
    json_free(a->doc);
    client_reply_release(&a->reply);
    *a = (struct answer){ 0 };
}

void complain_of_problem(const struct json *problem, unsigned status)
{
    char buffer[MEMBER_TEXT_SIZE];
    const char *detail = member_text(problem, "detail", buffer);
    if (*detail == '\0') detail = member_text(problem, "title", buffer);
    if (*detail == '\0')
        complain("the server answered with status %u", status);
    else
        complain("%s", detail);
    const struct json *errors = member(problem, "errors");
    if (errors == NULL || json_kind(errors) != JSON_ARRAY) return;
    for (const struct json *e = json_first(errors); e != NULL; e = json_next(e)) {
        char pointer[MEMBER_TEXT_SIZE], text[MEMBER_TEXT_SIZE];
        fputs("  ", stderr);
        text_write(stderr, member_text(e, "pointer", pointer));
        fputs(": ", stderr);
        text_write(stderr, member_text(e, "detail", text));
        fputc('\n', stderr);
    }
}

void complain_of(const struct client_reply *r)
{
    struct json_fault fault;
    struct json *problem = json_parse(r->body, r->len, &fault);
    complain_of_problem(problem, r->status);
    json_free(problem);
}

bool answer_get(struct client *c, const struct client_request *rq, struct answer *ret)
{
    struct json_fault fault;
    *ret = (struct answer){ 0 };
    if (!client_send(c, rq, &ret->reply)) {
        complain("%s", c->error);
        return false;
    }
    if (ret->reply.status < 200 || ret->reply.status > 299) {
        complain_of(&ret->reply);
        return false;
    }
    ret->doc = json_parse(ret->reply.body, ret->reply.len, &fault);
    if (ret->doc != NULL && json_kind(ret->doc) == JSON_OBJECT) return true;
    complain("the answer is no JSON object; is there a segmentd at %s?", c->base);
    return false;
}

bool answer_get_at(struct client *c, const char *path, const char *const *args,
                   const struct client_parameter *parameters, struct answer *ret)
{
    *ret = (struct answer){ 0 };
    if (client_address(c, path, args, parameters))
        return answer_get(c, &(struct client_request){ .method = "GET" }, ret);
    complain("%s", c->error);
    return false;
}

void answer_print(const struct answer *a)
{
    text_write_json(stdout, a->reply.body, a->reply.len);
    fputc('\n', stdout);
}

void list_release(struct list *l)
{
    for (size_t i = 0; i < l->n_pages; i++)
        answer_release(&l->pages[i]);
    seg_free(l->pages);
    *l = (struct list){ 0 };
}

bool list_get(struct client *c, const char *path, const char *const *args,
              const struct client_parameter *parameters, struct list *ret)
{
    struct client_parameter with_page[6] = { { "limit", PAGE_ITEMS }, { "cursor", NULL } };
    struct list l = { 0 };
    size_t n = 2;
    for (; parameters != NULL && parameters->name != NULL && n < 5; parameters++)
        with_page[n++] = *parameters;
    for (;;) {
        struct answer *grown = seg_grow(l.pages, l.n_pages, &l.cap, sizeof(*grown));
        if (grown == NULL) {
            complain("out of memory");
            break;
        }
        l.pages = grown;
        struct answer *page = &l.pages[l.n_pages++];
        if (!answer_get_at(c, path, args, with_page, page)) break;
        const struct json *items = json_get(page->doc, "items");
        const struct json *cursor = json_get(page->doc, "next_cursor");
        if (items == NULL || json_kind(items) != JSON_ARRAY) {
            complain("the answer is no list; is there a segmentd at %s?", c->base);
            break;
        }
        if (cursor == NULL || json_kind(cursor) != JSON_STRING || json_size(items) == 0) {
            *ret = l;
            return true;
        }
        with_page[1].value = json_string(cursor); /* lives as long as its page */
    }
    list_release(&l);
    return false;
}

bool list_print(const struct list *l)
{
    struct json_out o;
    size_t len;
    json_out_init(&o);
    json_out_object(&o);
    json_out_key(&o, "items");
    json_out_array(&o);
    for (size_t i = 0; i < l->n_pages; i++) {
        const struct json *items = json_get(l->pages[i].doc, "items");
        for (const struct json *v = json_first(items); v != NULL; v = json_next(v))
            json_text_copy(&o, v);
    }
    json_out_end_array(&o);
    json_out_end_object(&o);
    char *text = json_out_take(&o, &len);
    if (text == NULL) {
        complain("out of memory");
        return false;
    }
    text_write_json(stdout, text, len);
    fputc('\n', stdout);
    seg_free(text);
    return true;
}
