"""Columns that training and scoring compute from others: ratios and their kin, and parts of dates."""
import random

import pytest

CSV = {"Content-Type": "text/csv"}
DERIVE = [
    {"name": "gap_per_visit", "op": "ratio", "of": ["gap", "visits"]},  # needs the next one
    {"name": "gap", "op": "difference", "of": ["seen", "joined"]},
    {"name": "basket_per_visit", "op": "ratio", "of": ["basket", "visits"]},
]
SPEC = {
    "feature_set": "visits",
    "features": ["basket", "visits", "joined", "seen"],
    "preprocess": {
        "derive": DERIVE,
        "columns": {
            "joined": {"date_parts": ["year", "month", "hour", "is_weekend", "days_since"]},
            "seen": {"drop": True, "date_parts": [{"days_since": "2026-03-01"}]},
            "basket_per_visit": {"transform": "log1p", "indicator": True, "impute": "zero"},
        },
    },
    "algorithm": {"type": "kmeans", "k": 3},
    "label": True,
    "promote": "always",
}
COLUMNS = ["basket", "visits", "joined", "gap", "gap_per_visit", "basket_per_visit", "basket_per_visit is missing", "joined.year",
           "joined.month.sin", "joined.month.cos", "joined.hour.sin", "joined.hour.cos", "joined.is_weekend", "joined.days_since", "seen.days_since"]


def spec(**preprocess):
    return {**SPEC, "preprocess": preprocess}


def faults(http, body):
    reply = http.post("/v1/models/refused/train?dry_run=true", json=body)
    assert reply.status_code == 422, reply.text
    return {e["pointer"]: e["code"] for e in reply.json()["errors"]}


@pytest.fixture(scope="module")
def visits(http):
    """300 users: basket per visit tells three groups apart, basket and visits by themselves do not."""
    random.seed(2)
    users = {}
    for i in range(300):
        n = random.randint(1, 40)
        users[f"u{i:03d}"] = {"basket": round(n * (1, 10, 100)[i % 3] * random.uniform(0.9, 1.1), 3), "visits": n, "channel": "app",
                              "joined": f"{random.randint(1950, 2025)}-0{1 + i % 9}-{10 + i % 18}T{i % 24:02d}:{i % 60:02d}:00Z",
                              "seen": f"2026-02-{1 + i % 28:02d}T12:00:00Z"}
    names = ["basket", "visits", "channel", "joined", "seen"]
    body = "id," + ",".join(names) + "\n" + "".join(f"{u}," + ",".join(str(f[n]) for n in names) + "\n" for u, f in users.items())
    reply = http.post("/v1/feature-sets/visits/rows?id_column=id", data=body, headers=CSV)
    assert reply.status_code == 200, reply.text
    return {u: {n: f[n] for n in SPEC["features"]} for u, f in users.items()}


@pytest.fixture(scope="module")
def version(visits, train):
    return train("derived", SPEC)


def test_columns_are_named_in_the_order_of_what_they_need(http, version):
    assert http.get("/v1/models/derived/projection").json()["columns"] == COLUMNS


def test_the_stored_spec_is_complete_and_trains_the_same_bytes(version, train):
    stored = version["spec"]["preprocess"]
    assert sorted(d["name"] for d in stored["derive"]) == sorted(d["name"] for d in DERIVE)
    assert stored["columns"]["joined"]["date_parts"] == ["year", "month", "hour", "is_weekend", "days_since"]
    assert stored["columns"]["seen"]["date_parts"] == [{"days_since": "2026-03-01T00:00:00Z"}] and stored["columns"]["seen"]["drop"] is True
    assert stored["columns"]["basket_per_visit"]["transform"] == "log1p" and stored["columns"]["joined.hour.cos"]["scale"] == "standard"
    assert train("derived", version["spec"])["artifact_sha256"] == version["artifact_sha256"]


def test_profiles_show_what_was_derived_but_no_points_on_circles(http, version, visits):
    items = http.get("/v1/models/derived/segments").json()["items"]
    population = sum(f["basket"] / f["visits"] for f in visits.values()) / len(visits)
    for segment in items:
        features = {f["name"]: f for f in segment["features"]}
        assert set(features) == {"basket", "visits", "joined", "seen", "gap", "gap_per_visit", "basket_per_visit", "joined.year", "joined.is_weekend",
                                 "joined.days_since", "seen.days_since"}
        assert features["basket_per_visit"]["population_mean"] == pytest.approx(population, rel=1e-5)
        assert 1949 < features["joined.year"]["mean"] < 2026 and features["seen.days_since"]["p90"] <= 27.5
        assert segment["centroid"]["basket_per_visit"] > 0 and segment["centroid"]["seen"] is None and "joined.hour.sin" not in segment["centroid"]
    assert any("basket_per_visit" in s["top_features"] for s in items)


def test_scoring_asks_for_the_features_alone(http, version, visits, predict):
    row = visits["u001"]
    assert predict("derived", [row])["predictions"][0]["imputed"] == []
    reply = predict("derived", [{**row, "basket_per_visit": 3}])["predictions"][0]
    assert reply["status"] == "invalid" and reply["errors"][0]["code"] == "unknown_feature"


def test_a_missing_operand_and_a_ratio_by_zero_are_imputed_and_said_so(version, visits, predict):
    row = visits["u001"]
    without = {k: v for k, v in row.items() if k != "visits"}
    answers = predict("derived", [without, {**row, "visits": 0}, {**row, "seen": None}, {**row, "joined": None}])["predictions"]
    assert [a["status"] for a in answers] == ["ok"] * 4
    assert [a["imputed"] for a in answers] == [["visits", "gap_per_visit", "basket_per_visit"], ["gap_per_visit", "basket_per_visit"],
                                               ["seen", "gap", "gap_per_visit"], ["joined", "gap", "gap_per_visit"]]
    assert all(0 <= a["confidence"] <= 1 for a in answers)


def test_a_row_alone_in_a_batch_and_stored_has_one_answer(http, version, visits, predict, sql):
    together = predict("derived", list(visits.values()))["predictions"]
    for (user, row), answer in list(zip(visits.items(), together))[::23]:
        alone = predict("derived", [row])["predictions"][0]
        assert {k: alone[k] for k in ("segment", "distance", "confidence")} == {k: answer[k] for k in ("segment", "distance", "confidence")}
        stored = next(s for s in http.get(f"/v1/users/{user}/segments").json()["segments"] if s["model"] == "derived")
        assert stored["segment"] == answer["segment"] and stored["distance"] == pytest.approx(answer["distance"], rel=1e-6)


def test_a_label_job_stores_what_scoring_answers(http, version, visits, predict, run_job):
    assert run_job("/v1/models/derived/label", None)["state"] == "succeeded"
    together = predict("derived", list(visits.values()))["predictions"]
    for user, answer in list(zip(visits, together))[::29]:
        stored = next(s for s in http.get(f"/v1/users/{user}/segments").json()["segments"] if s["model"] == "derived")
        assert stored["segment"] == answer["segment"] and stored["distance"] == pytest.approx(answer["distance"], rel=1e-6)
    names = {f["name"] for f in http.get("/v1/models/derived/segments").json()["items"][0]["features"]}
    assert "basket_per_visit" in names and "joined.hour.sin" not in names


def test_a_derived_column_tells_groups_apart_that_its_operands_do_not(http, visits, train, predict):
    train("ratio", {**spec(derive=[DERIVE[2]], columns={"basket": {"drop": True}, "visits": {"drop": True}, "basket_per_visit": {"transform": "log1p"}}),
                    "features": ["basket", "visits"]})
    assert http.get("/v1/models/ratio/projection").json()["columns"] == ["basket_per_visit"]
    found = predict("ratio", [{"basket": f["basket"], "visits": f["visits"]} for f in visits.values()])["predictions"]
    groups = [{p["segment"] for p in found[g::3]} for g in range(3)]
    assert all(len(g) == 1 for g in groups) and len(set.union(*groups)) == 3


def test_the_hour_is_exact_and_late_hours_are_next_to_early_ones(http, train, predict):
    body = "id,at\n" + "".join(f"h{i},{1900 + i}-06-15T{i % 24:02d}:59:59.9Z\n" for i in range(240))
    assert http.post("/v1/feature-sets/hours/rows?id_column=id", data=body, headers=CSV).status_code == 200
    train("hours", {"feature_set": "hours", "preprocess": {"columns": {"at": {"date_parts": ["hour"], "drop": True}}},
                    "algorithm": {"type": "kmeans", "k": 24}, "promote": "always"})
    at = lambda text: predict("hours", [{"at": text}])["predictions"][0]
    for hour in range(24):
        first, last = at(f"2026-11-23T{hour:02d}:00:00Z"), at(f"1931-02-28T{hour:02d}:59:59.99Z")
        assert first["segment"] == last["segment"] and first["distance"] == last["distance"] < 1e-3
    assert len({at(f"2026-11-23T{hour:02d}:00:00Z")["segment"] for hour in range(24)}) == 24
    train("night", {"feature_set": "hours", "preprocess": {"columns": {"at": {"date_parts": ["hour"], "drop": True}}},
                    "algorithm": {"type": "kmeans", "k": 1}, "promote": "always"})
    points = http.get("/v1/models/night/projection").json()["points"]
    assert len(points) == 240 and max(abs((p["x"] ** 2 + p["y"] ** 2) / 2 - 1) for p in points) < 1e-4


def test_every_fault_of_derive_is_reported_at_once(http, visits):
    assert faults(http, spec(derive=[
        {"name": "a", "op": "ratio", "of": ["basket", "nowhere"]},
        {"name": "b", "op": "ratio", "of": ["basket", "channel"]},
        {"name": "basket", "op": "sum", "of": ["basket", "visits"]},
        {"name": "c", "op": "power", "of": ["basket"]},
        {"name": "d", "op": "difference", "of": ["basket", "seen"]},
        {"name": "e", "op": "product", "of": ["seen", "joined"]},
        {"name": "f", "op": "sum", "of": ["g", "basket"]},
        {"name": "g", "op": "sum", "of": ["f", "visits"]},
        {"name": "h", "op": "sum", "of": ["g", "c"]},  # stands behind faults, and has none
        {"name": "i", "op": "sum", "of": ["i", "i"]},
        {"name": "a", "op": "sum", "of": ["basket", 3], "by": 1},
        {"op": "sum"},
        "ratio",
        {"name": "", "op": "sum", "of": ["basket", "visits"]},
    ], columns={"nowhere": {}, "basket": {"date_parts": ["hour"]}, "visits": {"drop": True}})) == {
        "/preprocess/derive/0/of/1": "unknown_feature",
        "/preprocess/derive/1/of/1": "unknown_feature",  # of the feature set, but not of the features
        "/preprocess/derive/2/name": "duplicate",
        "/preprocess/derive/3/op": "unknown_value", "/preprocess/derive/3/of": "wrong_type",
        "/preprocess/derive/4/of": "wrong_type",
        "/preprocess/derive/5/of/0": "wrong_type", "/preprocess/derive/5/of/1": "wrong_type",
        "/preprocess/derive/6/of": "cycle", "/preprocess/derive/7/of": "cycle",
        "/preprocess/derive/9/of": "cycle",
        "/preprocess/derive/10/name": "duplicate", "/preprocess/derive/10/of/1": "wrong_type", "/preprocess/derive/10/by": "unknown_key",
        "/preprocess/derive/11/name": "missing", "/preprocess/derive/11/of": "missing",
        "/preprocess/derive/12": "wrong_type",
        "/preprocess/derive/13/name": "out_of_range",
        "/preprocess/columns/nowhere": "unknown_feature",
        "/preprocess/columns/basket/date_parts": "wrong_type",
    }
    assert faults(http, {**spec(derive=[{"name": "b", "op": "sum", "of": ["channel", "basket"]}]), "features": ["basket", "channel"]}) == {
        "/preprocess/derive/0/of/0": "wrong_type"}
    assert faults(http, spec(derive=[DERIVE[2]], columns={"visits": {"drop": True}, "seen": {"drop": True}, "basket_per_visit": {"drop": True}})) == {
        "/preprocess/columns/seen/drop": "unknown_value", "/preprocess/columns/basket_per_visit/drop": "unknown_value"}
    assert faults(http, spec(derive={})) == {"/preprocess/derive": "wrong_type"}


def test_every_fault_of_date_parts_is_reported_at_once(http, visits):
    assert faults(http, spec(
        default={"date_parts": ["hour"]}, derive=[{"name": "seen.year", "op": "sum", "of": ["basket", "visits"]}],
        columns={"joined": {"date_parts": ["hour", "fortnight", "hour", 3, {"days_since": "yesterday"}, {"since": 1}]},
                 "seen": {"date_parts": ["year"]}, "seen.year": {"date_parts": []}})) == {
        "/preprocess/default/date_parts": "unknown_key",
        "/preprocess/columns/joined/date_parts/1": "unknown_value", "/preprocess/columns/joined/date_parts/2": "duplicate",
        "/preprocess/columns/joined/date_parts/3": "wrong_type", "/preprocess/columns/joined/date_parts/4/days_since": "bad_timestamp",
        "/preprocess/columns/joined/date_parts/5/since": "unknown_key", "/preprocess/columns/joined/date_parts/5/days_since": "missing",
        "/preprocess/columns/joined/date_parts/5": "duplicate",
        "/preprocess/columns/seen/date_parts/0": "duplicate", "/preprocess/columns/seen.year/date_parts": "unknown_key"}
    assert faults(http, spec(columns={"seen": {"date_parts": "hour"}})) == {"/preprocess/columns/seen/date_parts": "wrong_type"}
