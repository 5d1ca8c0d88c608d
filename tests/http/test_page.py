"""The embedded page and documents."""
import gzip

import pytest

import conftest
from raw import ask

ROOT = conftest.ROOT


@pytest.mark.parametrize("path, file, kind", [
    ("/", "index.html", "text/html; charset=utf-8"), ("/docs", "docs.html", "text/html; charset=utf-8"),
    ("/docs.js", "docs.js", "text/javascript; charset=utf-8"), ("/docs.css", "docs.css", "text/css; charset=utf-8"),
    ("/openapi.json", "openapi.json", "application/json")])
def test_a_file_is_served_whole_with_its_type_and_guards(http, path, file, kind):
    reply = http.get(path)
    assert reply.status_code == 200 and reply.headers["Content-Type"] == kind
    assert reply.content == (ROOT / "server" / "web" / file).read_bytes()
    assert reply.headers["X-Content-Type-Options"] == "nosniff" and "Server" not in reply.headers
    policy = reply.headers["Content-Security-Policy"]
    assert "default-src 'self'" in policy and "frame-ancestors 'none'" in policy and "unsafe" not in policy


@pytest.mark.parametrize("accept, tag_end", [("gzip", '-gzip"'), ("identity", '"'), ("gzip;q=0", '"'), ("br;q=1, *", '-gzip"'), ("", '"')])
def test_an_etag_names_the_bytes_sent_and_saves_sending_them_again(http, accept, tag_end):
    first = http.get("/openapi.json", headers={"Accept-Encoding": accept})
    tag = first.headers["ETag"]
    assert tag.endswith(tag_end) and first.headers.get("Content-Encoding") == ("gzip" if "gzip" in tag else None)
    again = http.get("/openapi.json", headers={"Accept-Encoding": accept, "If-None-Match": f'"other", W/{tag}'})
    assert again.status_code == 304 and again.content == b"" and "ETag" in again.headers
    for reply in (first, again):
        assert (reply.headers["Vary"], reply.headers["Cache-Control"]) == ("Accept-Encoding", "no-cache")
    assert http.get("/openapi.json", headers={"If-None-Match": '"other"'}).status_code == 200


def test_the_gzip_form_is_the_same_document(server):
    status, headers, body = ask(server, b"GET /openapi.json HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip\r\n\r\n")
    assert status == 200 and headers["content-encoding"] == "gzip"
    assert gzip.decompress(body) == (ROOT / "server" / "web" / "openapi.json").read_bytes()


@pytest.mark.parametrize("path", ["/nothing.js", "/index.html.bak", "/.git", "/0001_feature_sets.sql", "/web/app.js", "/etc"])
def test_other_names_are_not_found(http, path):
    assert http.get(path).status_code == 404


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_pages_load_nothing_from_elsewhere_and_have_no_inline_script(http, path):
    text = http.get(path).text
    assert "http://" not in text and "https://" not in text and "onclick" not in text and "<style" not in text
    assert "<script>" not in text


def test_every_operation_of_the_contract_is_answered(http):
    """No path or method of openapi.json is unknown to the router (the unit test of routes goes the other way too)."""
    document = http.get("/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    for path, item in document["paths"].items():
        concrete = path.replace("{version}", "1").replace("{segment}", "1").replace("{job}", "00000000-0000-4000-8000-000000000000")
        for name in ("feature_set", "model", "alias", "user"):
            concrete = concrete.replace("{" + name + "}", "absent")
        allow = {m.strip().lower() for m in http.options(concrete).headers["Allow"].split(",")}
        assert set(item) <= allow, path
        for method, operation in item.items():
            reply = http.request(method.upper(), concrete)
            assert reply.status_code != 405 and reply.status_code < 500, (method, path, reply.text)
            assert str(reply.status_code) in operation["responses"], (method, path, reply.status_code)


def test_the_contract_refers_only_to_what_it_has(http):
    document = http.get("/openapi.json").json()

    def references(node):
        if isinstance(node, dict):
            if "$ref" in node:
                yield node["$ref"]
            for value in node.values():
                yield from references(value)
        elif isinstance(node, list):
            for value in node:
                yield from references(value)

    for reference in references(document):
        at = document
        for key in reference.removeprefix("#/").split("/"):
            at = at[key]


@pytest.fixture
def edited(database, tmp_path):
    """A server that serves the page from a folder."""
    web = tmp_path / "web"
    web.mkdir()
    (web / "docs.html").write_text("<p>edited</p>")
    (tmp_path / "secret").write_text("secret")
    (web / "docs.css").symlink_to(tmp_path / "secret")
    (web / "more.js").write_text("more")
    s = conftest.Server(database, tmp_path, options=f"[http]\nweb_root = {web}\n")
    s.start()
    yield s
    s.stop()
    s.check_log()


def test_web_root_serves_edited_files_but_no_links_and_no_other_names(edited):
    with conftest.Http(edited) as http:
        assert http.get("/docs").text == "<p>edited</p>"
        assert http.get("/docs.css").status_code == 404  # a link
        assert http.get("/more.js").status_code == 404   # not a name of the page
        assert http.get("/docs.js").status_code == 404   # not in the folder
