"""Tokens and scopes at the door: every operation of the contract against every scope, and what is no token."""
import re
import time

import pytest

import conftest
from raw import ask

SCOPES = ["read", "score", "train", "admin"]  # each contains those before it


@pytest.fixture(scope="module")
def guarded(database, tmp_path_factory):
    s = conftest.Server(database, tmp_path_factory.mktemp("guarded"), options="[auth]\nmode = token\n")
    s.tokens = {scope: new_token(s, scope) for scope in SCOPES}
    s.start()
    yield s
    s.stop()
    s.check_log()


def new_token(server, scope):
    done = server.command("token", "create", "--name", scope, "--scope", scope)
    assert done.returncode == 0, done.stderr
    return re.search(r"sgd_\S+", done.stdout).group()


@pytest.fixture
def guest(guarded):
    with conftest.Http(guarded) as session:
        yield session


def bearer(token):
    return {"Authorization": f"Bearer {token}"}


def operations(document):
    """(method, path with its arguments filled in, the scope it needs or None)."""
    for path, item in document["paths"].items():
        concrete = re.sub(r"\{(version|segment)\}", "1", path).replace("{job}", "00000000-0000-4000-8000-000000000000")
        for method, operation in item.items():
            security = operation.get("security", [])
            yield method.upper(), re.sub(r"\{\w+\}", "absent", concrete), security[0]["bearer"][0] if security else None


def test_every_operation_wants_the_scope_that_the_contract_names(guarded, guest):
    seen = set()
    for method, path, wanted in operations(guest.get("/openapi.json").json()):
        seen.add(wanted)
        if wanted is None:
            assert guest.request(method, path).status_code in (200, 404), (method, path)
            continue
        reply = guest.request(method, path)
        assert (reply.status_code, reply.json()["code"], reply.headers["WWW-Authenticate"].split()[0]) == (401, "unauthenticated", "Bearer"), (method, path)
        for scope in SCOPES:
            status = guest.request(method, path, headers=bearer(guarded.tokens[scope])).status_code
            if SCOPES.index(scope) < SCOPES.index(wanted):
                assert status == 403, (method, path, scope)
            else:
                assert status not in (401, 403) and status < 500, (method, path, scope, status)
    assert seen >= {None, "read", "score", "train"}


def test_a_token_that_lacks_the_scope_is_told_which(guarded, guest):
    reply = guest.delete("/v1/models/absent", headers=bearer(guarded.tokens["read"]))
    assert (reply.status_code, reply.json()["code"]) == (403, "forbidden") and "train" in reply.json()["detail"]


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer ", "Basic dTpw", "Token {}", "{}", "Bearer {}x", "Bearer x{}", "Bearer {} {}", 'Bearer "{}"', "Bearer sgd_", "Bearer " + "a" * 4000])
def test_what_is_not_the_token_is_refused(guarded, guest, header):
    token = guarded.tokens["admin"]
    reply = guest.get("/v1/models", headers={"Authorization": header.replace("{}", token)})
    assert reply.status_code == 401 and token not in reply.text


def test_the_scheme_is_read_in_any_case(guarded, guest):
    for scheme in ("Bearer", "bearer", "BEARER"):
        assert guest.get("/v1/models", headers={"Authorization": f"{scheme} {guarded.tokens['read']}"}).status_code == 200


def test_the_door_is_shut_before_a_body_is_read(guarded):
    head = b"POST /v1/models/m/predict HTTP/1.1\r\nHost: x\r\nContent-Length: 60000000\r\nExpect: 100-continue\r\n\r\n"
    status, headers, _ = ask(guarded, head)
    assert status == 401 and headers["connection"].lower() == "close"


def test_a_revoked_token_is_refused_within_seconds_and_others_go_on(guarded, guest):
    token = new_token(guarded, "score")
    deadline = time.monotonic() + 7
    while guest.get("/v1/models", headers=bearer(token)).status_code != 200:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert guarded.command("token", "revoke", token.split("_")[1]).returncode == 0
    deadline = time.monotonic() + 7
    while guest.get("/v1/models", headers=bearer(token)).status_code != 401:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert guest.get("/v1/models", headers=bearer(guarded.tokens["read"])).status_code == 200


def test_no_token_is_in_the_log_or_in_the_database(guarded, guest, sql):
    text = guarded.log_path.read_text()
    stored = str(sql("SELECT * FROM segmentd.tokens"))
    for token in guarded.tokens.values():
        secret = token.split("_", 2)[2]
        assert guest.get("/v1/models", headers=bearer(token)).status_code == 200
        assert secret not in text and secret not in stored
