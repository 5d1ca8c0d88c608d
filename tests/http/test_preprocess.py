"""Every step of preprocessing that the API promises, and what its options say about themselves."""
import pytest

CSV = {"Content-Type": "text/csv"}
KMEANS = {"feature_set": "people", "algorithm": {"type": "kmeans", "k": 2}, "promote": "always"}
VALUES = {
    "impute": ["mean", "median", "mode", "zero"],
    "outliers": ["none", "winsorize", "iqr", "zscore", {"method": "winsorize", "lower": 0.05, "upper": 0.9}, {"method": "iqr", "threshold": 2}],
    "transform": ["none", "log1p", "yeo_johnson", "quantile", "bins"],
    "scale": ["none", "standard", "min_max", "robust", "max_abs"],
    "indicator": [True, False],
}


def spec(columns, **more):
    return {**KMEANS, **more, "preprocess": {"columns": columns}}


def faults(http, body):
    reply = http.post("/v1/models/refused/train?dry_run=true", json=body)
    assert reply.status_code == 422, reply.text
    return {e["pointer"]: e["code"] for e in reply.json()["errors"]}


@pytest.fixture(scope="module")
def people(http):
    """120 users of every type that CSV can hold; the types are inferred. Every tenth misses something."""
    rows = [f"u{i},{20 + i % 50 if i % 10 else ''},{i * 1.5},{str(i % 3 == 0).lower() if i % 10 != 1 else ''},"
            f"20{10 + i % 15}-01-{1 + i % 28:02d}{'' if i % 10 != 2 else 'T10:00:00Z'},{('app', 'web', 'shop')[i % 3] if i % 10 != 3 else ''}" for i in range(120)]
    reply = http.post("/v1/feature-sets/people/rows?id_column=id", data="id,age,spent,news,joined,channel\n" + "\n".join(rows), headers=CSV)
    assert reply.status_code == 200, reply.text
    types = {c["name"]: c["type"] for c in http.get("/v1/feature-sets/people").json()["columns"]}
    assert types == {"age": "numeric", "spent": "numeric", "news": "boolean", "joined": "timestamp", "channel": "categorical"}


@pytest.mark.parametrize("turn", range(6))
def test_every_value_of_every_step_trains_and_stands_in_the_stored_spec(http, train, predict, people, turn):
    wanted = {name: {option: values[(turn + shift) % len(values)] for option, values in VALUES.items()} for shift, name in enumerate(["age", "spent", "joined", "news"])}
    wanted["channel"] = {"encode": ["one_hot", "ordinal", "hash"][turn % 3], "impute": ["mode", "zero"][turn % 2], "indicator": turn % 2 == 0, "max_categories": 2}
    stored = train("steps", spec(wanted))["spec"]["preprocess"]["columns"]
    for name, options in wanted.items():
        for option, value in options.items():
            if option == "outliers":
                value = value if isinstance(value, dict) else {"method": value}
                assert value.items() <= stored[name]["outliers"].items()
            else:
                assert stored[name][option] == value
    names = http.get("/v1/models/steps/projection").json()["columns"]
    assert {n for n in names if n.endswith(" is missing")} == {f"{n} is missing" for n, options in wanted.items() if options["indicator"]}
    answer = predict("steps", [{"age": 30, "spent": 1e9, "news": True, "channel": "never seen"}])["predictions"][0]
    assert answer["status"] == "ok" and answer["imputed"] == ["joined"] and answer["unseen"] == ["channel"]


def test_target_encoding_trains_a_classifier(train, people):
    version = train("targets", {**KMEANS, "task": "classification", "target": "news", "algorithm": {"type": "mlp", "hidden": [4], "epochs": 5},
                                "preprocess": {"categorical": {"encode": "target"}}})
    assert version["spec"]["preprocess"]["columns"]["channel"]["encode"] == "target"


def test_a_method_named_alone_has_its_own_threshold(http, people):
    body = spec({"age": {"outliers": "zscore"}, "spent": {"outliers": "iqr"}, "joined": {"outliers": {"method": "zscore"}}})
    columns = http.post("/v1/models/x/train?dry_run=true", json=body).json()["preprocess"]["columns"]
    assert [columns[n]["outliers"]["threshold"] for n in ("age", "spent", "joined")] == [3, 1.5, 3]


def test_a_missing_value_where_impute_is_error_ends_the_job(http, run_job, people):
    job = run_job("/v1/models/strict/train", spec({"age": {"impute": "error"}}))
    assert job["state"] == "failed" and "age" in job["error"]["detail"] and "missing" in job["error"]["detail"]


def test_what_is_missing_is_named_behind_times_too(http, train, predict):
    """A time takes two cells of a row, a number one."""
    rows = [f"u{i},2015-{1 + i % 12:02d}-01T00:00:00Z,{20 + i % 50},2016-{1 + i % 12:02d}-01T00:00:00Z,{i * 1.5}" for i in range(60)]
    reply = http.post("/v1/feature-sets/times_first/rows?id_column=id", data="id,joined,age,left,spent\n" + "\n".join(rows), headers=CSV)
    assert reply.status_code == 200, reply.text
    assert [c["type"] for c in http.get("/v1/feature-sets/times_first").json()["columns"]] == ["timestamp", "numeric", "timestamp", "numeric"]
    train("times_first", {**KMEANS, "feature_set": "times_first"})
    full = {"joined": "2015-06-01T12:00:00Z", "age": 33, "left": "2016-06-01T12:00:00Z", "spent": 50}
    answers = predict("times_first", [full] + [{**full, name: None} for name in full])["predictions"]
    assert [(a["status"], a["imputed"]) for a in answers] == [("ok", [])] + [("ok", [name]) for name in full]


def test_a_constant_counts_as_if_it_had_been_sent(train, predict, people):
    constants = {"age": 33, "news": True, "joined": "2015-06-01T12:00:00Z", "channel": "web"}
    version = train("constants", spec({n: {"impute": "constant", "constant": v} for n, v in constants.items()}))
    assert train("constants", version["spec"])["artifact_sha256"] == version["artifact_sha256"]
    full = {**constants, "spent": 50}
    rows = [full] + [{k: v for k, v in full.items() if k != name} for name in constants]
    answers = predict("constants", rows)["predictions"]
    assert [a["imputed"] for a in answers] == [[]] + [[name] for name in constants]
    assert {a["distance"] for a in answers} == {answers[0]["distance"]}


def test_a_constant_that_is_missing_or_of_another_type_is_a_fault(http, people):
    impute = lambda **more: {"impute": "constant", **more}
    at = "/preprocess/columns/{}/constant".format
    assert faults(http, spec({"age": impute(), "spent": impute(constant="much"), "joined": impute(constant="some day"), "channel": impute(constant=3),
                              "news": impute(constant=[1])})) == {
        at("age"): "missing", at("spent"): "wrong_type", at("joined"): "bad_timestamp", at("channel"): "wrong_type", at("news"): "wrong_type"}
    assert faults(http, {**KMEANS, "preprocess": {"categorical": impute(constant="")}}) == {"/preprocess/categorical/constant": "wrong_type", at("channel"): "wrong_type"}
    assert faults(http, {**KMEANS, "preprocess": {"default": impute(constant=1e31)}})["/preprocess/default/constant"] == "out_of_range"
