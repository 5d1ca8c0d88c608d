"""Training, versions, aliases: what is validated, stored and kept."""
import hashlib
import time

import pytest

from conftest import Http, Server

KMEANS = {"feature_set": "blobs", "algorithm": {"type": "kmeans", "k": 3}}


def test_a_dry_run_answers_the_complete_spec_and_trains_nothing(http, blobs):
    reply = http.post("/v1/models/dry/train?dry_run=true", json=KMEANS)
    assert reply.status_code == 200, reply.text
    spec = reply.json()
    assert spec["algorithm"]["n_init"] == 10 and spec["seed"] == 42 and spec["split"] == {"test": 0, "validation": 0}
    assert set(spec["preprocess"]["columns"]) == set(spec["features"])
    assert http.post("/v1/models/dry/train?dry_run=true", json=spec).json() == spec
    assert http.get("/v1/models/dry").status_code == 404


def test_all_faults_of_a_spec_are_reported_at_once(http, blobs):
    reply = http.post("/v1/models/bad/train", json={
        "feature_set": "blobs", "task": "segmentation", "features": ["x", "nope"], "surprise": 1, "seed": -1, "split": {"test": 2},
        "preprocess": {"default": {"impute": "guess"}}, "algorithm": {"type": "kmeans", "k": 0, "kk": 2, "head": {"type": "mlp", "hidden": [0]}}})
    assert reply.status_code == 422
    assert {e["pointer"] for e in reply.json()["errors"]} >= {
        "/features/1", "/surprise", "/seed", "/split/test", "/preprocess/default/impute", "/algorithm/k", "/algorithm/kk", "/algorithm/head/hidden"}


@pytest.mark.parametrize("change, pointer", [
    ({"feature_set": "none"}, "/feature_set"), ({"algorithm": {"type": "magic"}}, "/algorithm/type"), ({"algorithm": {"type": "mlp"}}, "/algorithm/type"),
    ({"target": "x"}, "/target"), ({"task": "classification"}, "/target"), ({"algorithm": {"type": "kmeans"}}, "/algorithm/k")])
def test_a_spec_that_cannot_work_says_where(http, blobs, change, pointer):
    reply = http.post("/v1/models/bad/train", json={**KMEANS, **change})
    assert reply.status_code == 422 and pointer in {e["pointer"] for e in reply.json()["errors"]}, reply.text


def test_a_version_carries_spec_metrics_curve_data_and_phases(http, train, blobs):
    version = train("full", KMEANS)
    assert version["version"] == 1 and version["metrics"]["silhouette"] > 0.7 and version["metrics"]["silhouette_method"] == "exact"
    assert set(version["duration_ms"]) == {"load", "preprocess", "fit", "evaluate", "explain", "store"}
    assert version["data"]["rows"] == 300 and len(version["data"]["hash"]) == 64
    curve = version["curve"]["inertia"]
    assert curve == sorted(curve, reverse=True)
    assert version["spec"]["algorithm"]["k"] == 3


def test_the_artifact_is_the_stored_bytes_and_the_same_at_every_training(http, train, blobs):
    one, two = train("same", KMEANS), train("same", KMEANS)
    assert one["artifact_sha256"] == two["artifact_sha256"] and (one["version"], two["version"]) == (1, 2)
    reply = http.get("/v1/models/same/versions/2/artifact")
    assert hashlib.sha256(reply.content).hexdigest() == two["artifact_sha256"]
    assert http.get("/v1/models/same/versions/2/artifact", headers={"If-None-Match": reply.headers["ETag"]}).status_code == 304


def test_champion_moves_by_alias_and_if_match_is_honoured(http, train, blobs, predict):
    train("alias", KMEANS)
    train("alias", {**KMEANS, "promote": "never"})
    assert predict("alias", [{"x": 0, "y": 0}])["version"] == 1
    assert http.put("/v1/models/alias/aliases/champion", json={"version": 2}, headers={"If-Match": '"7"'}).status_code == 412
    assert http.put("/v1/models/alias/aliases/champion", json={"version": 2}, headers={"If-Match": '"1"'}).status_code == 200
    assert predict("alias", [{"x": 0, "y": 0}])["version"] == 2
    assert http.put("/v1/models/alias/aliases/champion", json={"version": 9}).status_code == 404
    assert http.get("/v1/models/alias").json()["aliases"] == {"champion": 2}
    assert http.delete("/v1/models/alias/versions/2").status_code == 409
    assert http.delete("/v1/models/alias/versions/1").status_code == 204
    assert [v["version"] for v in http.get("/v1/models/alias/versions").json()["items"]] == [2]


def test_promote_if_better_keeps_the_better_champion(http, train, blobs):
    train("better", KMEANS)
    train("better", {**KMEANS, "algorithm": {"type": "kmeans", "k": 5}, "promote": "if_better"})
    assert http.get("/v1/models/better").json()["champion"] == 1
    train("better", {**KMEANS, "algorithm": {"type": "kmeans", "k": 5}, "promote": "always"})
    assert http.get("/v1/models/better").json()["champion"] == 3


def test_a_model_is_deleted_with_its_labels_when_forced(http, train, blobs, sql):
    train("doomed", {**KMEANS, "label": True})
    assert http.delete("/v1/models/doomed").status_code == 409
    assert http.delete("/v1/models/doomed?force=true").status_code == 204
    assert http.get("/v1/models/doomed").status_code == 404
    assert http.post("/v1/models/doomed/predict", json={"rows": []}).status_code == 404
    assert sql("SELECT count(*) FROM segmentd.label_runs r LEFT JOIN segmentd.models m ON m.id = r.model_id WHERE m.id IS NULL") == [(0,)]


def test_training_data_that_cannot_work_fails_the_job_with_a_reason(http, sql, run_job):
    sql("CREATE TABLE tiny AS SELECT i AS id, 1.0 AS x, NULL::float8 AS nothing FROM generate_series(1, 3) i")
    http.put("/v1/feature-sets/tiny", json={"relation": "public.tiny", "id_column": "id"})
    job = run_job("/v1/models/tiny/train", {"feature_set": "tiny", "features": ["x"], "algorithm": {"type": "kmeans", "k": 5}})
    assert job["state"] == "failed" and "3" in job["error"]["detail"] and "5" in job["error"]["detail"]
    job = run_job("/v1/models/tiny/train", {"feature_set": "tiny", "features": ["nothing"], "algorithm": {"type": "kmeans", "k": 2}})
    assert job["state"] == "failed" and "nothing" in job["error"]["detail"]


def test_infinite_and_huge_values_of_the_source_become_missing_and_are_counted(http, sql, train):
    sql("CREATE TABLE wild AS SELECT i AS id, CASE i WHEN 1 THEN 'Infinity'::float8 WHEN 2 THEN 'NaN' WHEN 3 THEN 1e308 ELSE i END AS x"
        " FROM generate_series(1, 60) i")
    http.put("/v1/feature-sets/wild", json={"relation": "public.wild", "id_column": "id"})
    version = train("wild", {"feature_set": "wild", "algorithm": {"type": "kmeans", "k": 2}, "label": True})
    assert any("3 values of x" in w for w in version["warnings"])
    assert version["metrics"]["inertia"] < 1e6


def test_classification_reports_every_metric_on_the_test_part(train, sql, http):
    sql("CREATE TABLE churn AS SELECT i AS id, i % 100 AS a, random() AS b, CASE WHEN i % 100 < 40 THEN 'yes' ELSE 'no' END AS churned"
        " FROM generate_series(1, 2000) i")
    http.put("/v1/feature-sets/churn", json={"relation": "public.churn", "id_column": "id"})
    version = train("churn", {"feature_set": "churn", "task": "classification", "target": "churned",
                              "algorithm": {"type": "mlp", "hidden": [8], "epochs": 60, "learning_rate": 0.01}})
    metrics = version["metrics"]
    assert metrics["evaluated_on"] == "test" and metrics["rows"] == {"train": 1200, "validation": 400, "test": 400}
    assert metrics["accuracy"] > 0.95 and metrics["roc_auc"] > 0.98
    assert [c["class"] for c in metrics["classes"]] == ["no", "yes"] and sum(map(sum, metrics["confusion_matrix"])) == 400
    assert {"precision", "recall", "f1", "pr_auc", "log_loss"} <= set(metrics)


@pytest.mark.parametrize("algorithm", [
    {"type": "kmeans", "k": 3, "head": {"type": "mlp", "hidden": [10], "epochs": 20}}, {"type": "autoencoder_kmeans", "k": 3, "epochs": 5}])
def test_the_number_of_workers_does_not_change_a_byte(server, database, blobs, train, tmp_path, algorithm):
    spec = {**KMEANS, "algorithm": algorithm}
    expected = train("workers", spec)["artifact_sha256"]
    server.stop()  # it would take the jobs of the queue that they share
    for workers in (1, 2, 4):
        folder = tmp_path / str(workers)
        folder.mkdir()
        other = Server(database, folder, f"runners = 1\nworkers = {workers}\n")
        other.start()
        with Http(other) as session:
            job = session.post("/v1/models/workers/train", json=spec).json()
            while job["state"] not in ("succeeded", "failed"):
                time.sleep(0.05)
                job = session.get(f"/v1/jobs/{job['id']}").json()
            assert session.get(f"/v1/models/workers/versions/{job['version']}").json()["artifact_sha256"] == expected
        other.stop()
    server.start()
