"""The engine beside its peers: k-means, its start, training of networks; then memory and growth of our own.

usage: bench/engine.py [--quick] [--rounds N] [--only WORK] [--engine PATH]
Everybody reads the same bytes and begins at the same centroids or weights, two threads each, in turn within a round; medians. Exit 1 when a final
inertia or loss differs from a peer's by more than TOLERANCE, so that nobody is fast by doing less.
"""
import argparse
import gzip
import json
import math
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import numpy

HERE = pathlib.Path(__file__).resolve().parent
PYTHON = "/usr/bin/python3"
EPOCHS = 3
THREADS = "2"
# By kind of work. A k-means++ start is a draw: both draw their own, and a start of half the worth would show. Batches are shuffled by each its own way.
TOLERANCE = {"kmeans": 0.001, "start": 0.25, "minibatch": 0.05, "prototypes": 0, "network": 0.05}
MODULES = {"scikit-learn": "sklearn", "faiss": "faiss", "PyTorch": "torch"}
SHAPES = [(1_000_000, 20, 8), (1_000_000, 32, 64), (200_000, 128, 256)]
GOALS = {"25 iterations": (4, 3.5, 2.5), "to convergence": (10, 8, 6), "k-means++ start": (8, 8, 8)}
# name, coder, sizes, batch, the goal and the peer it is against, if any
NETWORKS = [
    ("a 4-10-3", False, [4, 10, 3], 32, 40, "scikit-learn"),
    ("b 20-64-32-4", False, [20, 64, 32, 4], 128, 11, "scikit-learn"),
    ("c 64-256-128-8", False, [64, 256, 128, 8], 256, 2.8, "PyTorch"),
    ("d coder 64-32-8-32-64", True, [64, 32, 8, 32, 64], 256, 8, "scikit-learn"),
    ("e 64-512-512-8", False, [64, 512, 512, 8], 256, None, None),  # large layers, where a BLAS is at home
]
# scikit-learn cannot make the code layer linear: its coder is another network, and its loss is shown without being compared.
OTHER_NETWORK = {("d coder 64-32-8-32-64", "scikit-learn")}


# Sets that are not shipped: SEGMENTD_DATA, or the folder beside the project, holds them. Name, rows, largest k.
DATA = pathlib.Path(os.environ.get("SEGMENTD_DATA", pathlib.Path(__file__).resolve().parents[2] / "shared" / "data"))
REFERENCES = [("s1", 5_000, 20), ("unbalance", 6_500, 20), ("a2", 5_250, 40)]


def environment(threads, blas_threads):
    """Some shells export kernels that run at half speed: no contestant gets them."""
    env = {k: v for k, v in os.environ.items() if k not in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")}
    return {**env, "OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": blas_threads}


class Data:
    """Files of the bench, each written once, with a fixed seed."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)

    def mixture(self, n, d, k):
        """Gaussian clusters that overlap: unit variance around centres about 3 apart; (data, start): the start is k of the rows."""
        data, start = self.folder / f"x_{n}_{d}_{k}", self.folder / f"start_{n}_{d}_{k}"
        if not start.exists():
            rng = numpy.random.default_rng(20)
            centres = rng.normal(0, 3 / math.sqrt(2 * d), (k, d)).astype("float32")
            x = rng.standard_normal((n, d), dtype="float32")
            x += centres[rng.integers(0, k, n)]
            x.tofile(data)
            x[rng.choice(n, k, replace=False)].tofile(start)
        return str(data), str(start)

    def reference(self, name):
        """A set of the clustering benchmarks (Fränti and Sieranoja 2018), as float32 rows."""
        data = self.folder / name
        if not data.exists():
            numpy.loadtxt(gzip.open(DATA / "clustering" / f"{name}.data.gz"), dtype="float32").tofile(data)
        return str(data)

    def noise(self, n, d, k):
        """Standard normal rows, without clusters: Lloyd takes hundreds of iterations; (data, start): the start is k of the rows."""
        data, start = self.folder / f"noise_{n}_{d}", self.folder / f"noise_start_{n}_{d}_{k}"
        if not start.exists():
            rng = numpy.random.default_rng(22)
            x = rng.standard_normal((n, d), dtype="float32")
            x.tofile(data)
            x[rng.choice(n, k, replace=False)].tofile(start)
        return str(data), str(start)

    def classes(self, n, d, n_classes):
        """Normal columns; the class is the largest of n_classes random quadratic forms plus noise."""
        data, labels = self.folder / f"c_{n}_{d}", self.folder / f"y_{n}_{d}"
        if not labels.exists():
            rng = numpy.random.default_rng(21)
            x = rng.standard_normal((n, d), dtype="float32")
            score = x @ rng.standard_normal((d, n_classes)) + (x * x) @ rng.standard_normal((d, n_classes))
            (score + rng.standard_normal((n, n_classes))).argmax(1).astype("uint16").tofile(labels)
            x.tofile(data)
        return str(data), str(labels)


class Bench:
    def __init__(self, options, folder):
        self.options, self.data, self.n_faults = options, Data(folder), 0
        self.rounds = 1 if options.quick else options.rounds
        self.missing = {name for name, module in MODULES.items()
                        if subprocess.run([PYTHON, "-c", f"import {module}"], capture_output=True).returncode != 0}
        for name in self.missing:
            print(f"NOT MEASURED: {name} cannot be imported (apt-get install python3-{MODULES[name]})")

    def wanted(self, work):
        return self.options.only is None or self.options.only in work

    def ours(self, *arguments):
        done = subprocess.run([self.options.engine, *map(str, arguments)], env=environment("1", "1"), check=True, capture_output=True, text=True)
        return json.loads(done.stdout) if done.stdout else None

    def peer(self, name, work):
        # faiss over a BLAS of two threads took 1.7 times as long on a quiet machine: it gets its own two, over a BLAS of one.
        env = environment(THREADS, "1" if name == "faiss" else THREADS)
        done = subprocess.run([PYTHON, HERE / "engine_peers.py", name, json.dumps(work)], env=env, capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(f"{name}: {done.stderr.strip().splitlines()[-1]}")
        return json.loads(done.stdout.splitlines()[-1])

    def machine(self):
        """What figures depend on and nobody here decides: whether others compute, and how far the two processors are from each other."""
        return f"load {os.getloadavg()[0]:.1f}, a cache line to the other processor and back {self.ours('trip')['ns']:.0f} ns"

    def compare(self, title, work, our_arguments, peers, goal, goal_peer):
        """Ours and the peers in turn, then one line each."""
        peers = [p for p in peers if p.split()[0] not in self.missing]
        runs = {name: [] for name in ["ours", *peers]}
        for turn in range(self.rounds):
            runs["ours"].append(self.ours(*our_arguments(turn)))
            for name in peers:
                runs[name].append(self.peer(name, {**work, "seed": turn}))
        seconds = {name: statistics.median(r["seconds"] for r in of) for name, of in runs.items()}
        loss = {name: statistics.median(r["loss"] for r in of) for name, of in runs.items()}
        print(f"{title}  ({self.machine()})")
        for name in runs:
            ratio, note = seconds[name] / seconds["ours"], ""
            if name == goal_peer and not self.options.quick:
                note = f"  goal {goal:g}: {'reached' if ratio >= goal else 'NOT REACHED'}"
            iterations = runs[name][0].get("iterations")
            if work["kind"] == "kmeans" and iterations is not None:
                note = f"  {iterations} iterations{note}"
            apart = loss[name] / loss["ours"] - 1
            if (title, name) in OTHER_NETWORK:
                note += "  another network: loss not compared"
            elif abs(apart) > TOLERANCE[work["kind"]]:
                note += f"  LOSS DIFFERS by {apart:+.2%}"
                self.n_faults += 1
            print(f"  {name:18} {seconds[name]:9.4f} s  {ratio:6.1f} x  loss {loss[name]:.6g}  [{runs[name][0]['kernel']}]{note}", flush=True)

    def kmeans(self):
        for i, (n, d, k) in enumerate(SHAPES):
            if self.options.quick:
                n //= 20
            shape = f"n {n:,}, d {d}, k {k}"
            # What converges at once says nothing of late iterations: noise takes every peer to the end, or close to it.
            for name, iterations, kind in (("25 iterations", 25, "mixture"), ("25 iterations", 25, "noise"), ("to convergence", 300, "noise")):
                if not self.wanted(f"kmeans {name}, {kind}, {shape}"):
                    continue
                data, start = getattr(self.data, kind)(n, d, k)
                work = {"data": data, "start": start, "n": n, "d": d, "k": k}
                # At 300 iterations only the fastest peer: the others take minutes a turn.
                peers = ["scikit-learn lloyd"] if iterations == 300 else ["scikit-learn lloyd", "scikit-learn elkan", "faiss", "PyTorch"]
                self.compare(f"k-means {name}, {kind}, {shape}", {**work, "kind": "kmeans", "iterations": iterations},
                             lambda turn, x=data, c=start, m=iterations: ("kmeans", x, n, d, c, k, m), peers, GOALS[name][i], "scikit-learn lloyd")
            if self.wanted(f"start, {shape}"):
                data, start = self.data.mixture(n, d, k)
                work = {"data": data, "start": start, "n": n, "d": d, "k": k}
                self.compare(f"k-means++ start, {shape}", {**work, "kind": "start"}, lambda turn: ("start", data, n, d, k, turn), ["scikit-learn"],
                             GOALS["k-means++ start"][i], "scikit-learn")

    def other_clusters(self):
        """Mini-batches beside scikit-learn's with the same options; k-means|| and k-prototypes have no peer here."""
        for n, d, k in ((1_000_000, 20, 8), (1_000_000, 20, 64), (1_000_000, 20, 256)):
            if self.options.quick:
                n //= 20
            shape = f"n {n:,}, d {d}, k {k}"
            data = self.data.mixture(n, d, k)[0]
            work = {"data": data, "n": n, "d": d, "k": k, "batch": 1024}
            if k < 256 and self.wanted(f"minibatch {shape}"):
                self.compare(f"k-means by batches of 1024, {shape}", {**work, "kind": "minibatch"},
                             lambda turn: ("minibatch", data, n, d, k, 1024, turn), ["scikit-learn"], None, None)
            if self.wanted(f"parallel start, {shape}"):
                self.compare(f"k-means|| start, {shape}", {**work, "kind": "start"}, lambda turn: ("parallel", data, n, d, k, turn), [], None, None)
            if k < 256 and self.wanted(f"prototypes {shape}"):
                self.compare(f"k-prototypes 25 iterations, 5 of the columns categories, {shape}", {**work, "kind": "prototypes"},
                             lambda turn: ("prototypes", data, n, d, k, 25, 5), [], None, None)

    def choosing(self):
        """What choosing k costs, beside one fit at the largest k with the same options."""
        shapes = [(f"8 groups that overlap, n {n:,}, d 20", n, 20, k_max, lambda n=n: self.data.mixture(max(n, 200_000), 20, 8)[0])
                  for n, k_max in ((1_000, 20), (5_000, 20), (20_000, 20), (200_000, 20), (1_000_000, 10))]
        shapes += [(f"{name}, n {n:,}, d 2", n, 2, k_max, lambda name=name: self.data.reference(name)) for name, n, k_max in REFERENCES]
        for shape, n, d, k_max, data in shapes:
            title = f"choosing k from 2 to {k_max}, {shape}"
            if not self.wanted(title):
                continue
            if d == 2 and not DATA.is_dir():
                print(f"NOT MEASURED: {title}: no {DATA}")
                continue
            n = n // 5 if self.options.quick else n
            runs = [self.ours("choose", data(), n, d, 2, k_max, 10) for _ in range(self.rounds)]
            fit, search = (statistics.median(r[what] for r in runs) for what in ("fit", "search"))
            verdict = "" if self.options.quick else f"  goal 3 at most: {'reached' if search <= 3 * fit else 'NOT REACHED'}"
            print(f"{title}  ({self.machine()})")
            print(f"  {search:.4f} s = {search / fit:.1f} x the fit of {fit:.4f} s; k = {runs[0]['k']} by {runs[0]['rows']:,} rows{verdict}", flush=True)

    def networks(self):
        n = 10_000 if self.options.quick else 100_000
        for name, coder, sizes, batch, goal, goal_peer in NETWORKS:
            if not self.wanted(f"network {name}"):
                continue
            if coder:
                data, labels = self.data.mixture(n, sizes[0], 8)[0], "-"
            else:
                data, labels = self.data.classes(n, sizes[0], sizes[-1])
            kind, weights = "coder" if coder else "classifier", str(self.data.folder / "weights")
            self.ours("weights", weights, kind, *sizes)
            work = {"kind": "network", "coder": coder, "data": data, "labels": labels, "weights": weights, "n": n, "d": sizes[0], "sizes": sizes,
                    "batch": batch, "epochs": EPOCHS}
            self.compare(name, work, lambda turn: (kind, data, n, labels, batch, EPOCHS, *sizes), ["scikit-learn", "PyTorch"], goal, goal_peer)

    def growth(self):
        """Slopes in log-log of our seconds, and the peak of the process against the bytes of the features."""
        small = 20 if self.options.quick else 1
        top = 2_000_000 // small
        series = {
            "n": [((top // f, 20, 8), (top, 20, 8)) for f in (20, 8, 4, 2, 1)],
            "d": [((200_000 // small, d, 64),) * 2 for d in (8, 16, 32, 64, 128)],
            "k": [((200_000 // small, 32, k),) * 2 for k in (4, 16, 64, 256)],
        }
        for axis, shapes in series.items():
            at, seconds, memory = [], [], []
            for (n, d, k), file in shapes:
                data, start = self.data.mixture(*file)
                runs = [self.ours("kmeans", data, n, d, start, k, 25) for _ in range(self.rounds)]
                at.append({"n": n, "d": d, "k": k}[axis])
                seconds.append(statistics.median(r["seconds"] for r in runs))
                memory.append(f"{max(r['peak_kb'] for r in runs) / 1024:.0f}/{n * d * 4 / 2**20:.0f}")
            self.series(f"k-means 25 iterations, {axis}", at, seconds)
            print(f"    peak of the process / features, MiB: {', '.join(memory)}")
        at = [f * 50_000 // small for f in (1, 2, 4, 8)]
        data, labels = self.data.classes(at[-1], 20, 4)
        runs = [[self.ours("classifier", data, n, labels, 128, EPOCHS, 20, 64, 32, 4) for _ in range(self.rounds)] for n in at]
        self.series("network b, an epoch, n", at, [statistics.median(r["seconds"] for r in of) for of in runs])

    @staticmethod
    def series(title, at, seconds):
        slope = numpy.polyfit([math.log(v) for v in at], [math.log(s) for s in seconds], 1)[0]
        print(f"{title}: slope {slope:.2f}; " + ", ".join(f"{v:,}: {s:.4f} s" for v, s in zip(at, seconds)), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a twentieth of the rows, one round: a trial, its ratios mean nothing")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", metavar="WORK", help="a part of its name: kmeans, 'kmeans 25 iterations, noise, n 200,000', start, 'network a', growth")
    parser.add_argument("--engine", default=str(HERE.parent / "build-bench/bench/bench_engine"))
    options = parser.parse_args()
    print(f"measured {time.strftime('%Y-%m-%d %H:%M')} UTC, load {os.getloadavg()[0]:.1f}; numpy {numpy.__version__}; OPENBLAS_CORETYPE and "
          "OPENBLAS_L2_SIZE unset for everybody", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(options, folder)
        bench.kmeans()
        bench.other_clusters()
        bench.choosing()
        bench.networks()
        if bench.wanted("growth"):
            bench.growth()
    print(f"{bench.n_faults} losses differ beyond {TOLERANCE}; load {os.getloadavg()[0]:.1f}")
    return 1 if bench.n_faults else 0


if __name__ == "__main__":
    sys.exit(main())
