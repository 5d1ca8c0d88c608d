"""What training chooses by itself: k, and the options of a network; and the algorithms beside k-means."""
import pytest

AUTO = {"feature_set": "blobs", "features": ["x", "y"], "algorithm": {"type": "kmeans", "k": "auto", "k_min": 2, "k_max": 6}}
MLP = {"feature_set": "blobs", "task": "classification", "target": "channel", "features": ["x", "y"]}


def faults(http, spec):
    reply = http.post("/v1/models/refused/train?dry_run=true", json=spec)
    assert reply.status_code == 422, reply.text
    return {e["pointer"]: e["code"] for e in reply.json()["errors"]}


def test_k_auto_finds_the_groups_and_says_why(http, train, blobs):
    version = train("auto", AUTO)
    table = version["k_search"]
    assert [row["k"] for row in table] == [2, 3, 4, 5, 6]
    assert [row["k"] for row in table if row["chosen"]] == [3] and version["metrics"]["k"] == 3
    assert "3" in version["metrics"]["k_reason"] and version["metrics"]["k_search_sampled"] is False
    rows, silhouette_rows, resample_rows = (version["metrics"][f"k_search_{what}"] for what in ("rows", "silhouette_rows", "resample_rows"))
    assert silhouette_rows == resample_rows == max(min(rows, 150), rows // 2)  # 25 for each of 6 clusters, else half
    for row in table:
        assert row["inertia"] > 0 and -1 <= row["silhouette"] <= 1 and 0 <= row["stability_jaccard"] <= 1
        assert None not in [row[c] for c in ("davies_bouldin", "calinski_harabasz", "gap", "gap_error", "stability_ari")]
    assert version["spec"]["algorithm"]["k"] == "auto" and version["spec"]["algorithm"]["k_max"] == 6


def test_a_given_k_has_no_search(train, blobs):
    assert train("given", {**AUTO, "algorithm": {"type": "kmeans", "k": 3}})["k_search"] is None


def test_the_spec_that_was_stored_trains_the_same_model_again(http, train, blobs):
    first = train("again", AUTO)
    second = train("again", first["spec"])
    assert second["artifact_sha256"] == first["artifact_sha256"]


def test_k_limits_are_checked_before_a_job_is_made(http, blobs):
    algorithm = lambda **options: {**AUTO, "algorithm": {"type": "kmeans", **options}}
    assert faults(http, algorithm(k="many")) == {"/algorithm/k": "unknown_value"}
    assert faults(http, algorithm(k=3, k_min=2)) == {"/algorithm/k_min": "unknown_key"}
    assert faults(http, algorithm(k="auto", k_min=5, k_max=4)) == {"/algorithm/k_max": "out_of_range"}
    assert faults(http, algorithm(k="auto", k_min=1, k_max=200)) == {"/algorithm/k_min": "out_of_range", "/algorithm/k_max": "out_of_range"}


def test_more_candidates_than_users_end_the_job_with_a_sentence(http, run_job, blobs):
    body = "id,x\n" + "".join(f"{i},{i}\n" for i in range(10))
    assert http.post("/v1/feature-sets/few/rows?id_column=id", data=body, headers={"Content-Type": "text/csv"}).status_code == 200
    job = run_job("/v1/models/few/train", {"feature_set": "few", "algorithm": {"type": "kmeans", "k": "auto"}})
    assert job["state"] == "failed" and "largest k" in job["error"]["detail"]


def test_a_search_shows_its_trials_and_repeats_itself(train, blobs):
    spec = {**MLP, "algorithm": {"type": "mlp", "epochs": 9, "search": {"trials": 6}}}
    search = train("searched", spec)["metrics"]["search"]
    assert len(search["trials"]) == 6 and search["reason"]
    assert search["best"]["score"] == max(t["score"] for t in search["trials"] if t["epochs"] == 9)
    assert train("searched", spec)["metrics"]["search"] == search


def test_cross_validation_gives_mean_and_deviation(train, blobs):
    cv = train("folded", {**MLP, "algorithm": {"type": "mlp", "hidden": [8], "epochs": 200, "learning_rate": 0.01, "cv": 5}})["metrics"]["cross_validation"]
    assert cv["accuracy"]["mean"] > 0.95 and 0 <= cv["accuracy"]["sd"] < 0.1
    assert cv["log_loss"]["mean"] > 0 and 0.9 < cv["roc_auc"]["mean"] <= 1


def test_a_search_without_a_validation_part_is_refused(http, run_job, blobs):
    assert faults(http, {**MLP, "algorithm": {"type": "mlp", "search": {}, "cv": 1}}) == {"/algorithm/search/trials": "missing", "/algorithm/cv": "out_of_range"}
    assert faults(http, {**MLP, "algorithm": {"type": "mlp", "search": {"trials": 3}}, "split": {"test": 0.2, "validation": 0}}) == {"/split/validation": "missing"}


def test_options_of_another_algorithm_are_unknown(http, blobs):
    assert faults(http, {**AUTO, "algorithm": {"type": "kmeans", "k": 3, "search": {"trials": 3}, "cv": 5}}) == {
        "/algorithm/search": "unknown_key", "/algorithm/cv": "unknown_key"}


def test_a_mixture_gives_every_user_a_degree_of_each_segment(http, train, blobs):
    version = train("soft", {**AUTO, "algorithm": {"type": "gmm", "k": 3, "covariance": "diagonal"}, "label": True, "promote": "always"})
    assert version["metrics"]["log_likelihood"] < 0 and version["metrics"]["bic"] > version["metrics"]["aic"]
    curve = version["curve"]["log_likelihood"]
    assert curve and all(later >= earlier - 1e-6 for earlier, later in zip(curve, curve[1:]))
    rows = [{"features": {"x": f["x"], "y": f["y"]}} for f in blobs.values()] + [{"features": {"x": 5, "y": -2.5}}]
    *users, between = http.post("/v1/models/soft/predict", json={"rows": rows}).json()["predictions"]
    for p in users + [between]:
        assert sum(p["probabilities"].values()) == pytest.approx(1, abs=1e-5)
        assert p["confidence"] == max(p["probabilities"].values()) == p["probabilities"][str(p["segment"])]
    assert [s["size"] for s in http.get("/v1/models/soft/segments").json()["items"]] == [100, 100, 100]


def test_bins_are_an_option_of_a_column(http, train, blobs):
    spec = {**AUTO, "algorithm": {"type": "kmeans", "k": 3}, "preprocess": {"columns": {"x": {"transform": "bins", "n_bins": 4}}}}
    assert train("binned", spec)["spec"]["preprocess"]["columns"]["x"]["n_bins"] == 4
    spec["preprocess"]["columns"]["x"]["n_bins"] = 1
    assert faults(http, spec) == {"/preprocess/columns/x/n_bins": "out_of_range"}


def test_mini_batches_find_the_groups_and_take_their_own_options(http, train, predict, blobs):
    algorithm = {"type": "minibatch_kmeans", "k": 3, "batch_size": 64}
    version = train("batches", {**AUTO, "algorithm": algorithm, "label": True, "promote": "always"})
    assert version["spec"]["algorithm"] == {**algorithm, "init": "kmeans++", "n_init": 3, "max_iterations": 10000, "tolerance": 0, "patience": 10}
    assert version["metrics"]["converged"] and len(version["curve"]["inertia"]) == version["metrics"]["iterations"] < 10000
    assert [s["size"] for s in http.get("/v1/models/batches/segments").json()["items"]] == [100, 100, 100]
    assert train("batches", version["spec"])["artifact_sha256"] == version["artifact_sha256"]
    assert len({p["segment"] for p in predict("batches", [{"x": 0, "y": 0}, {"x": 10, "y": -5}, {"x": 20, "y": -10}])["predictions"]}) == 3
    assert faults(http, {**AUTO, "algorithm": {**algorithm, "batch_size": 0, "min_segment_share": 0.1}}) == {
        "/algorithm/batch_size": "out_of_range", "/algorithm/min_segment_share": "unknown_key"}


@pytest.mark.parametrize("algorithm", ["minibatch_kmeans", "gmm", "autoencoder_kmeans"])
def test_every_algorithm_with_a_k_chooses_it(train, blobs, algorithm):
    options = {"encoder": [4, 2], "epochs": 20} if algorithm == "autoencoder_kmeans" else {}
    version = train(f"auto_{algorithm}", {**AUTO, "algorithm": {"type": algorithm, "k": "auto", "k_min": 2, "k_max": 4, **options}})
    assert [row["k"] for row in version["k_search"]] == [2, 3, 4] and version["metrics"]["k_reason"]


def test_many_segments_start_by_kmeans_parallel_unless_told_otherwise(http, blobs):
    def init(**algorithm):
        reply = http.post("/v1/models/dry/train?dry_run=true", json={**AUTO, "algorithm": {"k": 100, **algorithm}})
        assert reply.status_code == 200, reply.text
        return reply.json()["algorithm"]["init"]

    assert [init(type="kmeans"), init(type="kmeans", k=99), init(type="kmeans", k="auto")] == ["kmeans||", "kmeans++", "kmeans++"]
    assert [init(type="kmeans", init="kmeans++"), init(type="autoencoder_kmeans"), init(type="minibatch_kmeans")] == ["kmeans++", "kmeans||", "kmeans++"]
    assert faults(http, {**AUTO, "features": ["x", "channel"], "algorithm": {"type": "k_prototypes", "k": 3, "init": "kmeans||"}}) == {
        "/algorithm/init": "unknown_value"}


@pytest.mark.parametrize("algorithm", ["kmeans", "minibatch_kmeans"])
def test_kmeans_parallel_is_an_init(http, train, blobs, algorithm):
    train(f"parallel_{algorithm}", {**AUTO, "algorithm": {"type": algorithm, "k": 3, "init": "kmeans||"}, "label": True})
    assert [s["size"] for s in http.get(f"/v1/models/parallel_{algorithm}/segments").json()["items"]] == [100, 100, 100]
