"""k_prototypes: categories count, as much as the spec says, wherever a model shows itself."""
import random

import pytest

ALGORITHM = {"type": "k_prototypes", "k": 4}


@pytest.fixture(scope="module")
def shoppers(http):
    """Four groups of 100: two along the number, each cut in two by the category; `member` is a boolean that says nothing. Truth by user."""
    random.seed(5)
    truth, body = {}, "id,spent,channel,member\n"
    for i in range(400):
        group, user = i % 4, f"s{i:03d}"
        truth[user] = group
        body += f"{user},{(group % 2) * 8 + random.gauss(0, 1)!r},{('app', 'web')[group // 2]},{('true', 'false')[i // 4 % 2]}\n"
    reply = http.post("/v1/feature-sets/shoppers/rows?id_column=id", data=body, headers={"Content-Type": "text/csv"})
    assert reply.status_code == 200, reply.text
    return truth


def spec(**algorithm):
    return {"feature_set": "shoppers", "features": ["spent", "channel"], "algorithm": {**ALGORITHM, **algorithm}, "promote": "always"}


def rows(predict, model, features):
    return predict(model, features)["predictions"]


def test_numbers_and_categories_find_the_groups_together(http, train, predict, shoppers):
    version = train("both", {**spec(), "label": True})
    assert version["algorithm"] == "k_prototypes" and version["warnings"] == []
    assert version["metrics"]["category_weight"] == pytest.approx(2, rel=1e-5) and version["metrics"]["silhouette"] > 0.7
    curve = version["curve"]["inertia"]
    assert curve == sorted(curve, reverse=True)
    assert version["spec"]["algorithm"]["category_weight"] == "auto"
    assert version["spec"]["preprocess"]["columns"]["channel"]["encode"] == "code"
    items = http.get("/v1/models/both/segments").json()["items"]
    assert [s["size"] for s in items] == [100, 100, 100, 100]
    centroids = sorted((round(s["centroid"]["spent"], -1), s["centroid"]["channel"]) for s in items)
    assert centroids == [(0, "app"), (0, "web"), (10, "app"), (10, "web")]
    projection = http.get("/v1/models/both/projection").json()
    assert projection["columns"] == ["spent", "channel=app", "channel=web", "channel=(other)"]
    assert [len(axis) for axis in projection["axes"]] == [4, 4] and len({p["segment"] for p in projection["points"]}) == 4


def test_a_row_gets_the_same_answer_alone_and_in_a_batch_and_distances_count_the_category(http, train, predict, shoppers):
    train("alone", spec(category_weight=3))
    asked = [{"spent": s, "channel": c} for s in (0, 3.5, 8) for c in ("app", "web", "never seen", None)]
    together = rows(predict, "alone", asked)
    for features, answer in zip(asked, together):
        assert rows(predict, "alone", [features]) == [answer]
    app, web, unseen, missing = together[:4]
    assert app["segment"] != web["segment"]
    assert missing["imputed"] == ["channel"] and (missing["segment"], missing["distance"]) in [(a["segment"], a["distance"]) for a in (app, web)]
    assert unseen["distance"] ** 2 == pytest.approx(min(app["distance"], web["distance"]) ** 2 + 3, rel=0.05)  # differs from every prototype


def test_the_weight_decides_what_a_segment_is(http, train, shoppers):
    """Weight 0 is k-means on the numbers; a huge one keeps the categories apart."""
    by_number = train("zero", {**spec(k=2, category_weight=0), "label": True})
    assert by_number["metrics"]["category_weight"] == 0 and by_number["spec"]["algorithm"]["category_weight"] == 0
    kmeans = train("plain", {**spec(), "features": ["spent"], "algorithm": {"type": "kmeans", "k": 2}})
    assert by_number["metrics"]["inertia"] == pytest.approx(kmeans["metrics"]["inertia"], rel=1e-5)
    train("huge", {**spec(k=2, category_weight=1e6), "label": True})
    for segment in http.get("/v1/models/huge/segments").json()["items"]:
        channel = next(f for f in segment["features"] if f["name"] == "channel")
        assert sorted(c["share"] for c in channel["categories"]) == [0, 1]


def test_a_stored_spec_trains_the_same_model_again_and_a_label_job_scores_with_it(http, train, run_job, shoppers):
    first = train("again", {**spec(category_weight=1.5), "label": True})
    assert train("again", first["spec"])["artifact_sha256"] == first["artifact_sha256"]
    sizes = [s["size"] for s in http.get("/v1/models/again/segments").json()["items"]]
    assert run_job("/v1/models/again/label", None)["state"] == "succeeded"
    assert [s["size"] for s in http.get("/v1/models/again/segments").json()["items"]] == sizes


def test_a_head_learns_the_segments(train, predict, shoppers):
    head = {"type": "mlp", "hidden": [8], "epochs": 60, "learning_rate": 0.02}
    version = train("head", {**spec(head=head), "features": ["spent", "channel", "member"]})
    assert version["metrics"]["head"]["accuracy"] > 0.95
    answer, = rows(predict, "head", [{"spent": 8, "channel": "web", "member": True}])
    assert sum(answer["probabilities"].values()) == pytest.approx(1, abs=1e-5) and answer["distance"] >= 0


def test_k_auto_finds_the_groups(train, shoppers):
    version = train("auto", spec(k="auto", k_min=2, k_max=6))
    assert version["metrics"]["k"] == 4 and [row["k"] for row in version["k_search"]] == [2, 3, 4, 5, 6]


def test_what_cannot_be_compared_is_refused(http, shoppers):
    def faults(change):
        reply = http.post("/v1/models/refused/train?dry_run=true", json={**spec(), **change})
        assert reply.status_code == 422, reply.text
        return {e["pointer"]: e["code"] for e in reply.json()["errors"]}

    assert faults({"features": ["spent", "member"]}) == {"/features": "missing"}
    assert faults({"preprocess": {"categorical": {"encode": "one_hot"}}}) == {"/preprocess/columns/channel": "unknown_value"}
    assert faults({"algorithm": {"type": "kmeans", "k": 2}, "preprocess": {"categorical": {"encode": "code"}}}) == {"/preprocess/columns/channel": "unknown_value"}
    assert faults(spec(category_weight="much")) == {"/algorithm/category_weight": "unknown_value"}
    assert faults(spec(category_weight=-1)) == {"/algorithm/category_weight": "out_of_range"}
    assert faults({"algorithm": {"type": "kmeans", "k": 2, "category_weight": 1}}) == {"/algorithm/category_weight": "unknown_key"}
    assert faults(spec(min_segment_share=0.1)) == {"/algorithm/min_segment_share": "unknown_key"}
