"""Side by side with the peers, in one run on one machine; only the ratios travel.

usage: bench/run.py [NAME [OPTION]…], NAME one of
  main_job    features in PostgreSQL to labels in PostgreSQL, against pandas and scikit-learn [--rounds N] [--scale [LARGEST]]
  rows        decoders of scoring bodies
  engine      k-means and networks against scikit-learn, faiss and PyTorch [--quick] [--rounds N] [--only WORK]
  serve       scoring under load against FastAPI with PyTorch and bare libmicrohttpd [--quick] [--only FORM-ROWS[-CONNECTIONS]]… [--peers NAME]…
  resilience  what scoring keeps while something else goes wrong [memory | training | phases | database | switches | overload | flood]… [--quick] [--full]
Without a name: main_job and rows.
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


def build_bench():
    subprocess.run(["meson", "setup", "build-bench", "--buildtype=release", "-Dbench=true"] +
                   (["--reconfigure"] if (ROOT / "build-bench").exists() else []), cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["ninja", "-C", "build-bench"], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)


def with_postgres(script, options, env):
    return subprocess.run([ROOT / "tests/with_postgres", PYTHON, ROOT / "bench" / script, *options],
                          env={"SEGMENTD_BIN": str(ROOT / "build-bench/server/segmentd"), **env}).returncode


BENCHES = {
    "main_job": lambda options, env: with_postgres("main_job.py", options, env),
    "rows": lambda options, env: subprocess.run([ROOT / "build-bench/bench/bench_rows", *options], env=env).returncode,
    "engine": lambda options, env: subprocess.run([PYTHON, ROOT / "bench/engine.py", *options], env=env).returncode,
    "serve": lambda options, env: with_postgres("serve.py", options, env),
    "resilience": lambda options, env: with_postgres("resilience.py", options, env),
}


def main():
    names, options = sys.argv[1:2] or ["main_job", "rows"], sys.argv[2:]
    if names[0] not in BENCHES:
        print(f"unknown bench {names[0]}; there are {', '.join(BENCHES)}", file=sys.stderr)
        return 2
    # Some shells export kernels that run at half speed: no contestant gets them.
    env = {k: v for k, v in os.environ.items() if k not in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")}
    machine()
    build_bench()
    return max(BENCHES[name](options, env) for name in names)


if __name__ == "__main__":
    sys.exit(main())
