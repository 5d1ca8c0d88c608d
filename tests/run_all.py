"""Every test, in stages; each prints its own output on failure. The last line is the sum: "N passed, N failed".

usage: tests/run_all.py [--slow] [--only STAGE …]
"""
import argparse
import os
import pathlib
import re
import subprocess
import sys
import time
import xml.etree.ElementTree as ET

ROOT = pathlib.Path(__file__).resolve().parent.parent
PYTHON = "/usr/bin/python3"
SANITIZE_ENV = {
    "ASAN_OPTIONS": "strict_string_checks=1",
    "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
    "TSAN_OPTIONS": f"halt_on_error=1:second_deadlock_stack=1:suppressions={ROOT}/tests/tsan.supp",
    "OPENBLAS_NUM_THREADS": "1",
}


class Tally:
    passed = failed = skipped = 0

    def add(self, passed, failed, skipped=0):
        self.passed += passed
        self.failed += failed
        self.skipped += skipped


def run(command, env=None, quiet=True):
    full = {**os.environ, **(env or {})}
    result = subprocess.run(command, cwd=ROOT, env=full, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                            errors="replace")
    if result.returncode != 0 or not quiet:
        print(result.stdout, flush=True)
    return result


def build(tally, folder, options, env=None):
    if not (ROOT / folder / "build.ninja").exists():
        if run(["meson", "setup", folder, *options], env).returncode != 0:
            tally.add(0, 1)
            return False
    if run(["ninja", "-C", folder]).returncode != 0:
        tally.add(0, 1)
        return False
    return True


def unit(tally, folder, *names):
    """cmocka programs by meson; a program's tests are counted one by one from its own lines."""
    result = run(["meson", "test", "-C", folder, "--print-errorlogs", "--num-processes", "2", *names], SANITIZE_ENV)
    log = (ROOT / folder / "meson-logs" / "testlog.txt").read_text(errors="replace")
    passed = len(re.findall(r"^\[       OK \]", log, re.M))
    failed = len({m for m in re.findall(r"^\[  FAILED  \] (\S+)", log, re.M) if not m.isdigit()})
    programs = re.search(r"^Fail:\s+(\d+)", result.stdout, re.M)
    if result.returncode != 0 and failed == 0:
        failed = int(programs.group(1)) if programs and int(programs.group(1)) else 1
    tally.add(passed, failed)


def service(tally, folder, *paths, marks=""):
    """pytest against a private PostgreSQL and the binary of one build."""
    report = ROOT / folder / "pytest.xml"
    report.unlink(missing_ok=True)
    env = {**SANITIZE_ENV, "SEGMENTD_BIN": str(ROOT / folder / "server" / "segmentd"), "SEGMENTD_BUILD": str(ROOT / folder),
           "PYTHONDONTWRITEBYTECODE": "1"}
    command = ["tests/with_postgres", PYTHON, "-m", "pytest", "-q", "-x" if os.environ.get("FAIL_FAST") else "-q", "-p", "no:cacheprovider",
               f"--junitxml={report}", *(["-m", marks] if marks else []), *paths]
    result = run(command, env)
    if not report.exists():
        tally.add(0, 1)
        return
    suite = ET.parse(report).getroot().find("testsuite")
    count = {k: int(suite.get(k)) for k in ("tests", "failures", "errors", "skipped")}
    bad = count["failures"] + count["errors"]
    for case in suite.iter("testcase"):
        for skip in case.iter("skipped"):
            print(f"skipped: {case.get('classname')}.{case.get('name')}: {skip.get('message')}")
    tally.add(count["tests"] - bad - count["skipped"], bad or (1 if result.returncode else 0), count["skipped"])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--slow", action="store_true")
    parser.add_argument("--only", nargs="+")
    options = parser.parse_args()
    tally = Tally()
    stages = [
        ("gcc", lambda: build(tally, "build-gcc", ["--buildtype=release", "-Dwerror=true"])),
        ("unit", lambda: unit(tally, "build-gcc")),
        ("service", lambda: service(tally, "build-gcc", "tests/db", "tests/http", "tests/web", marks="not slow")),
        ("check", lambda: tally.add(1, 0) if run([PYTHON, "tests/check.py", "build-gcc/server/segmentd"]).returncode == 0 else tally.add(0, 1)),
        ("clang", lambda: tally.add(1, 0) if build(tally, "build-clang", ["--buildtype=release", "-Dwerror=true"], {"CC": "clang-14"}) else None),
        ("asan", lambda: build(tally, "build-asan", ["--buildtype=debugoptimized", "-Db_sanitize=address,undefined", "-Db_lundef=false"])
         and (unit(tally, "build-asan"), service(tally, "build-asan", "tests/db", "tests/http", marks="not slow and not long"))),
        ("tsan", lambda: build(tally, "build-tsan", ["--buildtype=debugoptimized", "-Db_sanitize=thread", "-Db_lundef=false"])
         and (unit(tally, "build-tsan", "worker_pool", "worker_pool_queue", "scratch", "pipeline"), service(tally, "build-tsan", "tests/http", marks="races and not slow"))),
    ]
    if options.slow:
        stages.append(("slow", lambda: service(tally, "build-gcc", "tests/http", "tests/install", marks="slow")))
    unknown = set(options.only or ()) - {name for name, _ in stages}
    if unknown:
        parser.error(f"no such stage: {', '.join(sorted(unknown))}; there are {', '.join(name for name, _ in stages)}")
    for name, stage in stages:
        if options.only and name not in options.only:
            continue
        start = time.monotonic()
        before = (tally.passed, tally.failed)
        stage()
        print(f"{name}: {tally.passed - before[0]} passed, {tally.failed - before[1]} failed, {time.monotonic() - start:.0f} s", flush=True)
    print(f"{tally.passed} passed, {tally.failed} failed" + (f", {tally.skipped} skipped" if tally.skipped else ""))
    return 1 if tally.failed else 0


if __name__ == "__main__":
    sys.exit(main())
