"""Problems: RFC 9457 with every fault at once; methods, targets and parameters that are wrong."""
import re

import pytest

import conftest
from raw import ask


def problem(reply, status, code):
    assert reply.status_code == status, reply.text
    assert reply.headers["Content-Type"] == "application/problem+json"
    p = reply.json()
    assert (p["status"], p["code"]) == (status, code), p
    assert p["type"] == f"/docs#{code}" and p["title"] and p["request_id"] == reply.headers["X-Request-Id"]
    assert not re.search(r"SELECT|pg_|libpq|/(work|usr|var|tmp)/|\.c:", reply.text)
    return p


def test_every_fault_of_a_query_is_told(http):
    p = problem(http.get("/v1/models?limit=0&nope=1&limit=2&also=x"), 400, "bad_parameter")
    assert [(e["pointer"], e["code"]) for e in p["errors"]] == [
        ("?nope", "unknown_parameter"), ("?limit", "duplicate_parameter"), ("?also", "unknown_parameter")]


@pytest.mark.parametrize("limit", ["0", "1001", "-1", "+5", "1e2", "x", "", "5 ", "0x5", "99999999999999999999"])
def test_a_limit_that_is_wrong_is_refused(http, limit):
    p = problem(http.get("/v1/jobs", params={"limit": limit}), 400, "bad_parameter")
    assert p["errors"][0]["pointer"] == "?limit"


@pytest.mark.parametrize("cursor", ["x", "", "!!!!", "a2Fi=", "a2Fi\u00e4", "AAAA", "aw==", "a" * 5000])
def test_a_cursor_that_is_not_ours_is_refused(http, cursor):
    problem(http.get("/v1/models", params={"cursor": cursor}), 400, "bad_parameter")


def test_methods_that_a_path_does_not_know_are_named_in_allow(http):
    reply = http.delete("/livez")
    problem(reply, 405, "method_not_allowed")
    assert reply.headers["Allow"] == "GET, HEAD, OPTIONS"
    assert http.post("/v1/feature-sets/x").headers["Allow"] == "GET, HEAD, PUT, DELETE, OPTIONS"


def test_options_tells_the_methods_without_a_token(http):
    reply = http.options("/v1/models/m/predict")
    assert (reply.status_code, reply.headers["Allow"], reply.content) == (204, "POST, OPTIONS", b"")


@pytest.mark.parametrize("method, status", [("TRACE", 405), ("CONNECT", 405), ("PRI", 501), ("get", 501), ("BREW", 501)])
def test_strange_methods(server, method, status):
    assert ask(server, f"{method} /livez HTTP/1.1\r\nHost: x\r\n\r\n".encode())[0] == status


def test_head_is_get_without_the_body(http):
    got, head = http.get("/livez"), http.head("/livez")
    assert head.status_code == 200 and head.content == b"" and head.headers["Content-Length"] == str(len(got.content))


@pytest.mark.parametrize("target, status", [
    ("/v1/models/a%00b", 400), ("/v1/models/a%2Fb", 400), ("/v1/models/a%2fb", 400), ("/v1/models/a%5Cb", 400), ("/v1/models/a\\b", 400),
    ("/v1/models/..", 400), ("/v1/models/%2e%2e", 400), ("/v1/models/%2e%2e/..%2f", 400), ("/../etc/passwd", 400), ("/v1/models/%", 400),
    ("/v1/models/%4", 400), ("/v1/models/%zz", 400), ("/v1/models/%ff", 400), ("/v1/models/%c0%af", 400), ("/v1/models/a%0d%0ab", 400),
    ("/v1/models/a%1bb", 400), ("/v1%2Fmodels", 400), ("/v1/users%2Fu/segments", 400), ("/v1/%2e%2e/users/u/segments", 400), ("/v1/users/u/segments%2F", 400),
    ("/v1/users/a%2Fb/segments", 404), ("/v1/users/%2e%2e/segments", 404), ("/v1/users/../segments", 400), ("/v1/users/a\\b/segments", 400), ("/v1/models?limit=%00", 400), ("/v1/models?limit=%ff", 400), ("/livez#x", 400), ("livez", 400),
    ("/v1//models", 404), ("/v1/models/", 404), ("//livez", 404), ("/livez/", 404), ("/LIVEZ", 404), ("/v1", 404), ("/%6civez", 200),
    ("http://elsewhere/livez", 200), ("http://elsewhere:80", 200), ("/" + "a/" * 40, 400), ("/" + "a" * 8191, 404), ("/" + "a" * 8192, 414),
    ("/livez?" + "&".join(f"a{i}=1" for i in range(33)), 400)])
def test_targets(server, target, status):
    reply = ask(server, f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode("latin-1"))
    assert reply[0] == status
    if status >= 400:
        assert reply[1]["content-type"] == "application/problem+json"


@pytest.mark.parametrize("name", ["A", "1a", "-a", "a" * 64, "a.b", "a b", "é", "a'b", 'a";DROP TABLE models;--', "$1", "a\u200bb"])
def test_names_that_are_not_names_are_unknown_or_invalid(http, name):
    for path in ("/v1/models/{}", "/v1/feature-sets/{}", "/v1/models/{}/segments"):
        reply = http.get(path.format(requests_quote(name)))
        assert reply.status_code in (400, 404, 422), reply.text
        assert reply.headers["Content-Type"] == "application/problem+json"
    assert http.post(f"/v1/models/{requests_quote(name)}/predict", json={"rows": [{"features": {}}]}).status_code == 404


def requests_quote(text):
    from urllib.parse import quote
    return quote(text, safe="")


@pytest.mark.parametrize("body, code", [
    (b"", "not_json"), (b"{", "not_json"), (b"{} x", "not_json"), (b'{"a": 01}', "not_json"), (b'{"a": 1, "a": 2}', "duplicate_key"),
    (b"[" * 100000, "too_deep"), (b'{"a": "\xff"}', "not_utf8"), (b'{"a": 1e999}', "not_finite")])
def test_a_document_that_is_not_json_is_placed(http, body, code):
    reply = http.put("/v1/feature-sets/x", data=body, headers={"Content-Type": "application/json"})
    p = problem(reply, 400, "not_json")
    if body:
        assert p["errors"][0]["code"] == code and re.fullmatch(r"line \d+, column \d+", p["errors"][0]["pointer"])


def test_a_document_of_another_type_is_refused(http):
    problem(http.put("/v1/feature-sets/x", data="a: 1", headers={"Content-Type": "application/yaml"}), 415, "unsupported_media_type")


def test_a_route_without_body_refuses_one(http):
    problem(http.get("/livez", data="x"), 400, "bad_body")
    assert http.get("/livez", data="").status_code == 200


def test_retry_after_comes_with_a_503(database, tmp_path):
    server = conftest.Server(database, tmp_path, options="[database]\nstatement_timeout_s = 1\n")
    server.start()
    with conftest.Http(server) as http, database.paused():
        reply = http.get("/v1/models")
        assert reply.status_code == 503 and reply.json()["code"] == "db_unavailable"
        assert int(reply.headers["Retry-After"]) >= 1
    server.stop()


@pytest.mark.parametrize("accept, status", [("*/*", 200), ("application/json", 200), ("text/html, application/*;q=0.5", 200), ("text/csv", 406), ("application/json;q=0, */*", 406)])
def test_a_document_is_not_sent_to_a_client_that_would_not_take_it(http, accept, status):
    reply = http.get("/v1/models", headers={"Accept": accept})
    assert reply.status_code == status
    if status == 406:
        assert problem(reply, 406, "not_acceptable")["detail"] == "this is application/json"
    assert http.get("/livez", headers={"Accept": accept}).status_code == 200


@pytest.mark.parametrize("path", ["/v1/models/m/label", "/v1/jobs/00000000-0000-4000-8000-000000000000/cancel", "/v1/jobs/00000000-0000-4000-8000-000000000000/retry"])
def test_options_that_a_route_does_not_have_are_not_passed_over(http, path):
    """Whoever labels by {"version": 2} would otherwise get the champion's labels and not know."""
    p = problem(http.post(path, json={"version": 2, "state": "succeeded"}), 422, "invalid")
    assert [(e["pointer"], e["code"]) for e in p["errors"]] == [("/version", "unknown_key"), ("/state", "unknown_key")]
    problem(http.post(path, json=[]), 422, "invalid")
    assert http.post(path).status_code == http.post(path, json={}).status_code == 404
