"""The transport: ids, bodies in every size and encoding, limits, readers that stop, threads that block."""
import concurrent.futures
import gzip
import json
import socket
import threading
import time
import zlib

import pytest

import conftest
from raw import ask, wire


@pytest.fixture(scope="module")
def scored(http, train, blobs):
    train("scored", {"feature_set": "blobs", "task": "segmentation", "algorithm": {"type": "kmeans", "k": 3}, "promote": "always"})
    return "/v1/models/scored/predict"


# ---- ids ----

@pytest.mark.parametrize("sent, kept", [
    ("abc-DEF_1.2", True), ("x" * 64, True), ("x" * 65, False), ("a b", False), ("a\tb", False), ("é", False), ("<script>", False), ("", False)])
def test_a_request_id_is_kept_when_it_is_harmless(http, sent, kept):
    got = http.get("/livez", headers={"X-Request-Id": sent.encode()}).headers["X-Request-Id"]
    assert (got == sent) == kept and 1 <= len(got) <= 64


def test_request_ids_are_made_distinct(http):
    assert len({http.get("/livez").headers["X-Request-Id"] for _ in range(200)}) == 200


TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.mark.parametrize("sent, kept", [
    (TRACE, True), (TRACE.upper(), False), (TRACE + "-x", False), (TRACE[:-1], False), ("01" + TRACE[2:], False),
    ("00-" + "0" * 32 + TRACE[35:], False), (TRACE[:36] + "0" * 16 + "-01", False), ("x" * 10000, False)])
def test_a_traceparent_is_echoed_when_it_is_well_formed(http, sent, kept):
    assert http.get("/livez", headers={"traceparent": sent}).headers.get("traceparent") == (sent if kept else None)


def test_ids_are_logged_and_nothing_else_of_the_client(http, server, scored):
    http.get("/v1/models/canary-model?limit=1", headers={"X-Request-Id": "canary-id", "traceparent": TRACE, "User-Agent": "canary-agent"})
    http.post(scored, json={"rows": [{"user_id": "canary-user", "features": {"channel": "canary-value"}}]})
    time.sleep(0.2)
    lines = [json.loads(line) for line in server.log_path.read_text().splitlines()]
    ours = [line for line in lines if line.get("request_id") == "canary-id" and line["msg"] == "request"]
    assert len(ours) == 1 and ours[0]["traceparent"] == TRACE and ours[0]["route"] == "/v1/models/{model}" and ours[0]["status"] == 400
    text = server.log_path.read_text()
    for canary in ("canary-agent", "canary-user", "canary-value", "canary-model"):
        assert canary not in text


# ---- bodies ----

def predict(server, path, head, body=b""):
    return ask(server, b"POST %s HTTP/1.1\r\nHost: x\r\n%s\r\n" % (path.encode(), head) + body, timeout=30)


@pytest.mark.parametrize("over, status", [(-1, 404), (0, 404), (1, 413)])
def test_the_body_limit_is_exact(strict, over, status):
    body = b" " * (2000000 + over)
    assert predict(strict, "/v1/models/absent/predict", b"Content-Length: %d\r\n" % len(body), body)[0] == status
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(body[i:i + 65536]), body[i:i + 65536]) for i in range(0, len(body), 65536)) + b"0\r\n\r\n"
    assert predict(strict, "/v1/models/absent/predict", b"Transfer-Encoding: chunked\r\n", chunks)[0] == status


def test_a_body_that_is_announced_too_long_is_refused_before_it_is_sent(strict):
    with wire(strict) as w:
        w.send(b"POST /v1/models/m/predict HTTP/1.1\r\nHost: x\r\nContent-Length: 2000001\r\nExpect: 100-continue\r\n\r\n")
        status, headers, _ = w.reply()
        assert status == 413 and headers["connection"].lower() == "close" and w.rest() == b""


def test_an_expected_continue_comes_when_the_head_is_good(server):
    with wire(server) as w:
        w.send(b"POST /v1/models/absent/predict HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
        assert w.reply()[0] == 100
        w.send(b"{}")
        assert w.reply()[0] == 404


def test_an_endless_body_is_cut_with_an_answer(strict):
    chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"
    with wire(strict) as w:
        w.send(b"POST /v1/models/m/predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        try:
            for _ in range(2000):
                w.socket.sendall(chunk)
            raise AssertionError("125 MiB were taken")
        except OSError:
            pass
        reply = w.reply()
        assert reply is None or reply[0] == 413


ROWS = {"rows": [{"user_id": "u1", "features": {"x": 1, "y": 2, "channel": "app"}}]}


@pytest.mark.parametrize("coding", ["gzip", "x-gzip", "GZIP", "identity"])
def test_bodies_may_be_gzip(http, scored, coding):
    plain = json.dumps(ROWS).encode()
    body = plain if coding == "identity" else gzip.compress(plain)
    reply = http.post(scored, data=body, headers={"Content-Type": "application/json", "Content-Encoding": coding})
    assert reply.status_code == 200 and reply.text == http.post(scored, json=ROWS).text


def test_gzip_members_follow_one_another(http, scored):
    plain = json.dumps(ROWS).encode()
    body = gzip.compress(plain[:10]) + gzip.compress(plain[10:])
    assert http.post(scored, data=body, headers={"Content-Encoding": "gzip", "Content-Type": "application/json"}).status_code == 200


def broken_gzip():
    whole = gzip.compress(json.dumps(ROWS).encode())
    yield "cut short", whole[:-9]
    yield "cut in the checksum", whole[:-1]
    yield "wrong checksum", whole[:-8] + b"\0\0\0\0" + whole[-4:]
    yield "wrong length", whole[:-4] + b"\0\0\0\0"
    yield "not gzip", b'{"rows": []}'
    yield "zlib", zlib.compress(json.dumps(ROWS).encode())
    yield "bytes after", whole + b"x"
    yield "twice", gzip.compress(whole)
    yield "empty member", b"\x1f\x8b"


@pytest.mark.parametrize("body", [b for _, b in broken_gzip()], ids=[n for n, _ in broken_gzip()])
def test_broken_gzip_is_refused(http, scored, body):
    reply = http.post(scored, data=body, headers={"Content-Type": "application/json", "Content-Encoding": "gzip"})
    assert reply.status_code == 400 and reply.json()["code"] in ("bad_body", "not_json")


@pytest.mark.parametrize("coding", ["br", "deflate", "gzip, gzip", "zstd, gzip", "compress"])
def test_other_codings_are_not_supported(http, scored, coding):
    reply = http.post(scored, data=b"x", headers={"Content-Encoding": coding})
    assert reply.status_code == 415 and reply.headers["Accept-Encoding"] == "gzip, zstd"


def zstd(*blocks):
    """A frame (RFC 8878) of blocks that are bytes as they are, or (byte, how many); its window is 2 MiB."""
    frame = b"\x28\xb5\x2f\xfd\x00\x58"
    for i, block in enumerate(blocks):
        is_run = isinstance(block, tuple)
        size = block[1] if is_run else len(block)
        frame += (size << 3 | is_run << 1 | (i + 1 == len(blocks))).to_bytes(3, "little") + (block[0] if is_run else block)
    return frame


def test_bodies_may_be_zstd(http, scored):
    plain = json.dumps(ROWS).encode()
    headers = {"Content-Type": "application/json", "Content-Encoding": "zstd"}
    for body in (zstd(plain), zstd((b" ", 70000), plain[:30], plain[30:]), zstd(plain[:5]) + zstd(plain[5:])):
        reply = http.post(scored, data=body, headers=headers)
        assert reply.status_code == 200 and reply.text == http.post(scored, json=ROWS).text
    for body, why in ((zstd(plain)[:-1], "cut short"), (plain, "not zstd"), (gzip.compress(plain), "not zstd"), (zstd(plain) + b"x", "not zstd"), (b"", "")):
        reply = http.post(scored, data=body, headers=headers)
        assert reply.status_code == 400 and why in reply.json().get("detail", "")


def test_a_body_that_inflates_beyond_reason_is_refused(http, scored):
    bomb = zstd(*[(b" ", 131072)] * 300)
    reply = http.post(scored, data=bomb, headers={"Content-Type": "application/json", "Content-Encoding": "zstd"})
    assert reply.status_code == 413 and "500 times" in reply.json()["detail"]


def test_a_gzip_bomb_is_stopped_at_the_limit(strict):
    bomb = gzip.compress(b" " * 64_000_000)
    assert len(bomb) < 100_000
    head = b"Content-Encoding: gzip\r\nContent-Length: %d\r\n" % len(bomb)
    before = resident_kb(strict)
    assert predict(strict, "/v1/models/m/predict", head, bomb)[0] == 413
    assert resident_kb(strict) - before < 20_000 or conftest.os.environ.get("ASAN_OPTIONS")


def resident_kb(server):
    text = open(f"/proc/{server.process.pid}/status").read()
    return int(text.split("VmRSS:")[1].split()[0])


@pytest.mark.parametrize("n", [1, 100, 3000, 60000])
@pytest.mark.races
def test_replies_are_the_same_on_every_path_through_the_threads(http, scored, blobs, n):
    """Inline, on the pool, spooled; plain and gzip."""
    users = list(blobs.items())
    rows = [users[i % len(users)] for i in range(n)]
    body = json.dumps({"rows": [{"user_id": u, "features": f} for u, f in rows]})
    one = {p["user_id"]: p for p in http.post(scored, json={"rows": [{"user_id": u, "features": f} for u, f in users]}).json()["predictions"]}
    for headers in ({"Accept-Encoding": "identity"}, {"Accept-Encoding": "gzip"}):
        reply = http.post(scored, data=body, headers={"Content-Type": "application/json", **headers})
        assert reply.status_code == 200
        assert reply.json()["predictions"] == [one[u] for u, _ in rows]


@pytest.mark.parametrize("n", [1, 5000, 40000])
@pytest.mark.races
def test_streams_answer_every_line_in_order(http, scored, blobs, n):
    users = list(blobs.items())
    lines = "".join(json.dumps({"user_id": f"{i}", "features": users[i % len(users)][1]}) + "\n" for i in range(n))
    reply = http.post(scored, data=lines, headers={"Content-Type": "application/x-ndjson"}, stream=True)
    got = [json.loads(line) for line in reply.iter_lines(chunk_size=65536)]
    assert reply.headers["X-Model"] == "scored" and reply.headers["X-Model-Version"] == "1"
    assert [p["user_id"] for p in got] == [f"{i}" for i in range(n)] and {p["status"] for p in got} == {"ok"}


@pytest.mark.parametrize("n", [1, 60, 5000, 40000])
@pytest.mark.parametrize("kind", ["application/x-ndjson", "text/csv"])
def test_streams_are_gzip_when_asked(http, scored, kind, n):
    row = {"text/csv": b"1.5,-2.25,app\n", "application/x-ndjson": b'{"features": {"x": 1.5, "y": -2.25, "channel": "app"}}\n'}[kind]
    body = (b"x,y,channel\n" if kind == "text/csv" else b"") + row * n
    plain, packed = (http.post(scored, data=body, headers={"Content-Type": kind, "Accept-Encoding": coding}, stream=True) for coding in ("identity", "gzip"))
    plain_bytes, packed_bytes = plain.raw.read(decode_content=False), packed.raw.read(decode_content=False)
    assert plain.headers.get("Content-Encoding") is None and plain_bytes.count(b"\n") == n + (kind == "text/csv")
    assert packed.headers.get("Content-Encoding") == ("gzip" if len(plain_bytes) > 1024 else None)
    assert (gzip.decompress(packed_bytes) if len(plain_bytes) > 1024 else packed_bytes) == plain_bytes
    assert n == 1 or len(packed_bytes) < len(plain_bytes) / 3


def test_a_client_that_leaves_in_the_middle_of_a_stream_does_no_harm(server, http, scored):
    line = b'{"features": {"x": 1, "y": 2, "channel": "app"}}\n'
    body = line * 60000
    for _ in range(3):
        with wire(server) as w:
            w.send(b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-ndjson\r\nContent-Length: %d\r\n\r\n" % (scored.encode(), len(body)) + body)
            assert w.socket.recv(1000).startswith(b"HTTP/1.1 200")
    assert http.post(scored, json=ROWS).status_code == 200


def test_a_reader_that_stops_reading_is_cut(strict, scored):
    """The stream waits for the client, in constant memory, until the deadline of the reply."""
    def cut():
        with conftest.Http(strict) as session:
            return int(session.get("/metrics").text.split("\nsegmentd_http_connections_cut_total ")[1].split()[0])

    before = cut()
    body = b'{"features": {"x": 1, "y": 2, "channel": "app"}}\n' * 80000
    with wire(strict, timeout=20) as w:
        w.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        w.send(b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-ndjson\r\nContent-Length: %d\r\n\r\n" % (scored.encode(), len(body)) + body)
        deadline = time.monotonic() + 10
        while cut() == before:
            assert time.monotonic() < deadline
            time.sleep(0.2)


# ---- more work than there are workers ----

@pytest.fixture(scope="module")
def impatient(database, scored, tmp_path_factory):
    """One worker, no batch small enough for an I/O thread, 20 ms of patience."""
    options = "workers = 1\n[limits]\ninline_rows_max = 0\nscoring_wait_ms = 20\nrows_max = 1000000\n"
    s = conftest.Server(database, tmp_path_factory.mktemp("impatient"), options=options)
    s.start()
    yield s
    s.stop()
    s.check_log()


def test_a_batch_that_waits_too_long_is_refused_and_not_scored_late(impatient, scored):
    body = json.dumps({"rows": ROWS["rows"] * 5000}).encode()

    def post(_):
        with conftest.Http(impatient) as http:
            reply = http.post(scored, data=body, headers={"Content-Type": "application/json"})
            return reply.status_code, reply.headers.get("Retry-After"), reply.json()

    with concurrent.futures.ThreadPoolExecutor(40) as pool:
        replies = list(pool.map(post, range(200)))
    assert {status for status, _, _ in replies} == {200, 503}
    for status, retry_after, document in replies:
        if status == 503:
            assert retry_after and document["code"] == "busy" and "wait" in document["detail"]
        else:
            assert len(document["predictions"]) == 5000 * len(ROWS["rows"])
    assert post(0)[0] == 200, "it recovers"


def test_a_head_that_waits_is_refused_before_its_body_is_sent(impatient, scored):
    """Clients that expect a continue never send a body that is not wanted."""
    big = json.dumps({"rows": ROWS["rows"] * 400000}).encode()
    head = b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n" % (scored.encode(), len(big))

    def busy():
        while not stop.is_set():
            ask(impatient, head + b"\r\n" + big)

    stop = threading.Event()
    threads = [threading.Thread(target=busy) for _ in range(3)]
    for t in threads:
        t.start()
    try:
        deadline, status = time.monotonic() + 30, 0
        while status != 503 and time.monotonic() < deadline:
            with wire(impatient) as w:
                w.send(head + b"Expect: 100-continue\r\n\r\n")
                status, headers, _ = w.reply()
        assert status == 503 and "retry-after" in headers
    finally:
        stop.set()
        for t in threads:
            t.join()


def test_short_replies_are_not_compressed_and_long_ones_only_when_asked(server, scored, blobs):
    def get(n, accept):
        body = json.dumps({"rows": [{"features": {"x": 1, "y": 2, "channel": "app"}}] * n}).encode()
        head = b"Content-Type: application/json\r\nAccept-Encoding: %s\r\nContent-Length: %d\r\n" % (accept, len(body))
        return predict(server, scored, head, body)[1].get("content-encoding")

    assert get(1, b"gzip") is None and get(50, b"gzip") == "gzip" and get(50, b"identity") is None and get(3000, b"gzip") == "gzip"


# ---- the database ----

@pytest.mark.races
def test_a_hanging_database_slows_no_prediction_and_piles_nothing_up(strict, scored, database):
    with conftest.Http(strict) as http, database.paused():
        began = time.monotonic()
        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            asked = [pool.submit(http_get, strict, "/v1/models") for _ in range(16)]
            time.sleep(0.5)
            worst = 0
            for _ in range(50):
                start = time.monotonic()
                assert http.post(scored, json=ROWS, timeout=5).status_code == 200
                worst = max(worst, time.monotonic() - start)
            assert worst < 1
            assert {a.result() for a in asked} == {503}
            assert time.monotonic() - began < 12  # 5 s in the queue, or the statement's 2 s and 2 s of grace
    deadline = time.monotonic() + 20
    while http_get(strict, "/v1/models") != 200:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def http_get(server, path):
    with conftest.Http(server) as session:
        return session.get(path, timeout=120).status_code


@pytest.mark.races
def test_many_clients_mix_every_kind_of_route(server, http, scored):
    faults = []

    def client(k):
        with conftest.Http(server) as session:
            for i in range(30):
                kind = (i + k) % 5
                if kind == 0:
                    ok = session.post(scored, json=ROWS).status_code == 200
                elif kind == 1:
                    ok = session.get("/v1/models").status_code == 200
                elif kind == 2:
                    ok = session.get("/nowhere").status_code == 404
                elif kind == 3:
                    ok = session.post(scored, json={"rows": ROWS["rows"] * 2000}).status_code == 200
                else:
                    ok = session.get("/openapi.json").status_code == 200
                if not ok:
                    faults.append((k, i, kind))

    threads = [threading.Thread(target=client, args=(k,)) for k in range(12)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert faults == []
