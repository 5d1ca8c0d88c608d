"""Health, metrics and the ends of a process' life."""
import re
import threading
import time

import pytest

import conftest
from raw import wire


def test_alive_says_nothing_about_the_database(http, database):
    with database.paused():
        start = time.monotonic()
        assert http.get("/livez", timeout=5).json() == {"status": "alive"}
        assert time.monotonic() - start < 0.5


def test_ready_tells_more_when_asked(http):
    assert http.get("/readyz").json() == {"status": "ready", "database": "up"}
    assert http.get("/readyz?verbose").json()["models"] == http.get("/readyz?verbose=true").json()["models"] == 0
    assert http.get("/readyz?verbose=maybe").status_code == 400


def test_metrics_are_well_formed_and_count_requests(http):
    def count():
        found = re.search(r'segmentd_requests_total\{route="/livez",method="GET",status="200"\} (\d+)', http.get("/metrics").text)
        return int(found.group(1)) if found else 0

    before = count()
    for _ in range(5):
        http.get("/livez")
    time.sleep(0.1)
    assert count() == before + 5
    reply = http.get("/metrics")
    assert reply.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    for line in reply.text.splitlines():
        assert re.fullmatch(r"# (HELP|TYPE) \w+ .+|\w+(\{[^{}]*\})? [-+.e0-9naif]+", line), line


def test_metrics_never_carry_what_a_client_made_up(http):
    http.get("/made-up-path")
    http.get("/v1/models/made-up-model")
    time.sleep(0.1)
    assert "made-up" not in http.get("/metrics").text


@pytest.fixture
def other(database, tmp_path):
    """A server of its own, to be stopped by the test."""
    s = conftest.Server(database, tmp_path)
    s.start()
    yield s
    if s.process.poll() is None:
        s.kill()
    s.check_log()


def test_a_request_in_flight_is_answered_when_the_server_stops(other):
    body = b'{"columns": [{"name": "a", "type": "numeric"}]}'
    with wire(other) as w:
        w.send(b"PUT /v1/feature-sets/late HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body))
        time.sleep(0.2)
        other.process.terminate()
        time.sleep(0.3)
        w.send(body)
        status, headers, _ = w.reply()
        assert status in (201, 503) and headers["connection"].lower() == "close"
    assert other.process.wait(timeout=15) == 0


def test_a_stop_under_load_loses_no_request_that_was_taken(other):
    faults = []

    def client():
        with conftest.Http(other) as session:
            while True:
                try:
                    reply = session.get("/livez", timeout=10)
                except conftest.requests.ConnectionError:
                    return  # not taken any more
                if reply.status_code != 200 or reply.json() != {"status": "alive"}:
                    faults.append(reply.text)

    threads = [threading.Thread(target=client) for _ in range(8)]
    for t in threads:
        t.start()
    time.sleep(0.5)
    other.process.terminate()
    assert other.process.wait(timeout=15) == 0
    for t in threads:
        t.join(timeout=15)
        assert not t.is_alive()
    assert faults == []


def test_idle_connections_do_not_hold_up_a_stop(other):
    with wire(other) as a, wire(other) as b:
        a.send(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n").reply()
        b.send(b"GET /li")
        start = time.monotonic()
        other.process.terminate()
        assert other.process.wait(timeout=15) == 0
        assert time.monotonic() - start < 13
