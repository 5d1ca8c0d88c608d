"""Principal components as the last step of preprocessing, whatever algorithm works on them."""
import math

import pytest

SPEC = {"feature_set": "blobs", "features": ["x", "y", "channel"], "preprocess": {"pca": {"components": 2}},
        "algorithm": {"type": "kmeans", "k": 3}, "promote": "always"}
ALGORITHMS = [
    {"type": "kmeans", "k": 3},
    {"type": "kmeans", "k": 3, "head": {"type": "mlp", "hidden": [8], "epochs": 100, "learning_rate": 0.01}},
    {"type": "minibatch_kmeans", "k": 3},
    {"type": "gmm", "k": 3},
    {"type": "autoencoder_kmeans", "k": 3, "encoder": [4, 2], "epochs": 50},
]


def spec(pca, **more):
    return {**SPEC, "preprocess": {"pca": pca}, **more}


def faults(http, body):
    reply = http.post("/v1/models/refused/train?dry_run=true", json=body)
    assert reply.status_code == 422, reply.text
    return {e["pointer"]: e["code"] for e in reply.json()["errors"]}


def groups_of(answers, key="segment"):
    groups = [{a[key] for a in answers[g::3]} for g in range(3)]
    assert all(len(g) == 1 for g in groups)
    return [g.pop() for g in groups]


@pytest.mark.parametrize("algorithm", ALGORITHMS, ids=lambda a: a["type"] + (" and head" if "head" in a else ""))
def test_every_algorithm_works_on_components(http, train, predict, blobs, algorithm):
    version = train("components", spec({"components": 2, "whiten": True}, algorithm=algorithm, label=True))
    rows = [{"x": f["x"], "y": f["y"], "channel": f["channel"]} for f in blobs.values()]
    together = predict("components", rows)["predictions"]
    assert len(set(groups_of(together))) == 3
    for row, answer in list(zip(rows, together))[::41]:
        alone = predict("components", [row])["predictions"][0]
        assert (alone["segment"], alone["distance"], alone["confidence"]) == (answer["segment"], answer["distance"], answer["confidence"])
    assert version["metrics"]["pca"]["components"] == 2
    for segment in http.get("/v1/models/components/segments").json()["items"] if "encoder" not in algorithm else []:
        x = next(f["mean"] for f in segment["features"] if f["name"] == "x")
        assert abs(segment["centroid"]["x"] - x) < 3  # in original units, the way back through the components


def test_a_classifier_works_on_components(http, train, predict, blobs):
    train("classes", spec({"variance": 0.99}, task="classification", target="channel", features=["x", "y"],
                          algorithm={"type": "mlp", "hidden": [8], "epochs": 200, "learning_rate": 0.01}))
    answers = predict("classes", [{"x": f["x"], "y": f["y"]} for f in blobs.values()])["predictions"]
    assert sum(a["class"] == f["channel"] for a, f in zip(answers, blobs.values())) > 290


def test_metrics_say_what_the_components_explain(http, train, blobs):
    pca = train("explained", spec({}))["metrics"]["pca"]
    ratio = pca["explained_variance_ratio"]
    assert pca["columns"] == 5 and pca["components"] == len(ratio) == 4  # three columns of one channel depend on each other
    assert ratio == sorted(ratio, reverse=True) and math.isclose(sum(ratio), pca["explained_variance"]) and math.isclose(sum(ratio), 1, rel_tol=1e-9)
    assert http.get("/v1/models/explained/projection").json()["columns"] == ["pca_1", "pca_2", "pca_3", "pca_4"]
    assert "pca" not in train("plain", {**SPEC, "preprocess": {}})["metrics"]


def test_the_stored_spec_trains_the_same_bytes(train, blobs):
    for pca, stored in (({}, {"variance": 1, "whiten": False}), ({"components": 2, "whiten": True}, {"components": 2, "whiten": True}),
                        ({"variance": 0.9}, {"variance": 0.9, "whiten": False})):
        first = train("again", spec(pca))
        assert first["spec"]["preprocess"]["pca"] == stored
        assert train("again", first["spec"])["artifact_sha256"] == first["artifact_sha256"]
    assert "pca" not in train("again", spec(None))["spec"]["preprocess"]


def test_fewer_directions_than_asked_for_are_a_warning(http, run_job, blobs):
    job = run_job("/v1/models/few/train", spec({"components": 9}))
    assert job["state"] == "succeeded" and any("4 components instead of 9" in w for w in job["warnings"]), job["warnings"]


def test_a_missing_feature_is_imputed_before_the_components(train, predict, blobs):
    train("missing", spec({"components": 3}))
    answers = predict("missing", [{"x": 10, "y": -5, "channel": "web"}, {"x": 10, "y": -5}, {"x": 10}])["predictions"]
    assert [a["status"] for a in answers] == ["ok", "ok", "insufficient_data"]
    assert answers[1]["imputed"] == ["channel"] and answers[0]["segment"] == answers[1]["segment"]


def test_derived_columns_and_components_go_together(http, train, predict, blobs):
    body = spec({"variance": 0.999})
    body["preprocess"]["derive"] = [{"name": "slope", "op": "ratio", "of": ["y", "x"]}]
    version = train("both", body)
    assert version["metrics"]["pca"]["columns"] == 6
    answers = predict("both", [{"x": 0, "y": -5, "channel": "app"}])["predictions"]
    assert answers[0]["status"] == "ok" and answers[0]["imputed"] == ["slope"]


def test_faults_are_reported_where_they_are(http, blobs):
    assert faults(http, spec({"components": 0, "whiten": 1, "solver": "fast"})) == {
        "/preprocess/pca/components": "out_of_range", "/preprocess/pca/whiten": "wrong_type", "/preprocess/pca/solver": "unknown_key"}
    assert faults(http, spec({"components": 2, "variance": 0.9})) == {"/preprocess/pca": "unknown_key"}
    assert faults(http, spec({"variance": 0})) == {"/preprocess/pca/variance": "out_of_range"}
    assert faults(http, spec({"variance": 1.5})) == {"/preprocess/pca/variance": "out_of_range"}
    assert faults(http, spec({}, algorithm={"type": "k_prototypes", "k": 3})) == {"/preprocess/pca": "unknown_key"}
    assert faults(http, spec(True)) == {"/preprocess/pca": "wrong_type"}
