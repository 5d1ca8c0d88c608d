"""Warm starts: a version that goes on from an earlier one of its model."""
import pytest

BLOBS = {"feature_set": "blobs", "features": ["x", "y"], "promote": "always"}
SEGMENTS = {
    "kmeans": {"k": 3, "tolerance": 0},
    "minibatch_kmeans": {"k": 3, "batch_size": 100},
    "gmm": {"k": 3},
    "autoencoder_kmeans": {"k": 3, "encoder": [8, 2], "epochs": 30, "learning_rate": 0.01},
    "deep_clustering": {"k": 3, "encoder": [16, 2], "pretrain_epochs": 60, "epochs": 30, "learning_rate": 0.005, "batch_size": 64, "smoothing": 5},
}
MLP = {"feature_set": "blobs", "task": "classification", "target": "channel", "features": ["x", "y"], "promote": "always",
       "algorithm": {"type": "mlp", "hidden": [8], "epochs": 60, "patience": 0, "learning_rate": 0.01}}


def spec(kind, **options):
    return {**BLOBS, "algorithm": {"type": kind, **SEGMENTS[kind], **options}}


def faults(http, model, body):
    reply = http.post(f"/v1/models/{model}/train?dry_run=true", json=body)
    assert reply.status_code == 422, reply.text
    return {e["pointer"]: e["code"] for e in reply.json()["errors"]}


@pytest.mark.parametrize("kind", SEGMENTS)
def test_segments_go_on_from_an_earlier_version_and_keep_their_ids(http, train, blobs, kind):
    users = {"columns": ["x", "y"], "data": [[f["x"], f["y"]] for f in blobs.values()]}
    model = f"warm_{kind}"
    found = lambda: [p["segment"] for p in http.post(f"/v1/models/{model}/predict", json=users).json()["predictions"]]
    first = train(model, {**spec(kind), "preprocess": {"default": {"scale": "robust"}}})
    before = found()
    body = {**spec(kind), "seed": 7, "warm_start": first["version"]}
    del body["features"]
    second = train(model, body)
    assert sum(a == b for a, b in zip(found(), before)) >= 0.97 * len(before)
    assert second["spec"]["warm_start"] == first["version"]
    assert second["spec"]["preprocess"] == first["spec"]["preprocess"] and second["spec"]["features"] == ["x", "y"]
    assert train(model, second["spec"])["artifact_sha256"] == second["artifact_sha256"]


def test_kmeans_at_rest_stays_there(train, blobs):
    first = train("resting", spec("kmeans"))
    second = train("resting", {**spec("kmeans"), "warm_start": 1})
    assert second["metrics"]["iterations"] <= 2 and second["metrics"]["converged"]
    assert second["metrics"]["inertia"] == pytest.approx(first["metrics"]["inertia"], rel=1e-9)


def test_a_mixture_goes_on_at_the_likelihood_it_had(train, blobs):
    first = train("mixture", spec("gmm"))
    second = train("mixture", {**spec("gmm"), "warm_start": 1})
    assert second["curve"]["log_likelihood"][0] == pytest.approx(first["metrics"]["log_likelihood"], abs=1e-4)
    assert second["metrics"]["iterations"] <= first["metrics"]["iterations"]


def test_deep_clustering_goes_on_without_pretraining(train, blobs):
    train("deeper", spec("deep_clustering"))
    second = train("deeper", {**spec("deep_clustering"), "warm_start": 1})
    assert "autoencoder" not in second["curve"] and second["curve"]["clustering"]["epochs"] >= 1


def test_a_network_begins_at_the_loss_where_the_earlier_one_ended(http, train, blobs):
    first = train("classes", MLP)["curve"]["network"]["train_loss"]
    second = train("classes", {**MLP, "warm_start": 1})["curve"]["network"]["train_loss"]
    assert second[0] == pytest.approx(first[-1], rel=0.2, abs=0.02) and second[0] < 0.5 * first[0]


def test_another_shape_is_refused_with_all_faults(http, train, blobs):
    train("shape", spec("autoencoder_kmeans"))
    assert faults(http, "shape", {**spec("autoencoder_kmeans", k=4, encoder=[8, 3], activation="relu"), "warm_start": 1, "features": ["x"],
                                  "preprocess": {"default": {"scale": "standard"}}}) == {
        "/algorithm/k": "differs", "/algorithm/encoder": "differs", "/algorithm/activation": "differs", "/features": "differs", "/preprocess": "differs"}
    assert faults(http, "shape", {**spec("kmeans"), "warm_start": 1}) == {"/algorithm/type": "differs"}
    assert faults(http, "shape", {**spec("autoencoder_kmeans", k="auto"), "warm_start": 1}) == {"/algorithm/k": "differs"}
    train("shape_mlp", MLP)
    assert faults(http, "shape_mlp", {**MLP, "warm_start": 1, "algorithm": {"type": "mlp", "hidden": [9], "cv": 3, "search": {"trials": 3}}}) == {
        "/algorithm/hidden": "differs", "/algorithm/cv": "unknown_value", "/algorithm/search": "unknown_value"}


def test_a_version_that_is_not_there_is_refused(http, train, blobs):
    assert faults(http, "nobody", {**spec("kmeans"), "warm_start": 1}) == {"/warm_start": "unknown_version"}
    assert faults(http, "nobody", {**spec("kmeans"), "warm_start": "last"}) == {"/warm_start": "out_of_range"}
    train("gone", spec("kmeans"))
    train("gone", spec("kmeans"))
    assert http.delete("/v1/models/gone/versions/1").status_code == 204
    assert faults(http, "gone", {**spec("kmeans"), "warm_start": 1}) == {"/warm_start": "unknown_version"}
    assert http.post("/v1/models/gone/train?dry_run=true", json={**spec("kmeans"), "warm_start": 2}).json()["warm_start"] == 2


def test_algorithms_without_a_warm_start_say_so(http, train, blobs):
    body = {**BLOBS, "features": ["x", "y", "channel"], "algorithm": {"type": "k_prototypes", "k": 3}}
    train("prototypes", body)
    assert faults(http, "prototypes", {**body, "warm_start": 1}) == {"/warm_start": "unknown_value"}


def begun_with(version, kind, model, **options):
    body = {**spec(kind, **options), "encoder_from": {"model": model, "version": version}}
    del body["features"]
    return body


@pytest.mark.parametrize("kind", ["autoencoder_kmeans", "deep_clustering"])
def test_a_model_begins_with_the_encoder_of_another(http, train, blobs, kind):
    first = train(f"coder_{kind}", {**spec(kind), "preprocess": {"default": {"scale": "robust"}}})
    encoder = first["spec"]["algorithm"]["encoder"]
    body = begun_with(1, kind, f"coder_{kind}", k=2, encoder=encoder)
    second = train(f"begun_{kind}", body)
    assert second["spec"]["encoder_from"] == {"model": f"coder_{kind}", "version": 1}
    assert second["spec"]["preprocess"] == first["spec"]["preprocess"]
    if kind == "deep_clustering":
        assert "autoencoder" not in second["curve"]
    else:
        assert second["curve"]["autoencoder"]["train_loss"][0] < 0.5 * first["curve"]["autoencoder"]["train_loss"][0]
    rows = {"columns": ["x", "y"], "data": [[f["x"], f["y"]] for f in blobs.values()]}
    assert {p["segment"] for p in http.post(f"/v1/models/begun_{kind}/predict", json=rows).json()["predictions"]} == {1, 2}
    assert train(f"begun_{kind}", second["spec"])["artifact_sha256"] == second["artifact_sha256"]


def test_an_encoder_serves_both_algorithms_that_have_one(train, blobs):
    train("pretrained", spec("autoencoder_kmeans", encoder=[16, 2], activation="relu"))
    deep = train("deep_begun", begun_with(1, "deep_clustering", "pretrained"))
    assert "autoencoder" not in deep["curve"] and deep["metrics"]["k"] == 3


def test_a_classifier_begins_with_an_encoder_as_its_first_layers(http, train, blobs):
    train("unlabelled", {**spec("autoencoder_kmeans", encoder=[8, 2]), "preprocess": {"default": {"scale": "robust"}}})
    body = {**MLP, "encoder_from": {"model": "unlabelled", "version": 1}, "algorithm": {**MLP["algorithm"], "hidden": [8, 2, 6]}}
    del body["features"]
    version = train("on_top", body)
    assert version["spec"]["encoder_from"] == {"model": "unlabelled", "version": 1} and version["spec"]["features"] == ["x", "y"]
    assert version["spec"]["preprocess"]["columns"] == http.get("/v1/models/unlabelled/versions/1").json()["spec"]["preprocess"]["columns"]
    assert train("on_top", version["spec"])["artifact_sha256"] == version["artifact_sha256"]
    assert train("on_top", {**MLP, "warm_start": 1, "algorithm": body["algorithm"]})["metrics"]["accuracy"] >= version["metrics"]["accuracy"] - 0.1
    wrong = {**body, "algorithm": {**body["algorithm"], "hidden": [8, 3], "search": {"trials": 3}}}
    assert faults(http, "on_top", wrong) == {"/algorithm/hidden": "differs", "/algorithm/search": "unknown_value"}


def test_an_encoder_that_does_not_fit_is_refused(http, train, blobs):
    train("narrow", spec("autoencoder_kmeans"))
    assert faults(http, "wide", begun_with(1, "autoencoder_kmeans", "narrow", encoder=[9, 2], activation="relu")) == {
        "/algorithm/encoder": "differs", "/algorithm/activation": "differs"}
    assert faults(http, "wide", begun_with(1, "kmeans", "narrow")) == {"/encoder_from": "unknown_value"}
    assert faults(http, "wide", begun_with(7, "autoencoder_kmeans", "narrow")) == {"/encoder_from": "unknown_version"}
    assert faults(http, "narrow", {**begun_with(1, "autoencoder_kmeans", "narrow"), "warm_start": 1}) == {"/encoder_from": "unknown_key"}
    for wrong in ({"model": "narrow"}, {"model": 3, "version": 1}, {"model": "narrow", "version": 0}, {"model": "narrow", "version": 1, "also": 1}, "narrow"):
        assert faults(http, "wide", {**spec("autoencoder_kmeans"), "encoder_from": wrong}) == {"/encoder_from": "wrong_type"}
    train("plain", spec("kmeans"))
    assert faults(http, "wide", begun_with(1, "autoencoder_kmeans", "plain")) == {"/encoder_from": "unknown_value"}
