"""Scoring under load: segmentd, FastAPI with PyTorch (plain and tuned by hand) and the limit, driven by wrk.

usage: bench/run.py serve [--quick] [--only FORM-ROWS[-CONNECTIONS]]… [--peers NAME]…, as in --only columnar-100 --only binary-100-16 --peers limit;
needs wrk, python3-fastapi, python3-uvicorn and python3-torch. --peers: FastAPI, tuned or limit, all by default. Contestants take turns of a second, one at a time, TURNS of each in a round; medians of ROUNDS rounds,
of their ratios within a round too; in each all but the FastAPIs are new processes. All share the machine's two cores with wrk. limit, echo and bare are libmicrohttpd with the same decoder of JSON, or with raw float32 (echo.c): the limit sends an answer that was made at the start,
echo writes one of the same length with shares of each row's first numbers, bare has a network's outputs in it.
"""
import contextlib
import json
import os
import pathlib
import random
import re
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
BINARY = os.environ.get("SEGMENTD_BIN", str(ROOT / "build/server/segmentd"))
ECHO = os.environ.get("SEGMENTD_ECHO", str(ROOT / "build-bench/bench/bench_echo"))
URL = os.environ["SEGMENTD_TEST_DATABASE_URL"]
PYTHON = "/usr/bin/python3"
D = 20
QUICK = "--quick" in sys.argv
ONLY = [sys.argv[i + 1] for i, word in enumerate(sys.argv[:-1]) if word == "--only"]
PEERS = [sys.argv[i + 1] for i, word in enumerate(sys.argv[:-1]) if word == "--peers"]
ROUNDS, TURNS = (1, 1) if QUICK else (5, 3)
BODIES = 32
TICK = os.sysconf("SC_CLK_TCK")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def call(base, method, path, body=None, kind="application/json"):
    data = body if isinstance(body, (bytes, type(None))) else json.dumps(body).encode()
    request = urllib.request.Request(base + path, method=method, data=data, headers={"Content-Type": kind})
    return json.load(urllib.request.urlopen(request, timeout=120))


@contextlib.contextmanager
def serving(config):
    """A server with the models that its database has, ready."""
    process = subprocess.Popen([BINARY, "--config", config], stderr=subprocess.PIPE, text=True)
    found = next(filter(None, (re.search(r'"msg":"listening","address":"([^"]+)"', line) for line in process.stderr)), None)
    if found is None:
        raise RuntimeError(f"segmentd does not start: it ended with {process.wait()}")
    base = "http://" + found.group(1)
    drain = subprocess.Popen(["cat"], stdin=process.stderr, stdout=subprocess.DEVNULL)
    try:
        for _ in range(500):
            with contextlib.suppress(OSError):  # 503 until its models are in memory
                call(base, "GET", "/readyz")
                break
            time.sleep(0.02)
        else:
            raise RuntimeError("segmentd is not ready after 10 s")
        yield base, [process.pid]
    finally:
        process.terminate()
        process.wait()
        drain.wait()


def train(base):
    """Two models of the same 20 features: an MLP of 20-64-32-4 and k-means with k = 8."""
    rng = random.Random(1)
    lines = [",".join([f"f{i}" for i in range(D)] + ["kind"])]
    lines += [",".join([f"{rng.gauss(c if i < 4 else 0, 1):.4f}" for i in range(D)] + ["abcd"[c]]) for c in range(4) for _ in range(2000)]
    call(base, "POST", "/v1/feature-sets/bench/rows", "\n".join(lines).encode(), "text/csv")
    features = [f"f{i}" for i in range(D)]
    for model, spec in (("mlp", {"task": "classification", "target": "kind", "algorithm": {"type": "mlp", "hidden": [64, 32], "epochs": 5}}),
                        ("kmeans", {"algorithm": {"type": "kmeans", "k": 8, "n_init": 1}})):
        job = call(base, "POST", f"/v1/models/{model}/train", {"feature_set": "bench", "features": features, "promote": "always", **spec})
        while job["state"] not in ("succeeded", "failed"):
            time.sleep(0.05)
            job = call(base, "GET", f"/v1/jobs/{job['id']}")
        assert job["state"] == "succeeded", job


def configure(folder):
    """The file that serving takes, and a database in which there are the tables."""
    config = pathlib.Path(folder, "segmentd.ini")
    config.write_text(f"[http]\nlisten = 127.0.0.1:0\n[database]\nurl = {URL}\n")
    subprocess.run([BINARY, "migrate", "up", "--config", config], check=True, stdout=subprocess.DEVNULL)
    return config


@contextlib.contextmanager
def segmentd(folder):
    """A server that has trained both."""
    with serving(configure(folder)) as server:
        train(server[0])
        yield server


@contextlib.contextmanager
def fastapi(app, workers):
    port = free_port()
    process = subprocess.Popen([PYTHON, "-m", "uvicorn", "fastapi_app:app", "--port", str(port), "--workers", str(workers), "--log-level", "warning", "--no-access-log"],
                               cwd=ROOT / "bench", env={**os.environ, "APP": app}, stderr=subprocess.DEVNULL)
    base = f"http://127.0.0.1:{port}"
    try:
        for _ in range(300):
            time.sleep(0.1)
            with contextlib.suppress(OSError):
                call(base, "POST", "/predict", {"columns": [], "data": [[0.0] * D]})
                break
        yield base, [process.pid, *children(process.pid)]
    finally:
        process.terminate()
        process.wait()


@contextlib.contextmanager
def echo():
    process = subprocess.Popen([ECHO, str(D), "160", "18"], stdout=subprocess.PIPE, text=True)
    try:
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}", [process.pid]
    finally:
        process.terminate()
        process.wait()


def children(pid):
    stats = [p.read_text() for p in pathlib.Path("/proc").glob("[0-9]*/stat")]
    return [int(s.split()[0]) for s in stats if int(s.rpartition(")")[2].split()[1]) == pid]


def cpu_seconds(pids):
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            total += int(fields[11]) + int(fields[12])
    return total / TICK


class Bodies:
    """Random rows in every form: BODIES different bodies of each, so that no processor learns their digits by heart."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)

    @staticmethod
    def text(form, rows):
        """A body, and the length of its header."""
        names = [f"f{i}" for i in range(D)]
        if form == "named":
            return json.dumps({"rows": [{"features": dict(zip(names, r))} for r in rows]}, separators=(",", ":")).encode(), None
        if form == "columnar":
            return json.dumps({"columns": names, "data": rows}, separators=(",", ":")).encode(), None
        if form == "ndjson":
            return "".join(json.dumps({"features": dict(zip(names, r))}, separators=(",", ":")) + "\n" for r in rows).encode(), None
        if form == "csv":
            return (",".join(names) + "\n" + "".join(",".join(map(repr, r)) + "\n" for r in rows)).encode(), None
        raw = struct.pack(f"<{len(rows) * D}f", *(v for r in rows for v in r))
        head = json.dumps({"inputs": [{"name": "features", "datatype": "FP32", "shape": [len(rows), D], "parameters": {"binary_data_size": len(raw)}}],
                           "outputs": [{"name": "probabilities", "parameters": {"binary_data": True}}]}).encode()
        return head + raw, str(len(head))

    def make(self, form, n):
        """(file of the first, media type, length of the header); the others' files end in .1, .2 and so on."""
        path = self.folder / f"{form}-{n}"
        rng = random.Random(7)
        for i in range(BODIES):
            body, length = self.text(form, [[round(rng.gauss(0, 1), 4) for _ in range(D)] for _ in range(n)])
            pathlib.Path(f"{path}.{i}" if i > 0 else path).write_bytes(body)
        kind = {"ndjson": "application/x-ndjson", "csv": "text/csv", "binary": "application/octet-stream"}.get(form, "application/json")
        return path, kind, length


def drive(url, body, connections, seconds=1, delay_ms=0):
    """delay_ms: how long a connection waits before each request."""
    path, kind, length = body
    env = {**os.environ, "BODY": str(path), "TYPE": kind, "DELAY_MS": str(int(delay_ms)), **({"HEADER_LENGTH": length} if length else {})}
    out = subprocess.run(["wrk", "-t2" if connections > 1 else "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s", "-s", ROOT / "bench/post.lua", url],
                         env=env, capture_output=True, text=True, check=True).stdout
    took, requests, refused, broken, p50, p99 = re.search(r"RESULT (\S+) (\d+) (\d+) (\d+) (\d+) (\d+)", out).groups()
    return {"rate": int(requests) / float(took), "failed": int(refused) + int(broken), "broken": int(broken), "p50": int(p50) / 1e3, "p99": int(p99) / 1e3,
            "requests": int(requests), "seconds": float(took)}


PREDICT = {"segmentd": "/v1/models/mlp/predict", "k-means": "/v1/models/kmeans/predict", "FastAPI": "/predict", "tuned": "/predict",
           "bare": "/bare", "echo": "/echo", "limit": "/limit"}
BINARY_PATH = {"segmentd": "/v2/models/mlp/infer", "bare": "/tensor-bare", "limit": "/tensor-limit"}


def all_cases():
    """(form, rows, connections, contestants); those of the goals first."""
    everyone = ["segmentd", "FastAPI", "tuned", "limit"]
    yield "columnar", 100, 16, ["segmentd", "echo", "bare", "k-means", "limit", "FastAPI", "tuned"]
    yield "named", 100, 16, everyone
    yield "named", 1, 16, everyone
    yield "binary", 100, 16, ["segmentd", "bare", "limit"]
    if QUICK:
        return
    for connections in (1, 64):
        yield "columnar", 100, connections, everyone
        yield "named", 1, connections, everyone
    yield "columnar", 1000, 16, everyone
    for n in (1, 1000):
        yield "binary", n, 16, ["segmentd", "limit"]
    for form in ("csv", "ndjson"):
        for n in (100, 1000):
            yield form, n, 16, ["segmentd"]


def cases():
    for case in all_cases():
        name = f"{case[0]}-{case[1]}"
        if not ONLY or name in ONLY or f"{name}-{case[2]}" in ONLY:
            yield case


COLUMNAR, NAMED, SINGLE, BINARY_FORM = ("columnar", 100, 16), ("named", 100, 16), ("named", 1, 16), ("binary", 100, 16)
GOALS = [  # what is measured, (case, contestant) of the two that are divided, the goal
    ("columnar, 100 rows, against FastAPI", (COLUMNAR, "segmentd"), (COLUMNAR, "FastAPI"), 25),
    ("columnar, 100 rows, against FastAPI tuned by hand", (COLUMNAR, "segmentd"), (COLUMNAR, "tuned"), 7),
    ("columnar, 100 rows, against an echo of the rows, without a model", (COLUMNAR, "segmentd"), (COLUMNAR, "echo"), 0.8),
    ("columnar, 100 rows, against the same with a model", (COLUMNAR, "segmentd"), (COLUMNAR, "bare"), 0.8),
    ("columnar, 100 rows, against an answer that is there already", (COLUMNAR, "segmentd"), (COLUMNAR, "limit"), None),
    ("named, 100 rows, against FastAPI", (NAMED, "segmentd"), (NAMED, "FastAPI"), 12),
    ("named, 1 row, against FastAPI", (SINGLE, "segmentd"), (SINGLE, "FastAPI"), 10),
    ("binary, 100 rows, against FastAPI with columnar JSON", (BINARY_FORM, "segmentd"), (COLUMNAR, "FastAPI"), 60),
    ("binary, 100 rows, against raw float32 with a model", (BINARY_FORM, "segmentd"), (BINARY_FORM, "bare"), 0.7),
    ("binary, 100 rows, against an answer that is there already", (BINARY_FORM, "segmentd"), (BINARY_FORM, "limit"), None),
    ("k-means with k 8 against the MLP, columnar", (COLUMNAR, "k-means"), (COLUMNAR, "segmentd"), 0.9)]


def ratio(results, key, ours, theirs):
    """The median of what it was in each round, in which both took turns; None when one was not measured."""
    if ours not in results or theirs not in results:
        return None
    return statistics.median(a[key] / b[key] for a, b in zip(results[ours], results[theirs]))


def judge(results):
    """Prints each ratio whose two sides were measured, and whether it reaches its goal."""
    for what, (case, name), (other_case, other), goal in GOALS:
        r = ratio(results, "rate", (*case, name), (*other_case, other))
        if r is not None:
            verdict = "no goal" if goal is None else f"goal {goal}: {'reached' if r >= goal else 'NOT REACHED'}"
            print(f"  {what}: {r:.2f} ({verdict})")
    r = ratio(results, "p99", (*SINGLE, "segmentd"), (*SINGLE, "FastAPI"))
    if r is not None:
        print(f"  named, 1 row, p99 against FastAPI's: {r:.2f} (goal at most 0.5: {'reached' if r <= 0.5 else 'NOT REACHED'})")


LASTING = {"FastAPI": lambda: fastapi("plain", 1), "tuned": lambda: fastapi("tuned", 2)}


@contextlib.contextmanager
def opened(config, lasting, has_limit):
    """Everybody who takes part in a round, by name. Rates differ by a few hundredths from one process to the next, so those that start at once are started for each round."""
    with contextlib.ExitStack() as stack:
        servers = {**lasting, "segmentd": stack.enter_context(serving(config))}
        servers["k-means"] = servers["segmentd"]
        if has_limit:
            servers["limit"] = servers["echo"] = servers["bare"] = stack.enter_context(echo())
        yield servers


def measure(name, server, form, n_rows, body, connections):
    base, pids = server
    path = (BINARY_PATH if form == "binary" else PREDICT)[name]
    before = cpu_seconds(pids)
    r = drive(base + path, body, connections)
    assert r["failed"] == 0, (name, form, n_rows, r)
    return {**r, "cpu": (cpu_seconds(pids) - before) / max(1, r["requests"] * n_rows) * 1e6}


def measure_round(servers, contestants, form, n_rows, body, connections):
    """Every contestant's turns."""
    seen = {name: [] for name in contestants if name in servers}
    for _ in range(TURNS):
        for name, turns in seen.items():
            turns.append(measure(name, servers[name], form, n_rows, body, connections))
    return seen


def main():
    peers = PEERS or [*LASTING, "limit"]
    unknown = [name for name in peers if name != "limit" and name not in LASTING]
    if unknown:
        print(f"unknown peer {', '.join(unknown)}; there are {', '.join(LASTING)}, limit", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        config = configure(folder)
        with serving(config) as (base, _):
            train(base)
        lasting = {name: stack.enter_context(LASTING[name]()) for name in peers if name in LASTING}
        bodies = Bodies(folder)
        results = {}
        print(f"{'form':9} {'rows':>5} {'conn':>4}  {'server':9} {'requests/s':>11} {'rows/s':>11} {'p50 ms':>7} {'p99 ms':>7} {'us CPU/row':>10}")
        for form, n, connections, contestants in cases():
            body, seen = bodies.make(form, n), {}
            for _ in range(ROUNDS):
                with opened(config, lasting, "limit" in peers) as servers:
                    for name, turns in measure_round(servers, contestants, form, n, body, connections).items():
                        seen.setdefault(name, []).append({k: statistics.mean(x[k] for x in turns) for k in ("rate", "p50", "p99", "cpu")})
            for name, rounds in seen.items():
                r = {k: statistics.median(x[k] for x in rounds) for k in ("rate", "p50", "p99", "cpu")}
                results[form, n, connections, name] = rounds
                print(f"{form:9} {n:5} {connections:4}  {name:9} {r['rate']:11,.0f} {r['rate'] * n:11,.0f} {r['p50']:7.2f} {r['p99']:7.2f} {r['cpu']:10.2f}", flush=True)
        print("ratios of requests/s")
        judge(results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
