"""Static checks: format, include rules, lint, files that are generated. One line a fault; exit 1 when there is any.

usage: tests/check.py PATH_TO_SEGMENTD
"""
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
FOLDERS = ("core", "server", "ctl", "tests", "bench")
# header -> the only places that may include it
ONLY_IN = {
    "libpq-fe.h": ("server/db/",),
    "microhttpd.h": ("server/http/daemon_private.h", "bench/echo.c"),
    "cJSON.h": ("server/json/json.c",),
    "cjson/cJSON.h": ("server/json/json.c",),
    "ini.h": ("server/config.c",),
    "curl/curl.h": ("ctl/",),
    "cblas.h": ("core/compute/gemm.c",),
    "immintrin.h": ("core/compute/kernels_lanes.h", "core/neural/layers.c"),
}
# The core knows libc, libm and BLAS, and itself in the order in which data passes.
CORE_ORDER = ["base", "compute", "features", "cluster", "neural", "evaluate", "explain", "model"]
LIBC = {
    "assert.h", "ctype.h", "endian.h", "errno.h", "float.h", "inttypes.h", "limits.h", "math.h", "pthread.h", "sched.h", "signal.h", "stdalign.h",
    "stdarg.h", "stdatomic.h", "stdbool.h", "stddef.h", "stdint.h", "stdio.h", "stdlib.h", "string.h", "strings.h", "time.h", "unistd.h",
}


def sources():
    files = subprocess.run(["git", "ls-files", *FOLDERS], cwd=ROOT, check=True, capture_output=True, text=True).stdout.split()
    return [f for f in files if f.endswith((".c", ".h")) and (ROOT / f).exists()]


def include_faults(files):
    for name in files:
        text = (ROOT / name).read_text()
        for include in re.findall(r'^\s*#\s*include\s+[<"]([^>"]+)[>"]', text, re.M):
            allowed = ONLY_IN.get(include)
            if allowed is not None and not name.startswith(allowed) and not name.startswith("tests/"):
                yield f"{name}: may not include {include} (only {', '.join(allowed)})"
            if not name.startswith("core/"):
                continue
            here = name.split("/")[1]
            folder = include.split("/")[0]
            if folder in CORE_ORDER and "/" in include:
                if CORE_ORDER.index(folder) > CORE_ORDER.index(here):
                    yield f"{name}: {here} comes before {folder} and may not include {include}"
            elif include not in LIBC and include not in ONLY_IN and not (ROOT / "core" / here / include).exists():
                yield f"{name}: the core may not include {include}"
        if name.startswith("core/") and re.search(r"\b(getenv|printf|fprintf|perror|syslog)\s*\(", re.sub(r"\bv?snprintf", "", text)):
            yield f"{name}: the core does not print and reads no environment"


def format_faults(files):
    run = subprocess.run(["clang-format-14", "--dry-run", *files], cwd=ROOT, capture_output=True, text=True)
    seen = sorted({line.split(":")[0] for line in run.stderr.splitlines() if "warning" in line})
    return [f"{name}: not in the house's format (./run format)" for name in seen]


def text_faults(files):
    for name in files:
        for number, line in enumerate((ROOT / name).read_text().splitlines(), 1):
            if re.search(r"\b(TODO|FIXME|XXX)\b", line) and not name.startswith("tests/check"):
                yield f"{name}:{number}: an open end is finished or it is not there"


def lint_faults():
    run = subprocess.run(
        ["cppcheck", "--quiet", "-j2", "--std=c11", "--enable=warning,portability", "--inline-suppr", "--error-exitcode=3",
         "--suppress=missingIncludeSystem", "--suppress=varFuncNullUB", "-Icore", "-Iserver", "-DSEG_ISA=baseline",
         "--template={file}:{line}: {id}: {message}", "core", "server", "ctl"],
        cwd=ROOT, capture_output=True, text=True)
    return [line for line in run.stderr.splitlines() if line.strip()] if run.returncode == 3 else []


def generated_faults(binary):
    example = subprocess.run([binary, "config", "example"], check=True, capture_output=True, text=True).stdout
    if example != (ROOT / "config.example.ini").read_text():
        yield "config.example.ini: differs from `segmentd config example`"


def main():
    files = sources()
    faults = [*include_faults(files), *format_faults(files), *text_faults(files), *lint_faults(), *generated_faults(sys.argv[1])]
    for fault in faults:
        print(fault)
    print(f"checked {len(files)} files: {len(faults)} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
