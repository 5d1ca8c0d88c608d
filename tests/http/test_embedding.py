"""Categories by the hundred as inputs of a network: each gets a vector that training finds."""
import random

import pytest

ROWS, SHOPS = 6000, 500


def shop_is_far(shop):
    """The class hangs on where a shop lies, which no column says."""
    rng = random.Random(shop)
    return rng.gauss(0, 1) ** 2 + rng.gauss(0, 1) ** 2 > 1.386


@pytest.fixture(scope="module")
def visits(http):
    rng = random.Random(1)
    lines = ["visit,shop,minutes,kind"]
    for i in range(ROWS):
        shop = rng.randrange(SHOPS)
        name = "" if i % 100 == 7 else f"s{shop:03}"
        lines.append(f"v{i},{name},{rng.gauss(0, 1):.3f},{'far' if shop_is_far(shop) else 'near'}")
    reply = http.post("/v1/feature-sets/visits/rows", data="\n".join(lines), params={"id_column": "visit"}, headers={"Content-Type": "text/csv"})
    assert reply.status_code == 200, reply.text


def spec(column, **algorithm):
    return {"feature_set": "visits", "task": "classification", "target": "kind", "preprocess": {"columns": {"shop": column}},
            "algorithm": {"type": "mlp", "hidden": [32], "epochs": 30, **algorithm}, "promote": "always"}


def faults(http, body):
    reply = http.post("/v1/models/refused/train", json=body, params={"dry_run": "true"})
    assert reply.status_code == 422, reply.text
    return {e["pointer"]: e["code"] for e in reply.json()["errors"]}


def test_vectors_carry_what_few_columns_cannot(train, visits):
    found = {encode: train("visits", spec({"encode": encode}))["metrics"]["accuracy"] for encode in ("embedding", "one_hot", "hash")}
    assert found["embedding"] > 0.95
    assert found["embedding"] > found["one_hot"] + 0.2
    assert found["embedding"] > found["hash"] + 0.2


def test_every_form_of_a_body_gets_the_same_answer_and_new_shops_are_said(http, train, visits):
    train("visits", spec({"encode": "embedding", "embedding_size": 6}))
    predict = "/v1/models/visits/predict"
    named = http.post(predict, json={"rows": [{"features": {"shop": s, "minutes": 0.5}} for s in ("s001", "s002", "new")]}).json()["predictions"]
    columnar = http.post(predict, json={"columns": ["minutes", "shop"], "data": [[0.5, "s001"], [0.5, "s002"], [0.5, "new"]]}).json()["predictions"]
    csv = http.post(predict, data="shop,minutes\ns001,0.5\ns002,0.5\nnew,0.5\n", headers={"Content-Type": "text/csv"}).text.splitlines()
    assert named == columnar
    assert [float(line.split(",")[3]) for line in csv[1:]] == [p["confidence"] for p in named]
    assert [p["unseen"] for p in named] == [[], [], ["shop"]]
    for p, shop in zip(named, (1, 2)):
        assert p["class"] == ("far" if shop_is_far(shop) else "near") and p["confidence"] > 0.8
    assert named[2]["confidence"] < 0.9  # knows nothing of it
    missing = http.post(predict, json={"rows": [{"features": {"minutes": 0.5}}]}).json()["predictions"][0]
    assert missing["status"] == "ok" and missing["imputed"] == ["shop"]


def test_a_search_and_folds_work_with_vectors(train, visits):
    metrics = train("visits", spec({"encode": "embedding"}, epochs=9, search={"trials": 3}, cv=2))["metrics"]
    assert metrics["search"]["best"]["score"] > 0.5 and metrics["cross_validation"]["accuracy"]["mean"] > 0.5


def test_the_same_request_gives_the_same_model(http, train, visits):
    versions = [train("visits", spec({"encode": "embedding"}, epochs=3))["version"] for _ in range(2)]
    first, second = (http.get(f"/v1/models/visits/versions/{v}/artifact").content for v in versions)
    assert first == second


def test_the_complete_spec_says_what_is_kept(http, visits):
    columns = http.post("/v1/models/visits/train", json=spec({"encode": "embedding"}), params={"dry_run": "true"}).json()["preprocess"]["columns"]
    assert columns["shop"]["max_categories"] == 4096 and columns["shop"]["embedding_size"] == 0
    columns = http.post("/v1/models/visits/train", json=spec({"encode": "embedding", "max_categories": 100}), params={"dry_run": "true"}).json()
    assert columns["preprocess"]["columns"]["shop"]["max_categories"] == 100


def test_where_vectors_make_no_sense_they_are_refused(http, visits):
    assert faults(http, spec({"encode": "embedding", "embedding_size": 257})) == {"/preprocess/columns/shop/embedding_size": "out_of_range"}
    clusters = {"feature_set": "visits", "preprocess": {"columns": {"shop": {"encode": "embedding"}}}, "algorithm": {"type": "kmeans", "k": 3}}
    assert faults(http, clusters) == {"/preprocess/columns/shop": "unknown_value"}
    assert faults(http, {**clusters, "algorithm": {"type": "k_prototypes", "k": 3}}) == {"/preprocess/columns/shop": "unknown_value"}
    rotated = spec({"encode": "embedding"})
    rotated["preprocess"]["pca"] = {"components": 2}
    assert faults(http, rotated) == {"/preprocess/columns/shop": "unknown_value"}
