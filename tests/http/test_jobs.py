"""Jobs: queued, watched, cancelled, taken up again, ended once."""
import contextlib
import datetime
import json
import os
import re
import threading
import time

import conftest
import psycopg2
import pytest

BIG = {"feature_set": "blobs", "algorithm": {"type": "kmeans", "k": 3, "head": {"type": "mlp", "hidden": [512, 512], "epochs": 5000, "patience": 0}}}  # a minute
QUICK = {"feature_set": "blobs", "algorithm": {"type": "kmeans", "k": 3}}


def wait_running(http, job):
    for _ in range(200):
        if http.get(f"/v1/jobs/{job['id']}").json()["state"] != "queued":
            return
        time.sleep(0.02)


def wait_for(sql, query, expected):
    """Ten seconds at most, until the query's one value is this."""
    deadline = time.monotonic() + 10
    while (found := sql(query)) != [(expected,)]:
        assert time.monotonic() < deadline, (query, found)
        time.sleep(0.05)


def test_a_job_has_a_location_progress_and_an_end(http, blobs, wait_job):
    reply = http.post("/v1/models/jobs1/train", json=QUICK)
    assert reply.status_code == 202 and reply.headers["Location"] == f"/v1/jobs/{reply.json()['id']}"
    job = wait_job(reply.json()["id"])
    assert (job["state"], job["progress"], job["version"], job["attempt"]) == ("succeeded", 1, 1, 1)
    assert job["started_at"] >= job["created_at"] and job["finished_at"] >= job["started_at"]


def test_a_job_ends_when_it_publishes_and_not_when_it_begins_to(http, blobs, wait_job):
    job = wait_job(http.post("/v1/models/jobs_end/train", json={**QUICK, "label": True}).json()["id"])
    begun = http.get("/v1/models/jobs_end/versions/1").json()["created_at"]  # the publishing transaction
    assert job["started_at"] < begun < job["finished_at"]


@pytest.mark.races
def test_a_running_job_is_cancelled_within_a_second(http, blobs, wait_job):
    job = http.post("/v1/models/jobs2/train", json=BIG).json()
    wait_running(http, job)
    start = time.monotonic()
    assert http.post(f"/v1/jobs/{job['id']}/cancel").status_code in (200, 202)
    assert wait_job(job["id"])["state"] == "cancelled"
    assert time.monotonic() - start < 3
    assert http.get("/v1/models/jobs2/versions").json()["items"] == []


@pytest.mark.races
def test_a_training_cancelled_at_any_moment_leaves_everything_or_nothing(http, wait_job, sql):
    sql("CREATE TABLE public.crowd AS SELECT g AS user_id, (g % 3)::real AS x, random()::real AS y FROM generate_series(1, 60000) g")
    assert http.put("/v1/feature-sets/crowd", json={"relation": "public.crowd", "id_column": "user_id"}).status_code in (200, 201)
    n_published = 0
    for i in range(12):
        job = http.post("/v1/models/crowd/train", json={**QUICK, "feature_set": "crowd", "label": True}).json()
        time.sleep(0.03 * i)
        http.post(f"/v1/jobs/{job['id']}/cancel")
        ended = wait_job(job["id"])
        assert ended["state"] == "succeeded" or ended["message"] in ("cancelled", "cancelled before it started")
        n_published += ended["state"] == "succeeded"
        assert sql("SELECT count(*) FROM segmentd.label_runs") == sql(
            "SELECT count(*) FROM pg_class c JOIN pg_inherits i ON i.inhrelid = c.oid WHERE c.relname ~ '^labels_[0-9]+$'")
        assert sql("SELECT count(*) FROM pg_class WHERE relkind = 'r' AND relname ~ '^labels_[0-9]+$' AND NOT relispartition") == [(0,)]
        assert len(http.get("/v1/models/crowd/versions").json()["items"]) == n_published


def test_a_job_that_waits_for_its_first_row_is_cancelled(http, sql, train):
    """The view sorts or sums for as long as it likes before it says a word."""
    sql("CREATE TABLE public.pace AS SELECT 0 AS seconds;"
        "CREATE VIEW public.slow AS SELECT g AS id, (g % 3)::real AS x FROM (SELECT pg_sleep(seconds) FROM public.pace OFFSET 0) p, generate_series(1, 300) g")
    http.put("/v1/feature-sets/slow", json={"relation": "public.slow", "id_column": "id", "columns": [{"name": "x", "type": "numeric"}]})
    spec = {**QUICK, "feature_set": "slow", "label": True}
    train("jobs_slow", spec)
    sql("UPDATE public.pace SET seconds = 30")
    for path in ("train", "label"):
        job = http.post(f"/v1/models/jobs_slow/{path}", json=spec if path == "train" else None).json()
        wait_for(sql, "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'COPY (SELECT%' AND wait_event = 'PgSleep'", 1)
        http.post(f"/v1/jobs/{job['id']}/cancel")
        wait_for(sql, f"SELECT count(*) FROM segmentd.jobs WHERE id = '{job['id']}' AND state = 'cancelled' AND message = 'cancelled'", 1)


def test_a_cancelled_job_can_be_retried_and_a_running_one_cannot(http, blobs, wait_job):
    job = http.post("/v1/models/jobs3/train", json=BIG).json()
    wait_running(http, job)
    assert http.post(f"/v1/jobs/{job['id']}/retry").status_code == 409
    http.post(f"/v1/jobs/{job['id']}/cancel")
    wait_job(job["id"])
    assert http.post(f"/v1/jobs/{job['id']}/retry").json()["state"] == "queued"
    wait_running(http, job)
    http.post(f"/v1/jobs/{job['id']}/cancel")
    assert wait_job(job["id"])["attempt"] == 2


def test_the_end_of_a_job_is_written_although_its_connection_was_lost(http, blobs, sql):
    job = http.post("/v1/models/jobs_lost/train", json=BIG).json()
    idle = "FROM pg_stat_activity WHERE query LIKE 'COPY (SELECT%' AND state = 'idle'"
    wait_for(sql, f"SELECT count(*) {idle}", 1)
    sql(f"SELECT pg_terminate_backend(pid) {idle}")
    http.post(f"/v1/jobs/{job['id']}/cancel")
    wait_for(sql, f"SELECT state FROM segmentd.jobs WHERE id = '{job['id']}'", "cancelled")
    ended = http.get(f"/v1/jobs/{job['id']}").json()
    assert ended["message"] == "cancelled"  # by its runner: not when its lease had run out


def test_a_training_of_classes_labels_although_its_connection_was_lost(http, sql, wait_job):
    """It reads its users again, those without the target too, when nothing has come over that connection for long."""
    sql("CREATE TABLE public.churn AS SELECT g AS id, (g % 7)::real AS x, (g % 5)::real AS y, CASE g % 3 WHEN 0 THEN 'yes' WHEN 1 THEN 'no' END AS churned "
        "FROM generate_series(1, 6000) g")
    http.put("/v1/feature-sets/churn", json={"relation": "public.churn", "id_column": "id"})
    spec = {"feature_set": "churn", "task": "classification", "target": "churned", "label": True,
            "algorithm": {"type": "mlp", "hidden": [256, 256], "epochs": 30, "patience": 0}}
    job = http.post("/v1/models/jobs_classes/train", json=spec).json()
    idle = "FROM pg_stat_activity WHERE query LIKE 'COPY (SELECT%' AND state = 'idle'"
    wait_for(sql, f"SELECT count(*) {idle}", 1)
    sql(f"SELECT pg_terminate_backend(pid) {idle}")
    ended = wait_job(job["id"])
    assert (ended["state"], ended["attempt"]) == ("succeeded", 1)
    assert sql(f"SELECT n_users FROM segmentd.label_runs WHERE job_id = '{job['id']}'") == [(6000,)]


@contextlib.contextmanager
def ends_refused(sql, state, refusal):
    """A job's first attempt cannot be written as ended in this state."""
    sql(f"CREATE FUNCTION public.refuse_end() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF OLD.attempt = 1 THEN {refusal}; END IF; RETURN NEW; END $$;"
        f"CREATE TRIGGER refuse_end BEFORE UPDATE ON segmentd.jobs FOR EACH ROW WHEN (NEW.state = '{state}') EXECUTE FUNCTION public.refuse_end()")
    try:
        yield
    finally:
        sql("DROP FUNCTION public.refuse_end() CASCADE")


def n_failed(http):
    return int(re.search(r'segmentd_jobs_total{state="failed"} (\d+)', http.get("/metrics").text)[1])


def wait_counted(http, expected):
    """An end is counted a moment after it can be seen."""
    deadline = time.monotonic() + 5
    while n_failed(http) < expected and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.1)
    assert n_failed(http) == expected


def test_a_job_whose_end_was_not_written_is_counted_once(http, sql, wait_job):
    """By the one who claims it after its lease, and writes its end."""
    sql("CREATE TABLE public.alone AS SELECT 1 AS id, 1::real AS x")
    http.put("/v1/feature-sets/alone", json={"relation": "public.alone", "id_column": "id"})
    before = n_failed(http)
    with ends_refused(sql, "failed", "RETURN NULL"):
        ended = wait_job(http.post("/v1/models/jobs_once/train", json={**QUICK, "feature_set": "alone"}).json()["id"])
    assert (ended["state"], ended["attempt"]) == ("failed", 2)
    wait_counted(http, before + 1)


def test_a_job_that_fails_with_its_last_attempt_is_counted(http, blobs, sql, wait_job):
    before = n_failed(http)
    with ends_refused(sql, "succeeded", "RAISE EXCEPTION 'again' USING ERRCODE = '40001'"):
        job = http.post("/v1/models/jobs_last/train", json=QUICK).json()
        sql(f"UPDATE segmentd.jobs SET attempt_limit = 1 WHERE id = '{job['id']}'")
        ended = wait_job(job["id"])
    assert (ended["state"], ended["attempt"], ended["error"]["code"]) == ("failed", 1, "attempts_exhausted")
    wait_counted(http, before + 1)


@pytest.mark.races
def test_an_idempotency_key_makes_one_job_of_many_requests(http, blobs, wait_job):
    replies = []

    def post():
        replies.append(http.post("/v1/models/jobs4/train", json=QUICK, headers={"Idempotency-Key": "k1"}))

    threads = [threading.Thread(target=post) for _ in range(20)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert {r.status_code for r in replies} == {202} and len({r.json()["id"] for r in replies}) == 1
    other = http.post("/v1/models/jobs4/train", json={**QUICK, "seed": 7}, headers={"Idempotency-Key": "k1"})
    assert other.status_code == 422 and other.json()["code"] == "idempotency_mismatch"
    wait_job(replies[0].json()["id"])


def test_a_training_that_ends_before_it_loads_closes_nothing_of_others(server, http, blobs, wait_job, sql):
    first = f"/proc/{server.process.pid}/fd/0"
    before = os.readlink(first)
    job = http.post("/v1/models/jobs_early/train", json=BIG).json()
    http.post(f"/v1/jobs/{job['id']}/cancel")
    wait_job(job["id"])
    sql("UPDATE segmentd.jobs SET spec = '{}' WHERE id = %s", job["id"])
    http.post(f"/v1/jobs/{job['id']}/retry")
    failed = wait_job(job["id"])
    assert (failed["state"], failed["error"]["code"]) == ("failed", "invalid")
    assert os.readlink(first) == before


def test_a_training_that_cannot_publish_is_not_evaluated(server, http, sql, run_job):
    """Equal numbers are clustered at once; the silhouette of the rows takes seconds all the same."""
    sql("CREATE TABLE public.wide AS SELECT g AS id, array_fill((g % 97)::real, ARRAY[2048]) AS v FROM generate_series(1, 10000) g")
    http.put("/v1/feature-sets/wide", json={"relation": "public.wide", "id_column": "id", "columns": [{"name": "v", "type": "vector", "width": 2048}]})
    sql("CREATE FUNCTION public.refuse() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no more tables'; END $$;"
        "CREATE EVENT TRIGGER no_tables ON ddl_command_start WHEN TAG IN ('CREATE TABLE') EXECUTE FUNCTION public.refuse()")
    try:
        job = run_job("/v1/models/jobs_wide/train", {"feature_set": "wide", "label": True, "algorithm": {"type": "kmeans", "k": 2}})
    finally:
        sql("DROP EVENT TRIGGER no_tables")
    assert (job["state"], job["error"]["code"]) == ("failed", "database_error") and "writing labels" in job["error"]["detail"], job
    events = [json.loads(line) for line in server.log_path.read_text().splitlines()]
    refused, failed = (datetime.datetime.fromisoformat(e["ts"].rstrip("Z")) for e in events if e.get("reason") == "no more tables" or (e["msg"], e.get("job")) == ("job failed", job["id"]))
    assert (failed - refused).total_seconds() < 1


def test_a_model_that_is_ready_waits_for_a_connection_to_publish(server, http, blobs, sql, database, wait_job):
    """As when all of max_connections are taken for a moment."""
    heartbeat = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%lease_until = now()%RETURNING state%' AND pid <> pg_backend_pid()"
    job = http.post("/v1/models/jobs_patient/train", json={**BIG, "algorithm": {**BIG["algorithm"], "head": {"type": "mlp", "hidden": [512, 512], "epochs": 150, "patience": 0}}}).json()
    wait_for(sql, heartbeat, 1)
    conftest.admin(f"ALTER DATABASE {database.name} ALLOW_CONNECTIONS false")
    try:
        deadline = time.monotonic() + 30
        while "not currently accepting connections" not in server.log_path.read_text():
            assert time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        conftest.admin(f"ALTER DATABASE {database.name} ALLOW_CONNECTIONS true")
    done = wait_job(job["id"])
    assert (done["state"], done["attempt"]) == ("succeeded", 1)


def test_jobs_are_listed_newest_first_and_filtered(http, blobs, train):
    for _ in range(3):
        train("jobs5", QUICK)
    seen, cursor = [], None
    while True:
        page = http.get("/v1/jobs", params={"model": "jobs5", "state": "succeeded", "limit": 2, **({"cursor": cursor} if cursor else {})}).json()
        seen += page["items"]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert [j["version"] for j in seen] == [3, 2, 1]
    assert http.get("/v1/jobs?state=odd").status_code == 400
    assert http.get("/v1/jobs/not-a-uuid").status_code == 404


def test_a_killed_server_loses_no_job_and_publishes_once(server, http, blobs, wait_job, sql):
    job = http.post("/v1/models/killed/train", json={**BIG, "label": True, "algorithm": {**BIG["algorithm"], "head": {"type": "mlp", "epochs": 300, "patience": 0}}}).json()
    for delay in (0.05, 0.2, 0.5):
        wait_running(http, job)
        time.sleep(delay)
        server.kill()
        server.start()
    done = wait_job(job["id"], timeout=90)
    assert done["state"] == "succeeded", done
    assert sql("SELECT count(*) FROM segmentd.model_versions v JOIN segmentd.models m ON m.id = v.model_id WHERE m.name = 'killed'") == [(1,)]
    segments = http.get("/v1/models/killed/segments").json()
    assert segments["n_users"] == 300 and sum(s["size"] for s in segments["items"]) == 300


def test_a_server_stops_while_an_index_waits(server, blobs, train, database, sql):
    train("jobs_index", {**QUICK, "label": True})
    (run,), = sql("SELECT max(id) FROM segmentd.label_runs")
    index, missing = f"segmentd.labels_{run}_result", f"SELECT to_regclass('segmentd.labels_{run}_result') IS NULL"
    wait_for(sql, missing, False)
    server.stop()
    sql(f"DROP INDEX {index}")
    with contextlib.closing(psycopg2.connect(database.url)) as other, other.cursor() as cursor:
        cursor.execute(f"LOCK TABLE segmentd.labels_{run} IN ROW EXCLUSIVE MODE")
        server.start()
        wait_for(sql, "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'CREATE INDEX%' AND wait_event_type = 'Lock'", 1)
        start = time.monotonic()
        server.stop()
        assert time.monotonic() - start < 4
    server.start()
    wait_for(sql, missing, False)


def test_a_server_stops_although_postgresql_does_not_answer(server, database, sql):
    wait_for(sql, "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%FOR UPDATE SKIP LOCKED%' AND state = 'idle' AND pid <> pg_backend_pid()", 1)
    with database.paused():
        time.sleep(2.5)  # by now the runner waits for a look at the queue
        server.process.terminate()
        try:
            assert server.process.wait(30) == 0
        finally:
            server.kill()
    server.start()
