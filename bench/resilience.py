"""What scoring keeps while something else goes wrong: training, a dead database, overload, champions that change, a body of a million rows.

usage: bench/run.py resilience [NAME...]; needs wrk. Each section prints its figure beside the goal.
"""
import contextlib
import json
import os
import pathlib
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import serve  # noqa: E402

SECONDS = 2 if serve.QUICK else 10
PREDICT = "/v1/models/mlp/predict"


def rss_mb(pid):
    return int(re.search(r"VmRSS:\s+(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text()).group(1)) / 1024


def print_figure(what, figure, goal):
    print(f"  {what}: {figure} (goal {goal})", flush=True)


def single_row(base, bodies, seconds=SECONDS):
    return serve.drive(base + PREDICT, bodies.make("named", 1), 4, seconds)


def idle_p99(base, bodies):
    return statistics.median(single_row(base, bodies, 2)["p99"] for _ in range(3))


def memory(base, pid, bodies):
    """1,000,000 rows of NDJSON in one request, sent and read at the same time."""
    line = pathlib.Path(bodies.make("ndjson", 1)[0]).read_bytes()
    block, n_blocks = line * 1000, 1000
    serve.drive(base + PREDICT, bodies.make("ndjson", 1000), 2, 1)
    before = rss_mb(pid)
    host, port = base.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as s:
        s.sendall((f"POST {PREDICT} HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-ndjson\r\nContent-Length: {len(block) * n_blocks}\r\n"
                   "Connection: close\r\n\r\n").encode())
        sender = threading.Thread(target=lambda: [s.sendall(block) for _ in range(n_blocks)])
        start = time.monotonic()
        sender.start()
        peak, n_lines, size = before, 0, 0
        while True:
            piece = s.recv(1 << 20)
            if not piece:
                break
            n_lines += piece.count(b'"status":"ok"')
            size += len(piece)
            if size > 20 << 20:
                peak, size = max(peak, rss_mb(pid)), 0
        sender.join()
        took = time.monotonic() - start
    print_figure("1,000,000 rows of NDJSON", f"{max(peak, rss_mb(pid)) - before:.1f} MiB more in {took:.1f} s, about {n_lines:,} answers", "under 32 MiB")


def training(base, pid, bodies):
    idle = idle_p99(base, bodies)
    spec = {"feature_set": "bench", "features": [f"f{i}" for i in range(serve.D)], "promote": "never", "task": "classification", "target": "kind",
            "algorithm": {"type": "mlp", "hidden": [512, 256], "epochs": 5000, "patience": 0, "batch_size": 512}}
    job = serve.call(base, "POST", "/v1/models/mlp/train", spec)
    while serve.call(base, "GET", f"/v1/jobs/{job['id']}")["progress"] < 0.21:
        time.sleep(0.05)
    busy = statistics.median(single_row(base, bodies, 2)["p99"] for _ in range(3))
    state = serve.call(base, "GET", f"/v1/jobs/{job['id']}")["state"]
    serve.call(base, "POST", f"/v1/jobs/{job['id']}/cancel")
    assert state == "running", state
    print_figure("p99 while training saturates the pool", f"{busy:.2f} ms, {busy / idle:.1f} x the idle {idle:.2f} ms", "3 x")


def postgres_pids():
    master = int(pathlib.Path(os.environ["SEGMENTD_TEST_PGDATA"], "postmaster.pid").read_text().split()[0])
    return [master, *serve.children(master)]


def dead_database(base, pid, bodies):
    idle = idle_p99(base, bodies)
    stopped = postgres_pids()
    for p in stopped:
        os.kill(p, signal.SIGSTOP)
    hanging = []
    try:
        host, port = base.removeprefix("http://").split(":")
        for _ in range(50):
            s = socket.create_connection((host, int(port)))
            s.sendall(b"GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n")
            hanging.append(s)
        r = single_row(base, bodies, 5 if serve.QUICK else 30)
    finally:
        for p in stopped:
            os.kill(p, signal.SIGCONT)
        for s in hanging:
            s.close()
    print_figure("p99 while PostgreSQL is stopped dead", f"{r['p99']:.2f} ms, {r['p99'] / idle:.1f} x the idle {idle:.2f} ms; {r['failed']} of {r['requests']:,} failed",
                 "1.5 x, 0 failed")


def overload(base, pid, bodies):
    """1,000 clients that together ask for four times what can be served. The load generator has the same two cores: what it sends for nothing costs goodput too."""
    for n in (100, 1000):
        body = bodies.make("columnar", n)
        peak = statistics.median(serve.drive(base + PREDICT, body, 16, 2)["rate"] for _ in range(3))
        live, stop = [], threading.Event()

        def watch():
            while not stop.is_set():
                start = time.monotonic()
                with contextlib.suppress(OSError):
                    urllib.request.urlopen(base + "/livez", timeout=10).read()
                    live.append(time.monotonic() - start)
                time.sleep(0.05)

        watcher = threading.Thread(target=watch)
        watcher.start()
        r = serve.drive(base + PREDICT, body, 1000, 5 if serve.QUICK else 60, delay_ms=1000 * 1000 / (4 * peak))
        stop.set()
        watcher.join()
        good = r["rate"] - r["failed"] / r["seconds"]
        live.sort()
        print_figure(f"goodput at four times the load, {n} rows", f"{good:,.0f} of {peak:,.0f} requests/s = {good / peak:.0%}; "
                     f"{r['failed'] / r['seconds']:,.0f}/s refused, {r['broken']} broken", "80 %")
        print_figure("/livez meanwhile", f"p99 {live[int(len(live) * 0.99) - 1] * 1e3:.0f} ms, worst {live[-1] * 1e3:.0f} ms", "100 ms")


def switches(base, pid, bodies):
    """Two versions whose classes differ in name: an answer that mixes them would show."""
    spec = {"feature_set": "bench", "features": [f"f{i}" for i in range(serve.D)], "promote": "never", "algorithm": {"type": "kmeans", "k": 3, "n_init": 1}}
    versions = []
    for k in (3, 5):
        spec["algorithm"]["k"] = k
        job = serve.call(base, "POST", "/v1/models/switched/train", spec)
        while job["state"] not in ("succeeded", "failed"):
            time.sleep(0.05)
            job = serve.call(base, "GET", f"/v1/jobs/{job['id']}")
        versions.append(job["version"])
    serve.call(base, "PUT", "/v1/models/switched/aliases/champion", {"version": versions[0]})
    rows = json.loads(bodies.make("columnar", 100)[0].read_text())
    answers = {}
    for version in versions:
        got = serve.call(base, "POST", f"/v1/models/switched/predict?version={version}", rows)
        answers[version] = [p["segment"] for p in got["predictions"]]
    before = rss_mb(pid)
    stop, seen, wrong, failed = threading.Event(), [], [], []

    def ask():
        while not stop.is_set():
            try:
                got = serve.call(base, "POST", "/v1/models/switched/predict", rows)
                seen.append(got["version"])
                if [p["segment"] for p in got["predictions"]] != answers[got["version"]]:
                    wrong.append(got["version"])
            except OSError as e:
                failed.append(e)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for t in threads:
        t.start()
    for i in range(100):
        serve.call(base, "PUT", "/v1/models/switched/aliases/champion", {"version": versions[i % 2]})
        time.sleep(0.02)
    stop.set()
    for t in threads:
        t.join()
    changes = sum(a != b for a, b in zip(seen, seen[1:]))
    print_figure("100 switches of champion under load", f"{len(failed)} failed, {len(wrong)} mixed of {len(seen):,} answers ({changes} changes seen)", "0, 0")
    print_figure("resident memory after them", f"{rss_mb(pid):.1f} of {before:.1f} MB, {rss_mb(pid) / before - 1:+.1%}", "within 5 %")


SECTIONS = {"memory": memory, "training": training, "database": dead_database, "switches": switches, "overload": overload}


def main():
    names = [a for a in sys.argv[1:] if not a.startswith("-")] or list(SECTIONS)
    with tempfile.TemporaryDirectory() as folder, serve.segmentd(folder) as (base, pids):
        bodies = serve.Bodies(folder)
        for name in names:
            SECTIONS[name](base, pids[0], bodies)
    return 0


if __name__ == "__main__":
    sys.exit(main())
