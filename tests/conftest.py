"""Fixtures of the service tests: a database for each file, the real binary in front of it, and short ways to train and ask.

Run under tests/with_postgres, which makes the private cluster. SEGMENTD_BIN names the binary (build/server/segmentd).
"""
import contextlib
import json
import os
import pathlib
import random
import re
import signal
import subprocess
import tempfile
import time

import psycopg2
import psycopg2.extensions
import pytest
import requests

ROOT = pathlib.Path(__file__).resolve().parent.parent
BINARY = os.environ.get("SEGMENTD_BIN", str(ROOT / "build" / "server" / "segmentd"))
SANITIZER_LINE = re.compile(r"AddressSanitizer|UndefinedBehavior|runtime error|ThreadSanitizer|LeakSanitizer|Assertion .* failed")
TEMPLATE = "segmentd_template"


def pytest_configure(config):
    config.addinivalue_line("markers", "slow: minutes; run by ./run test --slow")
    config.addinivalue_line("markers", "long: seconds of training, which a sanitizer makes minutes: left out there")
    config.addinivalue_line("markers", "races: worth running under ThreadSanitizer")
    if "SEGMENTD_TEST_DATABASE_URL" not in os.environ:
        raise pytest.UsageError("no private PostgreSQL: run tests/with_postgres /usr/bin/python3 -m pytest …")


def admin_url(name="postgres"):
    parameters = psycopg2.extensions.parse_dsn(os.environ["SEGMENTD_TEST_DATABASE_URL"])
    return psycopg2.extensions.make_dsn(**{**parameters, "dbname": name})


def admin(statement):
    connection = psycopg2.connect(admin_url())
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(statement)
    connection.close()


class Database:
    def __init__(self, name):
        self.name = name
        self.url = admin_url(name)

    def query(self, statement, *parameters):
        """Runs one statement and commits; its rows, if it has any."""
        connection = psycopg2.connect(self.url)
        try:
            with connection, connection.cursor() as cursor:
                cursor.execute(statement, parameters or None)
                return cursor.fetchall() if cursor.description else []
        finally:
            connection.close()

    @contextlib.contextmanager
    def paused(self):
        """PostgreSQL stopped dead: every process of the cluster gets SIGSTOP."""
        master = int(pathlib.Path(os.environ["SEGMENTD_TEST_PGDATA"], "postmaster.pid").read_text().split()[0])
        stats = [p.read_text() for p in pathlib.Path("/proc").glob("[0-9]*/stat")]
        pids = [master, *(int(s.split()[0]) for s in stats if int(s.rpartition(")")[2].split()[1]) == master)]

        def tell(number):
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):  # a client has just left it
                    os.kill(pid, number)

        tell(signal.SIGSTOP)
        try:
            yield
        finally:
            tell(signal.SIGCONT)


class Server:
    """The real binary on a free port of the loopback."""

    def __init__(self, database, folder, options=""):
        self.database = database
        self.log_path = folder / "segmentd.log"
        self.config_path = folder / "segmentd.ini"
        self.config_path.write_text(f"[http]\nlisten = 127.0.0.1:0\n[database]\nurl = {database.url}\n[jobs]\nlease_seconds = 3\n{options}")
        self.process = None
        self.port = 0

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def start(self):
        if self.port:  # the same address again, so that clients need not know of the restart
            text = self.config_path.read_text()
            self.config_path.write_text(re.sub(r"listen = \S+", f"listen = 127.0.0.1:{self.port}", text))
        offset = self.log_path.stat().st_size if self.log_path.exists() else 0
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen([BINARY, "--config", str(self.config_path)], stdin=subprocess.DEVNULL, stderr=log)
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            text = self.log_path.read_text(errors="replace")[offset:]
            found = re.search(r'"msg":"listening","address":"127\.0\.0\.1:(\d+)"', text)
            if found:
                self.port = int(found.group(1))
                return
            assert self.process.poll() is None, text
            time.sleep(0.02)
        raise AssertionError(f"the server does not start: {self.log_path.read_text(errors='replace')}")

    def stop(self):
        self.process.terminate()
        assert self.process.wait(timeout=30) == 0, self.log_path.read_text(errors="replace")[-4000:]

    def kill(self):
        self.process.kill()
        self.process.wait()

    def command(self, *words):
        return subprocess.run([BINARY, *words, "--config", str(self.config_path)], capture_output=True, text=True, timeout=60)

    def check_log(self):
        text = self.log_path.read_text(errors="replace")
        bad = [line for line in text.splitlines() if SANITIZER_LINE.search(line)]
        assert not bad, "\n".join(text.splitlines()[-60:])
        for line in text.splitlines():
            json.loads(line)


class Http(requests.Session):
    """A session whose addresses are relative to the server."""

    def __init__(self, server):
        super().__init__()
        self.server = server
        self.trust_env = False

    def request(self, method, url, **options):
        options.setdefault("timeout", 60)
        return super().request(method, self.server.url + url if url.startswith("/") else url, **options)


@pytest.fixture(scope="session")
def template():
    """One migrated database that the others are cloned from."""
    admin(f"DROP DATABASE IF EXISTS {TEMPLATE}")
    admin(f"CREATE DATABASE {TEMPLATE}")
    with tempfile.TemporaryDirectory() as folder:
        config = pathlib.Path(folder, "segmentd.ini")
        config.write_text(f"[database]\nurl = {admin_url(TEMPLATE)}\n")
        done = subprocess.run([BINARY, "migrate", "up", "--config", str(config)], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    return TEMPLATE


@pytest.fixture(scope="module")
def database(template, request):
    name = "t_" + re.sub(r"\W", "_", request.module.__name__.split(".")[-1])
    admin(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
    admin(f"CREATE DATABASE {name} TEMPLATE {template}")
    yield Database(name)
    admin(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


@pytest.fixture(scope="module")
def sql(database):
    return database.query


@pytest.fixture(scope="module")
def server(database, tmp_path_factory):
    s = Server(database, tmp_path_factory.mktemp("server"))
    s.start()
    yield s
    if s.process.poll() is None:
        s.stop()
    s.check_log()


STRICT = """[http]
connections_max = 20
idle_timeout_s = 3
header_timeout_s = 1
body_timeout_s = 2
io_threads = 1
[limits]
body_bytes_max = 2000000
stream_bytes_max = 4000000
[database]
connections = 1
statement_timeout_s = 2
"""


@pytest.fixture(scope="module")
def strict(database, tmp_path_factory):
    """A server with small limits."""
    s = Server(database, tmp_path_factory.mktemp("strict"), options=STRICT)
    s.start()
    yield s
    s.stop()
    s.check_log()


@pytest.fixture(scope="module")
def http(server):
    with Http(server) as session:
        yield session


@pytest.fixture(scope="module")
def wait_job(http):
    def wait(job_id, timeout=120):
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            try:
                job = http.get(f"/v1/jobs/{job_id}").json()
            except requests.ConnectionError:
                job = {"state": "unknown"}
            if job["state"] in ("succeeded", "failed", "cancelled"):
                return job
            time.sleep(0.03)
        raise AssertionError(f"the job does not end: {job}")

    return wait


@pytest.fixture(scope="module")
def run_job(http, wait_job):
    def run(path, body):
        reply = http.post(path, json=body) if body is not None else http.post(path)
        assert reply.status_code == 202, reply.text
        return wait_job(reply.json()["id"])

    return run


@pytest.fixture(scope="module")
def train(http, run_job):
    """Trains a version and answers its document."""

    def train(model, spec):
        job = run_job(f"/v1/models/{model}/train", spec)
        assert job["state"] == "succeeded", job
        return http.get(f"/v1/models/{model}/versions/{job['version']}").json()

    return train


@pytest.fixture(scope="module")
def predict(http):
    def predict(model, features):
        reply = http.post(f"/v1/models/{model}/predict", json={"rows": [{"features": f} for f in features]})
        assert reply.status_code == 200, reply.text
        return reply.json()

    return predict


@pytest.fixture(scope="module")
def blobs(http):
    """Feature set blobs: 300 users in three clear groups; their features by user id."""
    random.seed(1)
    users = {}
    for i in range(300):
        group = i % 3
        users[f"u{i:03d}"] = {"x": group * 10 + random.gauss(0, 1), "y": group * -5 + random.gauss(0, 1), "channel": ("app", "web", "shop")[group]}
    body = "id,x,y,channel\n" + "".join(f"{u},{f['x']!r},{f['y']!r},{f['channel']}\n" for u, f in users.items())
    reply = http.post("/v1/feature-sets/blobs/rows?id_column=id", data=body, headers={"Content-Type": "text/csv"})
    assert reply.status_code == 200, reply.text
    return users
