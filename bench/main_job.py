"""The main job: 1,000,000 users x 20 real columns in PostgreSQL, standardise, k-means with k = 8 (25 iterations, one start), labels stored.

Ours is a train job from claim to published, profiles included; the peers are the scripts a user would write. Each runs ROUNDS times in turn; medians.
"""
import json
import os
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

import psycopg2

ROOT = pathlib.Path(__file__).resolve().parent.parent
BINARY = os.environ.get("SEGMENTD_BIN", str(ROOT / "build/server/segmentd"))
URL = os.environ["SEGMENTD_TEST_DATABASE_URL"]
ROUNDS = 3
N, D, K = 1_000_000, 20, 8

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


def make_table():
    columns = ", ".join(f"((g * 7919 % {K}) * {i * 37 % 11} + random() * 3)::real AS f{i}" for i in range(1, D + 1))
    with psycopg2.connect(URL) as c, c.cursor() as u:
        u.execute("SELECT setseed(0.5)")
        u.execute(f"CREATE TABLE bench_users AS SELECT g AS user_id, {columns} FROM generate_series(1::bigint, {N}) g")
        u.execute("ALTER TABLE bench_users ADD PRIMARY KEY (user_id); ANALYZE bench_users")


def peer(script):
    """Seconds and peak MB of a script in a process of its own."""
    start = time.monotonic()
    done = subprocess.run(["/usr/bin/python3", "-c", "import resource\n" + script + "\nprint(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"],
                          check=True, capture_output=True, text=True)
    return time.monotonic() - start, int(done.stdout.split()[-1]) / 1024


class Ours:
    def __init__(self, folder):
        config = pathlib.Path(folder, "segmentd.ini")
        config.write_text(f"[http]\nlisten = 127.0.0.1:0\n[database]\nurl = {URL}\n")
        subprocess.run([BINARY, "migrate", "up", "--config", config], check=True, stdout=subprocess.DEVNULL)
        log = pathlib.Path(folder, "log")  # a file: nobody reads a pipe, and a full one stops the server
        with log.open("w") as out:
            self.process = subprocess.Popen([BINARY, "--config", config], stderr=out)
        while not (found := re.search(r'"msg":"listening","address":"([^"]+)"', log.read_text())):
            time.sleep(0.002)
        self.base = "http://" + found.group(1)
        self.call("PUT", "/v1/feature-sets/bench", {"relation": "public.bench_users", "id_column": "user_id"})

    def call(self, method, path, body=None):
        request = urllib.request.Request(self.base + path, method=method, data=json.dumps(body).encode() if body else None,
                                         headers={"Content-Type": "application/json"})
        return json.load(urllib.request.urlopen(request))

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
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        self.phases = self.call("GET", f"/v1/models/bench/versions/{job['version']}")["duration_ms"]
        return seconds, int(re.search(r"VmHWM:\s+(\d+)", status).group(1)) / 1024


def main():
    make_table()
    with tempfile.TemporaryDirectory() as folder:
        ours = Ours(folder)
        runs = {"segmentd": [], "pandas + scikit-learn": [], "tuned with COPY": []}
        turns = {"segmentd": ours.round, "pandas + scikit-learn": lambda: peer(PANDAS), "tuned with COPY": lambda: peer(TUNED)}
        for i in range(ROUNDS):
            for name, turn in turns.items():
                runs[name].append(turn())
                print(f"  round {i + 1}: {name}: {runs[name][-1][0]:.2f} s", flush=True)
        ours.process.terminate()
        ours.process.wait()
    mine = statistics.median(s for s, _ in runs["segmentd"])
    print(f"main job, {N:,} x {D}, k {K}, labels stored; medians of {ROUNDS}")
    for name, r in runs.items():
        seconds, peak = statistics.median(s for s, _ in r), max(m for _, m in r)
        print(f"  {name:24} {seconds:7.2f} s  {peak:7.0f} MB  {seconds / mine:5.1f} x ours")
    print("  phases of the last round, ms:", ", ".join(f"{k} {v:.0f}" for k, v in ours.phases.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
