"""Side by side with the peers, in one run on one machine; only the ratios travel.

usage: bench/run.py [main_job | rows]… (default: both), or bench/run.py engine [--quick] [--rounds N] [--only WORK]
"""
import os
import pathlib
import platform
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
PYTHON = "/usr/bin/python3"


def machine():
    model = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "?")
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True).stdout.strip()
    print(f"machine: {model}, {os.cpu_count()} cores, Linux {platform.release()}, load {os.getloadavg()[0]:.1f}; commit {commit}")


def main_job(env):
    return subprocess.run([ROOT / "tests/with_postgres", PYTHON, ROOT / "bench/main_job.py"], env=env).returncode


def build_bench():
    subprocess.run(["meson", "setup", "build-bench", "--buildtype=release", "-Dbench=true"] +
                   (["--reconfigure"] if (ROOT / "build-bench").exists() else []), cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["ninja", "-C", "build-bench"], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)


def rows(env):
    build_bench()
    return subprocess.run([ROOT / "build-bench/bench/bench_rows"], env=env).returncode


def engine(env, options):
    build_bench()
    return subprocess.run([PYTHON, ROOT / "bench/engine.py", *options], env=env).returncode


BENCHES = {"main_job": main_job, "rows": rows}


def main():
    names, options = sys.argv[1:] or list(BENCHES), []
    if names[0] == "engine":  # the only one with options: what follows is its own
        names, options = [], names[1:]
    unknown = [n for n in names if n not in BENCHES]
    if unknown:
        print(f"unknown bench {unknown[0]}; there are engine, {', '.join(BENCHES)}", file=sys.stderr)
        return 2
    # Some shells export kernels that run at half speed: no contestant gets them.
    env = {k: v for k, v in os.environ.items() if k not in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")}
    machine()
    if not names:
        return engine(env, options)
    return max(BENCHES[n](env) for n in names)


if __name__ == "__main__":
    sys.exit(main())
