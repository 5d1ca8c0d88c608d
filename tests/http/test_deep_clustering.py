"""Deep clustering over the API: its options, its curve, its degrees."""
import pytest

DEEP = {"feature_set": "blobs", "features": ["x", "y"],
        "algorithm": {"type": "deep_clustering", "k": 3, "encoder": [16, 2], "pretrain_epochs": 60, "epochs": 30, "learning_rate": 0.005, "batch_size": 64, "smoothing": 5}}


def faults(http, **options):
    reply = http.post("/v1/models/refused/train?dry_run=true", json={**DEEP, "algorithm": {"type": "deep_clustering", **options}})
    assert reply.status_code == 422, reply.text
    return {e["pointer"]: e["code"] for e in reply.json()["errors"]}


def test_every_default_is_in_the_stored_spec(http, blobs):
    reply = http.post("/v1/models/deep/train?dry_run=true", json={**DEEP, "algorithm": {"type": "deep_clustering", "k": 4}})
    assert reply.status_code == 200, reply.text
    spec = reply.json()
    assert spec["algorithm"] == {
        "type": "deep_clustering", "k": 4, "pretrain_epochs": 100, "gamma": 0.2, "update_interval": 0, "tolerance": 0.001, "n_init": 10, "neighbours": 5,
        "smoothing": 40, "activation": "relu", "dropout": 0, "l2": 0, "optimizer": "adam", "learning_rate": 0.001, "momentum": 0.9, "batch_size": 256,
        "epochs": 100, "patience": 0, "encoder": [256, 128, 10],
        **{key: spec["algorithm"][key] for key in ("schedule", "warmup_epochs", "cosine_floor", "step_epochs", "step_factor", "clip_norm", "normalization")}}
    assert spec["preprocess"]["columns"]["x"]["scale"] == "min_max"


def test_all_faults_are_found_at_once(http, blobs):
    assert faults(http, k=3, gamma=0, pretrain_epochs=0, tolerance=2, neighbours=65, smoothing=-1, n_init=0, update_interval=1.5, min_segment_share=0.1, warmup_epochs=50) == {
        "/algorithm/gamma": "out_of_range", "/algorithm/pretrain_epochs": "out_of_range", "/algorithm/tolerance": "out_of_range",
        "/algorithm/neighbours": "out_of_range", "/algorithm/smoothing": "out_of_range", "/algorithm/n_init": "out_of_range",
        "/algorithm/update_interval": "wrong_type", "/algorithm/min_segment_share": "unknown_key"}
    assert faults(http, k=3, pretrain_epochs=10, warmup_epochs=11) == {"/algorithm/warmup_epochs": "out_of_range"}


def test_groups_are_found_and_every_user_has_a_degree_of_each(http, train, blobs):
    version = train("deep", {**DEEP, "label": True})
    metrics, curve = version["metrics"], version["curve"]
    assert version["algorithm"] == "deep_clustering" and metrics["k"] == 3 and metrics["silhouette"] > 0.6 and metrics["inertia"] > 0
    assert len(curve["autoencoder"]["train_loss"]) == 60
    assert len(curve["clustering"]["clustering_loss"]) == len(curve["clustering"]["train_loss"]) == curve["clustering"]["epochs"] <= 30
    rows = [{"features": {"x": f["x"], "y": f["y"]}} for f in blobs.values()]
    for p in http.post("/v1/models/deep/predict", json={"rows": rows}).json()["predictions"]:
        assert sum(p["probabilities"].values()) == pytest.approx(1, abs=1e-5) and p["distance"] >= 0
        assert p["confidence"] == max(p["probabilities"].values()) == p["probabilities"][str(p["segment"])]
    items = http.get("/v1/models/deep/segments").json()["items"]
    assert [s["size"] for s in items] == [100, 100, 100]
    assert all(s["centroid"]["x"] is not None for s in items)


def test_k_auto_is_chosen_on_the_codes_of_the_pretrained_encoder(http, train, blobs):
    version = train("deep_auto", {**DEEP, "algorithm": {**DEEP["algorithm"], "k": "auto", "k_min": 2, "k_max": 5}})
    assert [row["k"] for row in version["k_search"]] == [2, 3, 4, 5]
    assert [row["k"] for row in version["k_search"] if row["chosen"]] == [version["metrics"]["k"]] and version["metrics"]["k_reason"]
    assert version["metrics"]["silhouette"] > 0.5


def test_a_head_gives_the_probabilities_when_there_is_one(http, train, blobs):
    version = train("deep_head", {**DEEP, "algorithm": {**DEEP["algorithm"], "head": {"type": "mlp", "hidden": [8], "epochs": 60, "learning_rate": 0.01}}})
    assert version["metrics"]["head"]["accuracy"] > 0.95 and len(version["curve"]["network"]["train_loss"]) > 0


def test_the_stored_spec_trains_the_same_model_again(http, train, blobs):
    first = train("deep_again", DEEP)
    assert train("deep_again", first["spec"])["artifact_sha256"] == first["artifact_sha256"]


@pytest.mark.parametrize("normalization", ["batch", "layer"])
def test_encoders_may_be_normalized(http, train, blobs, normalization):
    version = train("deep_normal", {**DEEP, "algorithm": {**DEEP["algorithm"], "normalization": normalization}})
    assert version["metrics"]["silhouette"] > 0.5
