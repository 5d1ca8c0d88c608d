"""Connections: where they come in, how many there may be, and how long a client may take to say what it wants."""
import concurrent.futures
import contextlib
import json
import os
import pathlib
import re
import signal
import socket
import threading
import time

import pytest

import conftest
from raw import ask, wire

GET = b"GET /livez HTTP/1.1\r\nHost: x\r\n"


def test_unix_sockets_are_served_and_removed(database, tmp_path):
    s = conftest.Server(database, tmp_path)
    path = tmp_path / "segmentd.sock"
    s.config_path.write_text(s.config_path.read_text().replace("listen = 127.0.0.1:0", f"listen = unix:{path}"))
    process = conftest.subprocess.Popen([conftest.BINARY, "--config", str(s.config_path)], stderr=conftest.subprocess.DEVNULL)
    try:
        for _ in range(200):
            if path.exists():
                break
            time.sleep(0.05)
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(10)
            client.connect(str(path))
            client.sendall(GET + b"Connection: close\r\n\r\n")
            assert client.recv(100).startswith(b"HTTP/1.1 200")
    finally:
        process.terminate()
        assert process.wait(timeout=15) == 0
    assert not path.exists()


def test_threads_that_read_requests_share_no_processor(server):
    deadline, tasks = time.monotonic() + 5, []
    while len(tasks) < 3 and time.monotonic() < deadline:  # a thread tells its name when it runs first
        tasks = [t for t in pathlib.Path(f"/proc/{server.process.pid}/task").iterdir() if (t / "comm").read_text().strip() in ("seg-io", "seg-probes")]
    masks = sorted((os.sched_getaffinity(int(t.name)) for t in tasks), key=len)
    everything = os.sched_getaffinity(0)
    if len(everything) < 2:
        pytest.skip("there is one processor")
    assert len(masks) == 3  # the last takes the probes, wherever it is let
    assert masks[0] | masks[1] == masks[2] == everything and not masks[0] & masks[1]


@pytest.mark.parametrize("n_files", [128, 256, 512])
def test_refused_connections_leave_files_for_those_that_are_served(database, tmp_path, n_files):
    s = conftest.Server(database, tmp_path)
    process = conftest.subprocess.Popen(["prlimit", f"--nofile={n_files}:{n_files}", conftest.BINARY, "--config", str(s.config_path)], stderr=conftest.subprocess.PIPE, text=True)
    try:
        lines = iter(process.stderr.readline, "")
        s.port = next(int(found[1]) for line in lines if (found := re.search(r'"listening","address":"127.0.0.1:(\d+)"', line)))
        log = []
        reader = threading.Thread(target=log.extend, args=(lines,))
        reader.start()
        folder = pathlib.Path(f"/proc/{process.pid}/fd")
        with contextlib.ExitStack() as stack:
            held = [stack.enter_context(wire(s)).send(GET.replace(b"/livez", b"/v1/models") + b"\r\n") for _ in range(n_files)]
            answers = [w.reply()[0] for w in held]
            for _ in range(300):
                with wire(s) as w:
                    assert w.send(GET.replace(b"/livez", b"/v1/models") + b"\r\n").reply()[0] == 503
            assert n_files // 4 < answers.count(200) < n_files and answers.count(503) + answers.count(200) == n_files
            assert len(list(folder.iterdir())) < n_files - 10
            assert ask(s, GET + b"\r\n")[0] == 200
    finally:
        process.terminate()
        assert process.wait(timeout=15) == 0
    reader.join()
    assert not [line for line in log if "cannot accept" in line]
    assert sum("connections refused" in line for line in log) == 1


def test_an_address_in_use_is_a_failed_start_and_not_a_hang(database, server, tmp_path):
    s = conftest.Server(database, tmp_path)
    s.config_path.write_text(s.config_path.read_text().replace("127.0.0.1:0", f"127.0.0.1:{server.port}"))
    done = conftest.subprocess.run([conftest.BINARY, "--config", str(s.config_path)], capture_output=True, text=True, timeout=30)
    assert done.returncode != 0 and "Address already in use" in done.stderr


@contextlib.contextmanager
def standing_still(s):
    """What clients do meanwhile has come all at once when the process goes on."""
    s.process.send_signal(signal.SIGSTOP)
    os.waitpid(s.process.pid, os.WUNTRACED)
    try:
        yield
    finally:
        s.process.send_signal(signal.SIGCONT)


@contextlib.contextmanager
def server_of(database, folder, io_threads):
    s = conftest.Server(database, folder, f"[http]\nio_threads = {io_threads}\n")
    s.start()
    try:
        yield s
    finally:
        s.stop()
    s.check_log()


@pytest.mark.parametrize("n", [127, 128, 129, 512])  # libmicrohttpd asks the kernel for 128 events at a time
def test_requests_that_come_at_one_moment_are_answered_however_many(database, tmp_path, n):
    request = GET.replace(b"/livez", b"/nowhere") + b"\r\n"
    with server_of(database, tmp_path, 1) as s, contextlib.ExitStack() as stack:
        clients = [stack.enter_context(wire(s, timeout=5)) for _ in range(n)]
        for w in clients:
            assert w.send(request).reply()[0] == 404
        time.sleep(0.2)  # the thread waits for what comes next
        with standing_still(s):
            for w in clients:
                w.send(request)
        assert [w.reply()[0] for w in clients] == [404] * n


def test_connections_that_come_at_one_moment_are_all_let_in(database, tmp_path):
    request = GET.replace(b"/livez", b"/nowhere") + b"\r\n"
    with server_of(database, tmp_path, 1) as s, contextlib.ExitStack() as stack:
        with standing_still(s):
            clients = [stack.enter_context(wire(s)).send(request) for _ in range(700)]
        assert [w.reply()[0] for w in clients] == [404] * 700


def watched_sockets(pid):
    """How many connections each thread has that has any."""
    found = []
    for fd in pathlib.Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):  # closed meanwhile
            if "eventpoll" in os.readlink(fd):
                found.append(pathlib.Path(f"/proc/{pid}/fdinfo/{fd.name}").read_text().count("tfd:"))
    return sorted(n for n in found if n > 0)


def test_clients_that_come_again_all_at_once_are_spread_over_the_threads(database, tmp_path):
    request = GET.replace(b"/livez", b"/nowhere") + b"\r\n"
    with server_of(database, tmp_path, 2) as s:
        for _ in range(5):
            with contextlib.ExitStack() as stack:
                gone = contextlib.ExitStack()
                for w in [gone.enter_context(wire(s, timeout=5)) for _ in range(40)]:
                    assert w.send(request).reply()[0] == 404
                with standing_still(s):  # so that the threads learn late who has gone
                    gone.close()
                    clients = [stack.enter_context(wire(s, timeout=5)).send(request) for _ in range(40)]
                assert [w.reply()[0] for w in clients] == [404] * 40
                deadline, shares = time.monotonic() + 5, []
                while sum(shares) != 40 and time.monotonic() < deadline:
                    time.sleep(0.02)
                    shares = watched_sockets(s.process.pid)
                assert len(shares) == 2 and sum(shares) == 40 and shares[0] >= 16, shares


@pytest.fixture
def idle(strict):
    """The server with small limits, once the connections of the test before are closed: they count until then."""
    for _ in range(200):
        metrics = ask(strict, GET.replace(b"/livez", b"/metrics") + b"\r\n", timeout=5)[2]
        if re.search(rb"^segmentd_http_connections 1$", metrics, re.M):  # the one that asks
            time.sleep(0.2)
            return strict
        time.sleep(0.02)
    raise AssertionError("connections stay open")


def test_surplus_connections_are_told_to_come_later_and_others_are_served(idle):
    held = [socket.create_connection(("127.0.0.1", idle.port), timeout=5) for _ in range(20)]
    try:
        for s in held:
            s.sendall(GET.replace(b"/livez", b"/v1/models") + b"\r\n")
            assert s.recv(100).startswith(b"HTTP/1.1 200")
        status, headers, body = ask(idle, GET.replace(b"/livez", b"/v1/models") + b"\r\n", timeout=5)
        assert status == 503 and "retry-after" in headers and headers["connection"].lower() == "close" and b'"busy"' in body
    finally:
        for s in held:
            s.close()
    time.sleep(0.5)
    assert ask(idle, GET + b"\r\n")[0] == 200


def test_every_connection_of_a_flood_is_answered_and_the_server_lives_on(idle):
    body = b"x" * 30000
    request = b"POST /v1/models/none/predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    with contextlib.ExitStack() as stack:
        flood = [stack.enter_context(wire(idle)).send(request) for _ in range(400)]
        answers = [w.reply() for w in flood]
    told = [a for a in answers if a[0] == 503]
    assert len(told) == 380 and sum(a[0] == 404 for a in answers) == 20
    for _, headers, body in told:
        problem = json.loads(body)
        assert int(headers["retry-after"]) > 0 and headers["connection"] == "close" and headers["x-request-id"] == problem["request_id"]
        assert problem["code"] == "busy"
    assert len({headers["x-request-id"] for _, headers, _ in told}) == 380
    time.sleep(0.5)
    assert ask(idle, GET.replace(b"/livez", b"/v1/models") + b"\r\n", timeout=5)[0] == 200


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/metrics", "/v2/health/live"])
def test_probes_are_answered_when_the_connections_are_used_up(idle, path):
    held = [socket.create_connection(("127.0.0.1", idle.port), timeout=5) for _ in range(25)]
    try:
        for s in held:
            s.sendall(b"POST /v1/models/m/predict HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n")
        time.sleep(0.2)
        assert ask(idle, GET.replace(b"/livez", path.encode()) + b"\r\n", timeout=5)[0] == 200
        status, headers, _ = ask(idle, GET.replace(b"/livez", b"/v1/models") + b"\r\n", timeout=5)
        assert status == 503 and "retry-after" in headers
    finally:
        for s in held:
            s.close()
    time.sleep(0.5)


def test_probes_are_too_many_at_some_time_as_well(idle):
    with contextlib.ExitStack() as stack:
        flood = [stack.enter_context(wire(idle)).send(GET + b"\r\n") for _ in range(100)]
        answers = [w.reply()[0] for w in flood]
    assert answers.count(200) == 64 + 20 and answers.count(503) == 16  # their own places, then those of all
    time.sleep(0.5)
    assert ask(idle, GET + b"\r\n", timeout=5)[0] == 200


def test_what_is_no_probe_comes_again_by_another_connection(server):
    with wire(server) as w:
        assert w.send(GET + b"\r\n").reply()[0] == 200
        status, headers, _ = w.send(GET.replace(b"/livez", b"/v1/models") + b"\r\n").reply()
        assert status == 200 and headers["connection"].lower() == "close" and w.rest() == b""


def processor_ticks(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def test_clients_that_are_waited_for_cost_no_processor_time(server):
    predict = b"POST /v1/models/m/predict HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n"
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(wire(server)) for _ in range(40)]
        for i, w in enumerate(clients[:30]):
            w.send([GET, predict, predict + b"x" * 500][i % 3])
        for w in clients[30:]:
            assert w.send(GET.replace(b"/livez", b"/nowhere") + b"\r\n").reply()[0] == 404
        with server.database.paused():
            for w in clients[30:35]:  # suspended
                w.send(GET.replace(b"/livez", b"/v1/models") + b"\r\n")
            time.sleep(0.5)
            before = processor_ticks(server.process.pid)
            time.sleep(1)
            assert processor_ticks(server.process.pid) - before < 0.2 * os.sysconf("SC_CLK_TCK")
        assert [w.reply()[0] for w in clients[30:35]] == [200] * 5


def drip(server, first, byte, seconds):
    """Seconds until the server cut a client that sends a byte each 0.2 s; None when it never did."""
    start = time.monotonic()
    with wire(server) as w:
        w.socket.setblocking(True)
        w.socket.sendall(first)
        w.socket.settimeout(0.2)
        while time.monotonic() - start < seconds:
            try:
                if w.socket.recv(1000) == b"":
                    return time.monotonic() - start
            except TimeoutError:
                pass
            except ConnectionResetError:
                return time.monotonic() - start
            try:
                w.socket.sendall(byte)
            except OSError:
                return time.monotonic() - start
    return None


@pytest.mark.parametrize("first, byte, limit_s", [
    (b"", b"G", 1), (b"GET /livez HTTP/1.1\r\n", b"x", 1), (GET, b"x", 1),
    (b"POST /v1/models/m/predict HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n", b"x", 2),
    (b"POST /v1/models/m/predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n", 2)],
    ids=["request line", "header name", "header", "body", "chunks"])
def test_a_client_that_drips_is_cut_at_the_deadline(strict, first, byte, limit_s):
    took = drip(strict, first, byte, 8)
    assert took is not None and took < limit_s + 1.5


def test_a_second_request_that_drips_is_cut_too(strict):
    assert drip(strict, GET + b"\r\n" + GET, b"x", 8) is not None


def test_others_are_served_while_many_drip(strict):
    with concurrent.futures.ThreadPoolExecutor(10) as pool:
        slow = [pool.submit(drip, strict, GET, b"x", 5) for _ in range(10)]
        time.sleep(0.3)
        start = time.monotonic()
        assert ask(strict, GET + b"\r\n")[0] == 200
        assert time.monotonic() - start < 0.5
        assert all(s.result() is not None for s in slow)
