"""Options of networks: classifier, head and autoencoder take them alike, the stored spec has them all."""
import pytest

CLASSIFIER = {"feature_set": "blobs", "task": "classification", "target": "channel", "features": ["x", "y"]}
SEGMENTS = {"feature_set": "blobs", "features": ["x", "y"]}
OPTIONS = {"schedule": "cosine", "warmup_epochs": 2, "cosine_floor": 0.05, "step_epochs": 5, "step_factor": 0.5, "clip_norm": 1.5,
           "normalization": "batch"}
DEFAULTS = {"schedule": "constant", "warmup_epochs": 0, "cosine_floor": 0, "step_epochs": 30, "step_factor": 0.1, "clip_norm": 0,
            "normalization": "none"}


def spec_of(where, options):
    """(spec, how to find the network's options in it)"""
    if where == "classifier":
        return {**CLASSIFIER, "algorithm": {"type": "mlp", "hidden": [8], "epochs": 60, "learning_rate": 0.02, "batch_size": 32, **options}}, lambda s: s["algorithm"]
    if where == "head":
        return {**SEGMENTS, "algorithm": {"type": "kmeans", "k": 3, "head": {"type": "mlp", "hidden": [8], "epochs": 20, **options}}}, lambda s: s["algorithm"]["head"]
    return {**SEGMENTS, "algorithm": {"type": "autoencoder_kmeans", "k": 3, "encoder": [8, 2], "epochs": 20, **options}}, lambda s: s["algorithm"]


def faults(http, spec):
    reply = http.post("/v1/models/refused/train?dry_run=true", json=spec)
    assert reply.status_code == 422, reply.text
    return {e["pointer"]: e["code"] for e in reply.json()["errors"]}


@pytest.mark.parametrize("where", ["classifier", "head", "autoencoder"])
def test_a_stored_spec_has_the_options_and_trains_the_same_bytes(train, blobs, where):
    options = OPTIONS if where == "autoencoder" else {**OPTIONS, "label_smoothing": 0.1}
    spec, network = spec_of(where, options)
    first = train(f"options_{where}", spec)
    assert {k: network(first["spec"])[k] for k in options} == options
    again = train(f"options_{where}", first["spec"])
    assert again["artifact_sha256"] == first["artifact_sha256"]


@pytest.mark.parametrize("where", ["classifier", "head", "autoencoder"])
def test_a_spec_from_before_the_options_trains_what_it_trained(train, blobs, where):
    spec, network = spec_of(where, {})
    first = train(f"plain_{where}", spec)
    assert {k: network(first["spec"])[k] for k in DEFAULTS} == DEFAULTS
    for key in [*DEFAULTS, "label_smoothing"]:
        network(first["spec"]).pop(key, None)
    assert train(f"plain_{where}", first["spec"])["artifact_sha256"] == first["artifact_sha256"]


@pytest.mark.parametrize("options", [{"schedule": "cosine"}, {"schedule": "step", "step_epochs": 30}, {"warmup_epochs": 5}, {"clip_norm": 0.1},
                                     {"label_smoothing": 0.2}, {"normalization": "batch"}, {"normalization": "layer"}], ids=str)
def test_each_option_changes_the_network_and_it_still_learns(train, blobs, options):
    plain = train("each", spec_of("classifier", {})[0])
    other = train("each", spec_of("classifier", options)[0])
    assert other["artifact_sha256"] != plain["artifact_sha256"]
    assert other["metrics"]["accuracy"] > 0.9


def test_options_out_of_range_are_all_told_at_once(http, blobs):
    wrong = {"schedule": "linear", "warmup_epochs": 201, "cosine_floor": 2, "step_epochs": 0, "step_factor": 0, "clip_norm": -1, "label_smoothing": 1,
             "normalization": "group"}
    codes = {key: "unknown_value" if key in ("schedule", "normalization") else "out_of_range" for key in wrong}
    assert faults(http, spec_of("classifier", wrong)[0]) == {f"/algorithm/{k}": c for k, c in codes.items()}
    assert faults(http, spec_of("head", wrong)[0]) == {f"/algorithm/head/{k}": c for k, c in codes.items()}
    codes["label_smoothing"] = "unknown_key"
    assert faults(http, spec_of("autoencoder", wrong)[0]) == {f"/algorithm/{k}": c for k, c in codes.items()}


def test_options_that_do_not_go_together_are_refused(http, blobs):
    assert faults(http, spec_of("classifier", {"normalization": "batch", "batch_size": 1})[0]) == {"/algorithm/batch_size": "out_of_range"}
    assert faults(http, spec_of("head", {"normalization": "layer", "hidden": [4, 1]})[0]) == {"/algorithm/head/hidden": "out_of_range"}
    assert faults(http, spec_of("autoencoder", {"normalization": "layer", "encoder": [1, 2]})[0]) == {"/algorithm/encoder": "out_of_range"}
    one_code = spec_of("autoencoder", {"normalization": "layer", "encoder": [4, 1]})[0]
    assert http.post("/v1/models/code/train?dry_run=true", json=one_code).status_code == 200


def test_layer_normalized_models_score_the_same_after_a_restart(http, server, train, predict, blobs):
    features = [{"x": v["x"], "y": v["y"]} for v in list(blobs.values())[:150]]
    before = {}
    for where in ("classifier", "head", "autoencoder"):
        train(f"normal_{where}", spec_of(where, {"normalization": "layer"})[0])
        before[where] = predict(f"normal_{where}", features)
        assert before[where]["predictions"][7] == predict(f"normal_{where}", [features[7]])["predictions"][0]
    server.stop()
    server.start()
    assert {where: predict(f"normal_{where}", features) for where in before} == before


def test_a_search_of_a_wide_space_shows_what_it_drew(train, blobs):
    spec = {**CLASSIFIER, "algorithm": {"type": "mlp", "epochs": 20, "search": {"trials": 12, "space": "wide"}}}
    version = train("wide", spec)
    trials = version["metrics"]["search"]["trials"]
    assert version["spec"]["algorithm"]["search"] == {"trials": 12, "seconds": 0, "space": "wide"}
    assert {t["normalization"] for t in trials} == {"none", "batch", "layer"}
    assert {t["schedule"] for t in trials} == {"constant", "cosine"}
