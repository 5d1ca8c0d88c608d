"""What serves: the champion that a job announced, versions by number beside it, and the memory of those that nobody asks for any more."""
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
    """Stops the server processes of the connections that wait, but those of requests (a job was made) and of the heartbeat."""
    pids = [pid for pid, in sql("SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND state = 'idle' AND query !~ '^(WITH made|UPDATE jobs)'")]
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
        assert len(pids) == 2
        deadline = time.monotonic() + 20
        while TOLD[told](http, model, job) != n_before + 1:
            assert time.monotonic() < deadline
        reply = http.post(f"/v1/models/{model}/predict", json=ROW)
        assert (reply.status_code, reply.json().get("version")) == (200, n_before + 1)
    finally:
        thaw(pids)


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
