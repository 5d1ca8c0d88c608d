"""The main job: N users x 20 real columns in PostgreSQL, standardise, k-means with k = 8 (25 iterations, one start), labels stored.

usage: main_job.py [--rounds N] [--scale [LARGEST]]

Ours is a train job from claim to published, profiles included; the peers are the scripts a user would write. Each runs in turn, N times; medians.
A peer whose modules are not installed is left out and its goal is not judged. --scale runs ours alone on 1e5, 1e6 and 3e6 users, up to LARGEST
(1e7, say, which wants 4 GB of disk), and fits how time and memory grow. Exits 1 when a goal that could be judged was not reached.
"""
import argparse
import json
import math
import os
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

import psycopg2

ROOT = pathlib.Path(__file__).resolve().parent.parent
BINARY = os.environ.get("SEGMENTD_BIN", str(ROOT / "build/server/segmentd"))
URL = os.environ["SEGMENTD_TEST_DATABASE_URL"]
N, D, K = 1_000_000, 20, 8
SCALE = [100_000, 1_000_000, 3_000_000, 10_000_000]

PANDAS = f"""
import pandas, psycopg2, psycopg2.extras, warnings; warnings.filterwarnings("ignore")
from sklearn.preprocessing import StandardScaler
from sklearn.cluster import KMeans
c = psycopg2.connect({URL!r})
t = pandas.read_sql("SELECT * FROM bench_users", c)
x = StandardScaler().fit_transform(t.drop(columns="user_id"))
l = KMeans({K}, n_init=1, max_iter=25, random_state=1).fit_predict(x)
u = c.cursor()
u.execute("DROP TABLE IF EXISTS bench_labels; CREATE TABLE bench_labels (user_id bigint PRIMARY KEY, segment int)")
psycopg2.extras.execute_values(u, "INSERT INTO bench_labels VALUES %s", list(zip(t.user_id.tolist(), l.tolist())), page_size=1000)
c.commit()
"""
TUNED = f"""
import io, numpy, pandas, psycopg2
from sklearn.cluster import KMeans
c = psycopg2.connect({URL!r}); u = c.cursor()
b = io.BytesIO(); u.copy_expert("COPY bench_users TO STDOUT (FORMAT csv, HEADER)", b); b.seek(0)
t = pandas.read_csv(b, dtype={{f"f{{i}}": "float32" for i in range(1, {D} + 1)}}); del b
x = t.drop(columns="user_id").to_numpy(); x = (x - x.mean(0)) / x.std(0)
l = KMeans({K}, n_init=1, max_iter=25, random_state=1, algorithm="lloyd").fit_predict(x)
u.execute("DROP TABLE IF EXISTS bench_labels; CREATE TABLE bench_labels (user_id bigint, segment int)")
o = io.StringIO(); pandas.DataFrame({{"u": t.user_id, "s": l}}).to_csv(o, index=False, header=False); o.seek(0)
u.copy_expert("COPY bench_labels FROM STDIN (FORMAT csv)", o)
u.execute("ALTER TABLE bench_labels ADD PRIMARY KEY (user_id)"); c.commit()
"""
PEERS = {"pandas + scikit-learn": (PANDAS, 8), "tuned with COPY": (TUNED, 4)}  # script, and how many times faster we are to be


class Goals:
    """What is to be reached, printed as it is judged."""

    def __init__(self):
        self.missed = 0

    def judge(self, what, value, limit, unit, at_least=False):
        good = value >= limit if at_least else value <= limit
        self.missed += not good
        print(f"  {what}: {value:.2f} {unit} (goal: {'at least' if at_least else 'at most'} {limit:g}): {'reached' if good else 'NOT REACHED'}")


def make_table(n=N):
    columns = ", ".join(f"((g * 7919 % {K}) * {i * 37 % 11} + random() * 3)::real AS f{i}" for i in range(1, D + 1))
    with psycopg2.connect(URL) as c, c.cursor() as u:
        u.execute("SELECT setseed(0.5)")
        u.execute("DROP TABLE IF EXISTS bench_users")
        u.execute(f"CREATE TABLE bench_users AS SELECT g AS user_id, {columns} FROM generate_series(1::bigint, {n}) g")
        u.execute("ALTER TABLE bench_users ADD PRIMARY KEY (user_id); ANALYZE bench_users")


def peer(script):
    """Seconds and peak MB of a script in a process of its own; None when its modules are not there."""
    start = time.monotonic()
    done = subprocess.run(["/usr/bin/python3", "-c", "import resource\n" + script + "\nprint(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"],
                          capture_output=True, text=True)
    if "ModuleNotFoundError" in done.stderr:
        return None
    assert done.returncode == 0, done.stderr
    return time.monotonic() - start, int(done.stdout.split()[-1]) / 1024


class Ours:
    def __init__(self, folder):
        self.config, self.log = pathlib.Path(folder, "segmentd.ini"), pathlib.Path(folder, "log")
        self.config.write_text(f"[http]\nlisten = 127.0.0.1:0\n[database]\nurl = {URL}\n")
        subprocess.run([BINARY, "migrate", "up", "--config", self.config], check=True, stdout=subprocess.DEVNULL)
        self.start()
        self.call("PUT", "/v1/feature-sets/bench", {"relation": "public.bench_users", "id_column": "user_id"})

    def start(self):
        """Milliseconds from the start of the process until it is ready."""
        start = time.monotonic()
        with self.log.open("w") as out:  # a file: nobody reads a pipe, and a full one stops the server
            self.process = subprocess.Popen([BINARY, "--config", self.config], stderr=out)
        while not (found := re.search(r'"msg":"listening","address":"([^"]+)"', self.log.read_text())):
            time.sleep(0.001)
        self.base = "http://" + found.group(1)
        while True:
            try:
                with urllib.request.urlopen(self.base + "/readyz"):
                    return (time.monotonic() - start) * 1000
            except urllib.error.HTTPError:
                time.sleep(0.001)

    def stop(self):
        self.process.terminate()
        self.process.wait()

    def call(self, method, path, body=None):
        request = urllib.request.Request(self.base + path, method=method, data=json.dumps(body).encode() if body else None,
                                         headers={"Content-Type": "application/json"})
        return json.load(urllib.request.urlopen(request))

    def memory(self, what):
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(rf"{what}:\s+(\d+)", status).group(1)) / 1024

    def round(self):
        pathlib.Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")
        start = time.monotonic()
        job = self.call("POST", "/v1/models/bench/train", {"feature_set": "bench", "label": True, "promote": "always",
                                                            "algorithm": {"type": "kmeans", "k": K, "n_init": 1, "max_iterations": 25}})
        while job["state"] not in ("succeeded", "failed"):
            time.sleep(0.02)
            job = self.call("GET", f"/v1/jobs/{job['id']}")
        seconds = time.monotonic() - start
        assert job["state"] == "succeeded", job
        self.phases = self.call("GET", f"/v1/models/bench/versions/{job['version']}")["duration_ms"]
        peak = self.memory("VmHWM")
        self.settle()
        return seconds, peak

    def settle(self):
        """Waits for the index that follows the commit: the next contestant is to have the machine to itself."""
        missing = "SELECT count(*) FROM segmentd.label_runs WHERE to_regclass('segmentd.labels_' || id || '_result') IS NULL"
        with psycopg2.connect(URL) as c, c.cursor() as u:
            start = time.monotonic()
            while u.execute(missing) or u.fetchone()[0]:
                c.rollback()
                time.sleep(0.02)
            self.index_seconds = time.monotonic() - start

    def page_by_distance(self):
        """Milliseconds of a page of a segment's members, nearest first, median of 20."""
        path, times = "/v1/models/bench/segments/1/users?order=distance&limit=100", []
        cursor = self.call("GET", path)["next_cursor"]
        for _ in range(20):
            start = time.monotonic()
            cursor = self.call("GET", f"{path}&cursor={cursor}")["next_cursor"]
            times.append((time.monotonic() - start) * 1000)
        return statistics.median(times)


def show_phases(ours):
    print("  phases of the last round, ms:", ", ".join(f"{k} {v:.0f}" for k, v in ours.phases.items()),
          f"; after the commit, index by distance {ours.index_seconds * 1000:.0f}")


def side_by_side(rounds, goals):
    make_table()
    with tempfile.TemporaryDirectory() as folder:
        ours = Ours(folder)
        runs = {"segmentd": [], **{name: [] for name in PEERS}}
        turns = {"segmentd": ours.round, **{name: lambda script=script: peer(script) for name, (script, _) in PEERS.items()}}
        for i in range(rounds):
            for name in list(turns):
                run = turns[name]()
                if run is None:
                    print(f"  {name}: its modules are not installed (Debian: python3-pandas python3-sklearn): not measured", flush=True)
                    del turns[name], runs[name]
                    continue
                runs[name].append(run)
                print(f"  round {i + 1}: {name}: {run[0]:.2f} s", flush=True)
        page_ms = ours.page_by_distance()
        ours.stop()
        ready_ms = statistics.median((ours.start(), ours.stop())[0] for _ in range(5))
        ours.start()
        time.sleep(1)
        idle = ours.memory("VmRSS")
        ours.stop()
    medians = {name: statistics.median(s for s, _ in r) for name, r in runs.items()}
    mine = medians["segmentd"]
    print(f"main job, {N:,} x {D}, k {K}, labels stored; medians of {rounds}")
    for name, r in runs.items():
        print(f"  {name:24} {medians[name]:7.2f} s  {max(m for _, m in r):7.0f} MB  {medians[name] / mine:5.1f} x ours")
    show_phases(ours)
    print(f"  a page of 100 members by distance: {page_ms:.1f} ms")
    for name, (_, times) in PEERS.items():
        if name in medians:
            goals.judge(f"times faster than {name}", medians[name] / mine, times, "x", at_least=True)
    goals.judge("peak resident memory", max(m for _, m in runs["segmentd"]), 200, "MB")
    goals.judge("start to ready with a stored model", ready_ms, 150, "ms")
    goals.judge("idle resident memory", idle, 40, "MB")


def slope(points):
    """Of log y over log x, by least squares."""
    x, y = [math.log(a) for a, _ in points], [math.log(b) for _, b in points]
    mx, my = statistics.mean(x), statistics.mean(y)
    return sum((a - mx) * (b - my) for a, b in zip(x, y)) / sum((a - mx) ** 2 for a in x)


def scale(largest, goals):
    times, peaks = [], []
    with tempfile.TemporaryDirectory() as folder:
        make_table(SCALE[0])
        ours = Ours(folder)
        idle = ours.memory("VmRSS")
        for n in (n for n in SCALE if n <= largest):
            make_table(n)
            seconds, peak = ours.round()
            times.append((n, seconds))
            peaks.append((n, peak))
            features = n * D * 4 / 2**20
            print(f"{n:>12,} x {D}: {seconds:6.2f} s, {peak:6.0f} MB, features {features:.0f} MB, {peak / features:.2f} x", flush=True)
            show_phases(ours)
            if n >= N:
                goals.judge("memory beyond that of the idle process", (peak - idle) / features, 1.25, "x the features")
        ours.stop()
    goals.judge("log-log slope of time", slope(times), 1.1, "")
    goals.judge("log-log slope of peak memory", slope(peaks), 1.1, "")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--scale", type=float, nargs="?", const=3e6, metavar="LARGEST")
    options = parser.parse_args()
    goals = Goals()
    if options.scale:
        scale(options.scale, goals)
    else:
        side_by_side(options.rounds, goals)
    return 1 if goals.missed else 0


if __name__ == "__main__":
    sys.exit(main())
