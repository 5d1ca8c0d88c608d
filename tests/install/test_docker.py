"""The container image, built from the Dockerfile and run, on a machine that has no registry and no Docker.

The base image is made by debootstrap from the mirror that this machine installs from; buildah builds and runs in a
chroot. Root is needed, and the packages buildah and debootstrap.
"""
import contextlib
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.parse

import psycopg2.extensions
import pytest
import requests

ROOT = pathlib.Path(__file__).resolve().parents[2]
BASE = "docker.io/library/debian:bookworm-slim"
IMAGE = "localhost/segmentd"
SOCKET_FOLDER = "/run/postgresql"

pytestmark = pytest.mark.slow


def run(*words, **options):
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", **options)
    assert done.returncode == 0, f"{' '.join(map(str, words))}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done.stdout


def make_base(folder):
    """A tar of Debian's minimal system that installs from where this machine does."""
    form = ("--format", "$(REPO_URI)", "Created-By: Packages", "Codename: bookworm", "Component: main")
    mirrors = run("apt-get", "indextargets", *form).split()
    assert mirrors, "this machine has no source of Debian 12; run apt-get update"
    include = ["--include=ca-certificates"] if mirrors[0].startswith("https:") else []
    run("debootstrap", "--variant=minbase", *include, "bookworm", folder / "root", mirrors[0])
    settings = [line for line in run("apt-config", "dump", "Acquire").splitlines() if re.match(r"Acquire::https?::", line)]
    (folder / "root/etc/apt/apt.conf.d/90host").write_text("".join(line + "\n" for line in settings))
    run("tar", "-C", folder / "root", "--numeric-owner", "-cf", folder / "base.tar", ".")
    (folder / "Containerfile").write_text("FROM scratch\nADD base.tar /\nCMD [\"bash\"]\n")


class Container:
    """A container of the image; its words run under the image's user, environment and file system."""

    def __init__(self, buildah, database):
        self.buildah = buildah
        self.name = run(*buildah, "from", "--pull-never", IMAGE).strip()
        socket_folder = psycopg2.extensions.parse_dsn(database.url)["host"]
        self.options = ["--volume", f"{socket_folder}/.s.PGSQL.5432:{SOCKET_FOLDER}/.s.PGSQL.5432", "--env",
                        f"DATABASE_URL=postgresql://postgres@/{database.name}?host={urllib.parse.quote(SOCKET_FOLDER, safe='')}",
                        "--env", "SEGMENTD_HTTP_LISTEN=0.0.0.0:0"]

    def command(self, *words):
        return [*self.buildah, "run", *self.options, self.name, "--", *words]

    def run(self, *words):
        return subprocess.run(self.command(*words), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)


@pytest.fixture(scope="module")
def buildah():
    missing = [name for name in ("buildah", "debootstrap") if shutil.which(name) is None]
    if missing or os.getuid() != 0:
        reason = f"not installed: {', '.join(missing)}" if missing else "root is needed"
        assert os.environ.get("CI", "") not in ("1", "true"), reason
        pytest.skip(reason)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BUILDAH_ISOLATION", "chroot")
        folder = pathlib.Path(tempfile.mkdtemp(prefix="segmentd-image-", dir="/var/tmp"))
        command = ["buildah", "--storage-driver", "vfs", "--root", str(folder / "storage"), "--runroot", str(folder / "run")]
        try:
            make_base(folder)
            run(*command, "bud", "--pull-never", "--tag", BASE, "--file", folder / "Containerfile", folder)
            run(*command, "bud", "--pull-never", "--format", "docker", "--tag", IMAGE, ROOT)
            yield command
        finally:
            run("rm", "--recursive", "--force", "--one-file-system", folder)


@pytest.fixture(scope="module")
def container(buildah, database):
    return Container(buildah, database)


def test_image_runs_as_a_plain_user_and_carries_no_compiler(container):
    version = container.run("segmentd", "--version")
    assert version.returncode == 0 and re.fullmatch(r"segmentd \d+\.\d+\.\d+\n", version.stdout), version
    assert container.run("id", "-u").stdout == "65532\n"
    assert container.run("sh", "-c", "command -v gcc python3 meson").stdout == ""


def test_image_says_how_to_run_watch_and_stop_it(buildah):
    config = json.loads(run(*buildah, "inspect", "--type", "image", IMAGE))["Docker"]["config"]
    assert config["User"] == "65532:65532" and config["StopSignal"] == "SIGTERM" and list(config["ExposedPorts"]) == ["8080/tcp"]
    assert config["Entrypoint"] == ["segmentd"] and config["Cmd"] == ["serve"]
    assert config["Healthcheck"]["Test"] == ["CMD", "segmentd", "healthcheck", "--url", "http://127.0.0.1:8080/livez"]
    assert config["Labels"]["org.opencontainers.image.title"] == "segmentd"


def test_image_has_sound_options_and_wants_tokens(container):
    assert container.run("segmentd", "config", "check").returncode == 0
    shown = container.run("segmentd", "config", "show").stdout
    assert re.search(r"^mode = token\s", shown, re.M)
    refused = container.run("env", "SEGMENTD_AUTH_MODE=off", "segmentd", "serve")
    assert refused.returncode != 0 and "auth" in refused.stderr + refused.stdout


def child_of(process):
    """The id of the segmentd that a `buildah run` has started."""
    children = {}
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it ended meanwhile
            pid, name, rest = re.fullmatch(r"(\d+) \((.*)\) (.*)", stat.read_text(), re.S).groups()
            children.setdefault(int(rest.split()[1]), []).append((int(pid), name))
    waiting = [process.pid]
    while waiting:
        for pid, name in children.get(waiting.pop(), []):
            if name == "segmentd":
                return pid
            waiting.append(pid)
    raise AssertionError("there is no segmentd below buildah")


@contextlib.contextmanager
def served(container, log_path):
    with open(log_path, "w+b") as log:
        process = subprocess.Popen(container.command("segmentd", "serve"), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 60
        while not (found := re.search(r'"address":"0\.0\.0\.0:(\d+)"', log_path.read_text())):
            assert process.poll() is None and time.monotonic() < deadline, log_path.read_text()
            time.sleep(0.1)
        yield process, f"http://127.0.0.1:{found.group(1)}"
    finally:
        if process.poll() is None:
            os.kill(child_of(process), signal.SIGKILL)
            process.wait(30)


def test_container_serves_is_healthy_and_stops_when_told(container, tmp_path):
    assert container.run("segmentd", "migrate", "status").returncode == 0
    token = container.run("segmentd", "token", "create", "--name", "image", "--scope", "read").stdout.strip()
    with served(container, tmp_path / "log") as (process, url):
        assert container.run("segmentd", "healthcheck", "--url", f"{url}/livez").returncode == 0
        assert requests.get(f"{url}/readyz", timeout=10).json() == {"status": "ready", "database": "up"}
        assert requests.get(f"{url}/v1/models", timeout=10).status_code == 401
        answer = requests.get(f"{url}/v1/models", headers={"Authorization": f"Bearer {token}"}, timeout=10)
        assert answer.status_code == 200 and answer.json()["items"] == []
        assert "<title>segmentd</title>" in requests.get(url, timeout=10).text
        os.kill(child_of(process), signal.SIGTERM)
        assert process.wait(30) == 0
    assert '"msg":"stopped"' in (tmp_path / "log").read_text()
    assert container.run("segmentd", "healthcheck", "--url", f"{url}/livez").returncode == 1
