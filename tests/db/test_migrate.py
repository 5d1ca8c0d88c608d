"""`segmentd migrate` and what the server says about a schema that is not its own."""
import itertools
import os
import re
import signal
import subprocess
import time

import psycopg2
import pytest
from conftest import BINARY, ROOT, admin, admin_url

FILES = sorted(p.name for p in (ROOT / "migrations").glob("*.sql"))
NEWEST = len(FILES)


_numbers = itertools.count(1)


def execute(url, sql):
    """Runs one statement outside a transaction; its rows, if it has any."""
    connection = psycopg2.connect(url)
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(sql)
            return cursor.fetchall() if cursor.description else None
    finally:
        connection.close()


def environment(url):
    kept = {k: v for k, v in os.environ.items() if not k.startswith("SEGMENTD_") and k != "DATABASE_URL"}
    return {**kept, "SEGMENTD_DATABASE_URL": url, "SEGMENTD_HTTP_LISTEN": "127.0.0.1:0"}


def run_segmentd(url, *words):
    return subprocess.run([BINARY, *words, "--config", "/dev/null"], env=environment(url), capture_output=True, text=True,
                          timeout=60)


def applied(url):
    """Versions in the history; [] when there is none."""
    if not execute(url, "SELECT to_regclass('segmentd.schema_migrations')")[0][0]:
        return []
    return [v for (v,) in execute(url, "SELECT version FROM segmentd.schema_migrations ORDER BY version")]


def present(url):
    """Tables, and columns as table.column."""
    return {n for row in execute(url, "SELECT relname, relname || '.' || attname FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid"
                                      " WHERE relnamespace = 'segmentd'::regnamespace AND relkind IN ('r', 'p')") for n in row}


def made_by(version):
    """A table that this migration makes, or a column, as table.column."""
    text = (ROOT / "migrations" / FILES[version - 1]).read_text()
    table = re.search(r"^CREATE TABLE (\w+)", text, re.M)
    return table.group(1) if table else ".".join(re.search(r"^ALTER TABLE (\w+) ADD COLUMN (\w+)", text, re.M).groups())


@pytest.fixture
def new_database():
    """Makes databases, empty or as clones; drops them at the end."""
    made = []

    def make(source="template0"):
        made.append(f"t_migrate_{next(_numbers)}")
        admin(f"CREATE DATABASE {made[-1]} TEMPLATE {source}")
        return admin_url(made[-1])

    yield make
    for name in made:
        admin(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def empty_database(new_database):
    return new_database()


@pytest.fixture
def migrated(new_database, template):
    return new_database(template)


def test_files_are_numbered_without_a_gap_and_carry_the_mark():
    for number, name in enumerate(FILES, 1):
        assert name.startswith(f"{number:04d}_")
        assert (ROOT / "migrations" / name).read_text().startswith("-- migrate:up\n")


def test_up_on_a_fresh_database_applies_every_file(empty_database):
    done = run_segmentd(empty_database, "migrate", "up")
    assert done.returncode == 0, done.stdout + done.stderr
    assert [line for line in done.stdout.splitlines() if line.startswith("applied")] == [
        "applied " + name[:-4].replace("_", " ", 1) for name in FILES]
    assert applied(empty_database) == list(range(1, NEWEST + 1))
    assert run_segmentd(empty_database, "migrate", "verify").returncode == 0


def test_up_again_changes_nothing(migrated):
    before = execute(migrated, "SELECT * FROM segmentd.schema_migrations ORDER BY version")
    done = run_segmentd(migrated, "migrate", "up")
    assert done.returncode == 0 and "applied" not in done.stdout
    assert execute(migrated, "SELECT * FROM segmentd.schema_migrations ORDER BY version") == before


def test_every_table_says_what_it_is_for(migrated):
    silent = execute(migrated, "SELECT relname FROM pg_class WHERE relnamespace = 'segmentd'::regnamespace"
                               " AND relkind IN ('r', 'p') AND NOT relispartition AND obj_description(oid) IS NULL")
    assert silent == []


def test_status_lists_pending_then_applied(empty_database):
    pending = run_segmentd(empty_database, "migrate", "status")
    assert pending.returncode == 0 and len(re.findall(r" pending$", pending.stdout, re.M)) == NEWEST
    run_segmentd(empty_database, "migrate", "up")
    done = run_segmentd(empty_database, "migrate", "status")
    assert len(re.findall(r" applied \d{4}-\d\d-\d\dT[\d:]+Z$", done.stdout, re.M)) == NEWEST
    assert "pending" not in done.stdout


MISMATCHES = {
    "older": (f"DELETE FROM segmentd.schema_migrations WHERE version = {NEWEST}",
              rf"at migration {NEWEST - 1}, this binary needs {NEWEST}: run \"segmentd migrate up\""),
    "newer": ("INSERT INTO segmentd.schema_migrations (version, name, sha256) VALUES (9999, 'later', repeat('0', 64))",
              rf"at migration 9999, this binary knows {NEWEST}: install a newer segmentd"),
    "edited": ("UPDATE segmentd.schema_migrations SET sha256 = repeat('0', 64) WHERE version = 2",
               r"migration 2 \(models\) was applied with another text"),
    "with a gap": ("DELETE FROM segmentd.schema_migrations WHERE version = 2",
                   r"migration 3 \(jobs\) was applied with another text"),
}


@pytest.mark.parametrize("kind", MISMATCHES)
def test_verify_and_the_server_refuse_a_schema_that_is(kind, migrated):
    change, sentence = MISMATCHES[kind]
    execute(migrated, change)
    verify = run_segmentd(migrated, "migrate", "verify")
    assert verify.returncode == 1 and re.search(sentence, verify.stdout + verify.stderr)
    serve = run_segmentd(migrated, "serve")
    assert serve.returncode == 1
    assert re.search(sentence, (serve.stdout + serve.stderr).replace('\\"', '"'))


@pytest.mark.parametrize("kind", ["newer", "edited", "with a gap"])
def test_up_leaves_a_schema_alone_that_is(kind, migrated):
    change, sentence = MISMATCHES[kind]
    execute(migrated, change)
    before = applied(migrated)
    up = run_segmentd(migrated, "migrate", "up")
    assert up.returncode == 1 and re.search(sentence, up.stdout + up.stderr)
    assert applied(migrated) == before


def test_a_database_that_is_away_is_said_so():
    for command in ("up", "status", "verify"):
        done = run_segmentd("host=/nonexistent dbname=none", "migrate", command)
        assert done.returncode == 1
        assert "the database cannot be reached" in done.stdout + done.stderr


def test_two_migrators_at_once_share_the_work(empty_database):
    both = [subprocess.Popen([BINARY, "migrate", "up", "--config", "/dev/null"], env=environment(empty_database),
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) for _ in range(2)]
    outputs = [p.communicate(timeout=60)[0] for p in both]
    assert [p.returncode for p in both] == [0, 0], outputs
    lines = [line for o in outputs for line in o.splitlines() if line.startswith("applied")]
    assert len(lines) == len(set(lines)) == NEWEST
    assert applied(empty_database) == list(range(1, NEWEST + 1))


def test_a_migrator_killed_inside_a_migration_leaves_the_one_before_it_whole(empty_database):
    blocked = 2
    execute(empty_database, "CREATE SCHEMA segmentd")
    blocker = psycopg2.connect(empty_database)  # its uncommitted table stops that migration half way
    blocker.cursor().execute(f"CREATE TABLE segmentd.{made_by(blocked)} (x integer)")
    migrator = subprocess.Popen([BINARY, "migrate", "up", "--config", "/dev/null"], env=environment(empty_database),
                                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    waiting = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    deadline = time.monotonic() + 20
    while not execute(empty_database, waiting) and time.monotonic() < deadline:
        time.sleep(0.02)
    migrator.kill()
    assert migrator.wait() == -signal.SIGKILL
    blocker.rollback()
    blocker.close()
    run_up = run_segmentd(empty_database, "migrate", "verify")
    assert f"at migration {blocked - 1}, " in run_up.stdout
    assert applied(empty_database) == list(range(1, blocked))
    assert run_segmentd(empty_database, "migrate", "up").returncode == 0
    assert applied(empty_database) == list(range(1, NEWEST + 1))


def test_a_migrator_killed_at_any_moment_leaves_history_and_tables_in_step(new_database):
    for delay_ms in range(0, 60, 6):
        url = new_database()
        migrator = subprocess.Popen([BINARY, "migrate", "up", "--config", "/dev/null"], env=environment(url),
                                    stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(delay_ms / 1000)
        migrator.kill()
        migrator.wait()
        busy = ("SELECT 1 FROM pg_stat_activity WHERE datname = current_database()"
                " AND pid <> pg_backend_pid() AND backend_type = 'client backend'")
        while execute(url, busy):  # its last statement ends by itself
            time.sleep(0.01)
        versions = applied(url)
        assert versions == list(range(1, len(versions) + 1))
        if execute(url, "SELECT to_regnamespace('segmentd')")[0][0]:
            for version in range(1, NEWEST + 1):
                assert (made_by(version) in present(url)) == (version in versions), delay_ms
        assert run_segmentd(url, "migrate", "up").returncode == 0
        assert applied(url) == list(range(1, NEWEST + 1))
