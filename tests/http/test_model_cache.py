"""What serves: the champion that a job announced, versions by number beside it, and the memory of those that nobody asks for any more."""
import concurrent.futures
import csv
import os
import signal
import time

import psycopg2
import pytest

import conftest

KMEANS = {"feature_set": "blobs", "algorithm": {"type": "kmeans", "k": 3}, "label": False, "promote": "always"}
ROW = {"rows": [{"features": {"x": 0.1, "y": 0.2}}]}


@pytest.fixture(scope="module")
def server(database, tmp_path_factory):
    """Its requests share one connection, so that the statement that a connection ran last tells whose it is."""
    s = conftest.Server(database, tmp_path_factory.mktemp("server"), options="[database]\nconnections = 1\n")
    s.start()
    yield s
    s.stop()
    s.check_log()


# ---- a job that has succeeded ----

def freeze(sql):
    """Stops the server processes of the two connections that wait, the cache's and the runner's: not that of requests (a job was made), nor the heartbeat's,
    which is told by its first beat."""
    return freeze_idle(sql, "query !~ '^(WITH made|UPDATE jobs)'", 2)


def freeze_cache(http, sql):
    """Stops the server process of the cache's connection: that of requests is told by what it did last, the runner's by its looking for jobs."""
    assert http.get("/v1/feature-sets").status_code == 200
    return freeze_idle(sql, "query !~ '(feature_sets|^UPDATE jobs)'", 1)


def freeze_idle(sql, which, n):
    waiting = f"SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND state = 'idle' AND {which}"
    deadline = time.monotonic() + 20
    while len(pids := [pid for pid, in sql(waiting)]) != n:
        assert time.monotonic() < deadline, sql("SELECT state, query FROM pg_stat_activity WHERE datname = current_database()")
        time.sleep(0.01)
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    return pids


def thaw(pids):
    for pid in pids:
        os.kill(pid, signal.SIGCONT)


def train_and_freeze(http, database, model):
    """(job, pids): the job is about to commit, and all connections that could tell the cache of it are frozen."""
    with psycopg2.connect(database.url) as holder, holder.cursor() as cursor:
        cursor.execute("LOCK TABLE segmentd.model_versions IN SHARE MODE")
        job = http.post(f"/v1/models/{model}/train", json=KMEANS).json()
        waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        while database.query(waits) != [(1,)]:
            time.sleep(0.01)
        return job, freeze(database.query)


TOLD = {  # where a client may learn of it
    "the job": lambda http, model, job: http.get(f"/v1/jobs/{job['id']}").json()["version"],
    "the list of jobs": lambda http, model, job: http.get(f"/v1/jobs?model={model}").json()["items"][0]["version"],
    "the model": lambda http, model, job: http.get(f"/v1/models/{model}").json()["champion"],
    "the list of models": lambda http, model, job: {m["name"]: m["champion"] for m in http.get("/v1/models").json()["items"]}[model],
}


@pytest.mark.parametrize("told", TOLD)
@pytest.mark.parametrize("n_before", [0, 1], ids=["the first version", "a later version"])
def test_a_version_serves_as_soon_as_a_client_can_know_of_it(http, database, train, blobs, n_before, told):
    """On this instance, although its cache has not got a word through since the commit."""
    model = f"{told.replace(' ', '-')}-{n_before}"
    for _ in range(n_before):
        train(model, KMEANS)
    job, pids = train_and_freeze(http, database, model)
    try:
        deadline = time.monotonic() + 20
        while TOLD[told](http, model, job) != n_before + 1:
            assert time.monotonic() < deadline
        reply = http.post(f"/v1/models/{model}/predict", json=ROW)
        assert (reply.status_code, reply.json().get("version")) == (200, n_before + 1)
    finally:
        thaw(pids)


def test_a_refresh_that_hangs_holds_up_nobody_for_longer_than_a_wait_for_the_database(http, train, blobs, sql):
    """The cache's own refresh gets no answer, so that those who would tell of the new champion cannot have it served."""
    for _ in range(2):
        train("held", {**KMEANS, "promote": "never"})
    http.put("/v1/models/held/aliases/champion", json={"version": 1})
    pids = freeze_cache(http, sql)
    try:
        sql("UPDATE segmentd.model_aliases SET version = 2 WHERE model_id = (SELECT id FROM segmentd.models WHERE name = 'held')")
        time.sleep(5.5)  # its thread looks every five seconds
        begun = time.monotonic()
        reply = http.get("/v1/models/held")
        assert (reply.status_code, reply.json()["code"]) == (503, "db_unavailable") and reply.headers["Retry-After"]
        assert 4 < time.monotonic() - begun < 7
        assert http.post("/v1/models/held/predict", json=ROW).json()["version"] == 1, "who only scores has no part in it"
    finally:
        thaw(pids)
    assert http.get("/v1/models/held").json()["champion"] == 2
    assert http.post("/v1/models/held/predict", json=ROW).json()["version"] == 2


def test_a_champion_whose_stored_bytes_were_changed_leaves_the_one_before_it_serving(http, server, train, blobs, sql):
    for _ in range(2):
        train("bent", {**KMEANS, "promote": "never"})
    http.put("/v1/models/bent/aliases/champion", json={"version": 1})
    sql("UPDATE segmentd.model_versions SET artifact = set_byte(artifact, 100, 255 - get_byte(artifact, 100))"
        " WHERE version = 2 AND model_id = (SELECT id FROM segmentd.models WHERE name = 'bent')")
    http.put("/v1/models/bent/aliases/champion", json={"version": 2})
    for _ in range(20):
        assert http.get("/v1/models/bent").json()["champion"] == 2
        assert http.post("/v1/models/bent/predict", json=ROW).json()["version"] == 1
    n_refused = server.log_path.read_text().count('"msg":"model refused"')
    assert 1 <= n_refused < 10, "refused at each look at the model"
    http.put("/v1/models/bent/aliases/champion", json={"version": 1})


# ---- versions side by side ----

FORMS = {  # how the versions are asked for, and where an answer has its segments
    "json": (lambda users: {"json": {"rows": [{"features": f} for f in users]}}, lambda r: (r.json()["version"], [p["segment"] for p in r.json()["predictions"]])),
    "csv": (lambda users: {"data": "x,y,channel\n" + "".join(f"{f['x']!r},{f['y']!r},{f['channel']}\n" for f in users), "headers": {"Content-Type": "text/csv"}},
            lambda r: (int(r.headers["X-Model-Version"]), [int(row["segment"]) for row in csv.DictReader(r.text.splitlines())])),
}


def ask(session, model, version, form, users):
    """(version that the answer names, its segments)"""
    request, answer = FORMS[form]
    reply = session.post(f"/v1/models/{model}/predict", params={"version": version} if version else None, **request(users))
    assert reply.status_code == 200, reply.text
    return answer(reply)


@pytest.mark.races
def test_versions_by_number_and_a_champion_that_moves_are_never_mixed(server, http, train, blobs):
    """More versions than are kept in memory, so that they come and go while they are used."""
    users = list(blobs.values())[:60]
    for k in range(2, 14):
        train("many", {**KMEANS, "algorithm": {"type": "kmeans", "k": k, "n_init": 1}, "promote": "never"})
    http.put("/v1/models/many/aliases/champion", json={"version": 1})
    expected = {v: ask(http, "many", v, "json", users)[1] for v in range(1, 13)}
    assert len({tuple(e) for e in expected.values()}) == 12, "their answers tell them apart"
    until = time.monotonic() + 3

    def client(number):
        seen, form = set(), list(FORMS)[number % 2]
        with conftest.Http(server) as session:
            turn = number
            while time.monotonic() < until:
                turn += 1
                version = turn % 12 + 1 if number < 4 else None
                named, segments = ask(session, "many", version, form, users)
                assert version in (None, named) and segments == expected[named]
                seen.add(named)
        return seen

    def switch():
        with conftest.Http(server) as session:
            turn = 0
            while time.monotonic() < until:
                turn += 1
                assert session.put("/v1/models/many/aliases/champion", json={"version": turn % 12 + 1}).status_code == 200

    with concurrent.futures.ThreadPoolExecutor(9) as pool:
        clients = [pool.submit(client, n) for n in range(8)]
        switches = pool.submit(switch)
        seen = [c.result() for c in clients]
        switches.result()
    assert all(s == set(expected) for s in seen[:4]) and len(set.union(*seen[4:])) > 3, "the champion moved under them"


@pytest.mark.parametrize("version", [1, 2], ids=["a version by number", "the champion"])
def test_a_segment_that_was_renamed_is_served_by_its_new_name(http, train, blobs, sql, version):
    model = f"renamed-{version}"
    train(model, {**KMEANS, "label": True})
    train(model, {**KMEANS, "label": True})

    def named():
        prediction = http.post(f"/v1/models/{model}/predict?version={version}", json=ROW).json()["predictions"][0]
        return prediction["segment"], prediction["segment_name"]

    segment, before = named()
    sql("UPDATE segmentd.segments SET name = 'night owls' WHERE segment = %s AND model_id = (SELECT id FROM segmentd.models WHERE name = %s)", segment, model)
    sql("SELECT pg_notify('segmentd_models', '')")
    assert before != "night owls"
    deadline = time.monotonic() + 3
    while named() != (segment, "night owls"):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def resident_mb(server):
    text = open(f"/proc/{server.process.pid}/status").read()
    return int(text.split("VmRSS:")[1].split()[0]) / 1024


@pytest.mark.skipif("ASAN_OPTIONS" in os.environ, reason="a sanitizer keeps what was freed")
def test_the_memory_of_versions_that_have_retired_returns(server, http, train, blobs):
    """Each version has 4 MB of weights; a champion and 8 others stay."""
    n = 16
    wide = {"type": "mlp", "hidden": [1024, 1024], "epochs": 1, "batch_size": 300}
    for seed in range(n):
        train("wide", {"feature_set": "blobs", "task": "classification", "target": "channel", "algorithm": wide, "seed": seed, "promote": "never"})
    row = {"rows": [{"features": {"x": 0.1, "y": 0.2}}]}
    before = resident_mb(server)
    figures = []
    for turn in range(4):
        for version in range(1, n + 1):
            assert http.post(f"/v1/models/wide/predict?version={version}", json=row).json()["version"] == version
        figures.append(resident_mb(server))
    for version in [*range(1, n + 1)] * 2:
        http.put("/v1/models/wide/aliases/champion", json={"version": version})
        assert http.post("/v1/models/wide/predict", json=row).json()["version"] == version
    figures.append(resident_mb(server))
    assert max(figures) < before + 4.1 * 12, (before, figures)
    assert http.delete("/v1/models/wide?force=true").status_code == 204
    assert resident_mb(server) < before + 8, (before, figures, resident_mb(server))
