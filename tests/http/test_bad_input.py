"""What no client should send, by kind. A row that is wrong is invalid alone and says why; a body that is wrong is refused whole, in the same words each time;
the server goes on."""
import csv
import json
import struct
import time
from urllib.parse import quote

import pytest

PREDICT = "/v1/models/fed/predict"


@pytest.fixture(scope="module", autouse=True)
def fed(train, blobs):
    train("fed", {"feature_set": "blobs", "algorithm": {"type": "kmeans", "k": 3}, "promote": "always", "label": False})


@pytest.fixture(autouse=True)
def still_serves(server, http, fed):
    yield
    assert server.process.poll() is None
    assert http.post(PREDICT, json={"rows": [{"features": {"x": 0, "y": 0}}]}).json()["predictions"][0]["status"] == "ok"


def post(http, body, kind="application/json"):
    return http.post(PREDICT, data=body.encode() if isinstance(body, str) else body, headers={"Content-Type": kind})


def row_verdict(reply, row=0):
    """ok, insufficient_data, or the codes of an invalid row."""
    assert reply.status_code == 200, reply.text
    p = reply.json()["predictions"][row]
    return " ".join(e["code"] for e in p["errors"]) if p["status"] == "invalid" else p["status"]


# ---- numbers ----

NOT_JSON = ["NaN", "Infinity", "-Infinity", "nan", "01", "-01", "1.", ".5", "+1", "1e", "1e+", "0x10", "1_000", "1,5"]
NUMBERS = {"1e999": "not_finite", "-1e999": "not_finite", "9" * 400: "not_finite", "-" + "9" * 400: "not_finite", "1e308": "not_finite", "3.5e38": "not_finite",
           "3.4e38": "ok", "1e-400": "ok", "-0": "ok", "0." + "1" * 400: "ok", "9007199254740993": "ok", "null": "ok",
           "true": "wrong_type", '"1"': "wrong_type", '"NaN"': "wrong_type", "[1]": "wrong_type", "{}": "wrong_type"}


@pytest.mark.parametrize("number", NOT_JSON)
def test_a_number_that_is_not_json_refuses_the_body(http, number):
    reply = post(http, '{"rows": [{"features": {"x": %s, "y": 1, "channel": "app"}}]}' % number)
    assert (reply.status_code, reply.json()["code"], reply.json()["errors"][0]["code"]) == (400, "not_json", "not_json")


@pytest.mark.parametrize("number, verdict", NUMBERS.items(), ids=[n[:20] for n in NUMBERS])
def test_a_number_that_no_float_holds_makes_its_row_invalid(http, number, verdict):
    value = '{"x": %s, "y": 1, "channel": "app"}' % number
    assert row_verdict(post(http, '{"rows": [{"features": %s}]}' % value)) == verdict
    assert row_verdict(post(http, '{"columns": ["x", "y", "channel"], "data": [[%s, 1, "app"]]}' % number)) == verdict
    line = post(http, '{"features": %s}' % value, "application/x-ndjson").json()
    assert (" ".join(e["code"] for e in line["errors"]) if line["status"] == "invalid" else line["status"]) == verdict


IDS = {"9007199254740992": True, "9007199254740993": False, "12345678901234567890": False, "-1": False, "1.5": False, "1e3": False, "0": True, "true": False,
       "[]": False, '""': False, json.dumps("a" * 256): True, json.dumps("a" * 257): False, '"a\\u0007"': False, '"\\u0085"': False, '"a\\u007f"': False,
       '"\\ud83d\\ude00"': True, '"x\\"; DROP TABLE models;--"': True, '"\\u202eabc"': True, "null": True}


@pytest.mark.parametrize("user_id, good", IDS.items(), ids=[i[:24] for i in IDS])
def test_a_user_id_that_would_not_come_back_as_it_was_sent_makes_its_row_invalid(http, user_id, good):
    reply = post(http, '{"rows": [{"user_id": %s, "features": {"x": 1, "y": 1}}]}' % user_id)
    assert row_verdict(reply) == ("ok" if good else "bad_user_id")
    if good and user_id != "null":
        assert reply.json()["predictions"][0]["user_id"] == str(json.loads(user_id))


# ---- shapes ----

SHAPES = {  # of columns x, y, channel
    "no columns": ('{"columns": [], "data": [[]]}', ["insufficient_data"]),
    "too few values": ('{"columns": ["x", "y"], "data": [[1], [1, 2]]}', ["ragged_row", "ok"]),
    "too many values": ('{"columns": ["x", "y"], "data": [[1, 2, 3]]}', ["ragged_row"]),
    "transposed": ('{"columns": ["x", "y"], "data": [[1, 2, 3], [4, 5, 6]]}', ["ragged_row", "ragged_row"]),
    "a number for a row": ('{"columns": ["x", "y"], "data": [1, [1, 2]]}', ["wrong_type", "ok"]),
    "too few features": ('{"rows": [{"features": {"x": 1}}]}', ["insufficient_data"]),
    "no feature": ('{"rows": [{"features": {}}]}', ["insufficient_data"]),
    "no features": ('{"rows": [{}]}', ["missing_features"]),
    "features that are none": ('{"rows": [{"features": [1, 2]}]}', ["wrong_type"]),
    "a row that is none": ('{"rows": [1, null, "x", []]}', ["wrong_type"] * 4),
    "an unknown feature": ('{"rows": [{"features": {"x": 1, "y": 1, "z": 1}}]}', ["unknown_feature"]),
    "the wrong case": ('{"rows": [{"features": {"X": 1, "y": 1}}]}', ["unknown_feature"]),
    "the wrong case of a key": ('{"rows": [{"Features": {"x": 1, "y": 1}}]}', ["unknown_key missing_features"]),
    "a feature twice": ('{"rows": [{"features": {"x": 1, "x": 2, "y": 1}}]}', ["duplicate_key"]),
    "a user twice": ('{"rows": [{"user_id": "a", "features": {"x": 1, "y": 1}}, {"user_id": "a", "features": {"x": 1, "y": 1}}]}', ["ok", "ok"]),
    "a category that training did not see": ('{"rows": [{"features": {"x": 1, "y": 1, "channel": "cafe\\u0301"}}]}', ["ok"]),
    "a category of 1 MB": ('{"rows": [{"features": {"x": 1, "y": 1, "channel": "%s"}}]}' % ("a" * 1_000_000), ["ok"]),
}


@pytest.mark.parametrize("body, verdicts", SHAPES.values(), ids=SHAPES.keys())
def test_a_row_of_another_shape_is_invalid_alone(http, body, verdicts):
    reply = post(http, body)
    assert [row_verdict(reply, i) for i in range(len(reply.json()["predictions"]))] == verdicts


BODIES = {  # (body, status, code of its fault)
    "no rows": ('{"rows": []}', 422, None), "no data": ('{"columns": ["x"]}', 422, "missing_rows"), "no object": ("[]", 422, "wrong_type"), "null": ("null", 422, "wrong_type"),
    "rows that are none": ('{"rows": {}}', 422, "wrong_type"), "data that is none": ('{"columns": ["x"], "data": {}}', 422, "wrong_type"),
    "columns that are none": ('{"columns": "x", "data": []}', 422, "wrong_type"), "a number for a column": ('{"columns": [1], "data": []}', 422, "wrong_type"),
    "an unknown column": ('{"columns": ["z"], "data": [[1]]}', 422, "unknown_feature"), "a column twice": ('{"columns": ["x", "x"], "data": [[1, 1]]}', 400, "duplicate_key"),
    "fewer ids than rows": ('{"columns": ["x"], "user_ids": [], "data": [[1]]}', 422, "ragged_row"), "more": ('{"columns": ["x"], "user_ids": ["a", "b"], "data": [[1]]}', 422, "ragged_row"),
    "another key": ('{"rows": [], "tenant": 1}', 422, "unknown_key"), "a key of the wrong case": ('{"Rows": []}', 422, "unknown_key"), "both forms": ('{"rows": [], "columns": []}', 422, "bad_body"),
    "a key twice": ('{"rows": [], "rows": []}', 400, "duplicate_key"), "nothing": ("", 400, "not_json"), "blanks": ("  \n", 400, "not_json"),
    "bytes after the end": ('{"rows": []} x', 400, "not_json"), "two documents": ('{"rows": []}{"rows": []}', 400, "not_json"), "a byte order mark": ("\ufeff{}", 400, "not_json"),
    "NUL after the end": ('{"rows": []}\0', 400, "not_utf8"), "NUL inside": ('{"rows":\0[]}', 400, "not_utf8"), "UTF-16": ('{"rows": []}'.encode("utf-16"), 400, "not_utf8"),
    "no end": ('{"rows": [', 400, "not_json"), "a string without end": ('{"rows": [{"user_id": "' + "a" * 1_000_000, 400, "not_json"),
    "\\u0000": ('{"rows": [{"user_id": "\\u0000"}]}', 400, "not_json"), "half of a pair": ('{"rows": [{"user_id": "\\ud800"}]}', 400, "not_json"),
    "a comment": ('{"rows": [] /* none */}', 400, "not_json"), "a control character": ('{"rows": [{"user_id": "a\nb"}]}', 400, "not_json"),
    **{f"depth {n}": ("[" * n, 400, "not_json" if n < 33 else "too_deep") for n in (32, 33, 1000, 1001, 1_000_000)},
    "depth in a value": ('{"rows": [{"features": {"x": ' + "[" * 100_000, 400, "too_deep"),
    "a million keys": ("{" + ",".join(f'"k{i}":1' for i in range(1_000_000)) + "}", 422, "unknown_key"),
    **{f"bytes {b.hex()}": (b'{"rows": [{"user_id": "' + b + b'"}]}', 400, "not_utf8")
       for b in (b"\xff", b"\x80", b"\xc0\x80", b"\xc1\xbf", b"\xe0\x80\x80", b"\xed\xa0\x80", b"\xe2\x82", b"\xf4\x90\x80\x80", b"\xf0\x9f\x98", "é".encode("latin-1"))},
}


@pytest.mark.parametrize("body, status, code", BODIES.values(), ids=BODIES.keys())
def test_a_body_that_is_wrong_is_refused_with_the_place(http, body, status, code):
    began = time.monotonic()
    reply = post(http, body)
    assert time.monotonic() - began < 2
    assert reply.status_code == status, reply.text
    assert reply.headers["Content-Type"] == "application/problem+json"
    assert [e["code"] for e in reply.json().get("errors", [])] == ([code] if code else [])
    assert all(e["pointer"] for e in reply.json().get("errors", []))


def test_a_million_unknown_features_are_told_in_a_short_answer(http):
    reply = post(http, '{"rows": [{"features": {' + ",".join(f'"k{i}": 1' for i in range(1_000_000)) + "}}]}")
    assert reply.json()["predictions"][0]["status"] == "invalid" and 1 <= len(reply.json()["predictions"][0]["errors"]) <= 1000 and len(reply.content) < 300_000


# ---- NDJSON and CSV ----

LINES = {
    '{"features": {"x": "a", "y": 1}}': ("line 2 (x)", "wrong_type"), '{"features": {"x": 1, "y": 1, "z": 1}}': ("line 2 (z)", "unknown_feature"),
    '{"features": {"x": 1e999, "y": 1}}': ("line 2 (x)", "not_finite"), '{"features": {"x": NaN}}': ("line 2, column 20", "not_json"),
    '{"user_id": 1.5, "features": {"x": 1, "y": 1}}': ("line 2", "bad_user_id"), "[1]": ("line 2", "wrong_type"), "null": ("line 2", "wrong_type"),
    '{"features": {"x": 1}} x': ("line 2, column 24", "not_json"), "[" * 100: ("line 2, column 34", "too_deep"), '{"features": {"x": 1, "y": 1}': ("line 2, column 30", "not_json"),
}


@pytest.mark.parametrize("line, fault", LINES.items(), ids=[k[:40] for k in LINES])
def test_a_line_that_is_wrong_says_where_and_fails_alone(http, line, fault):
    good = '{"features": {"x": 1, "y": 1}}'
    first, second, third = map(json.loads, post(http, f"{good}\n{line}\n\n{good}", "application/x-ndjson").text.splitlines())
    assert first == third and first["status"] == "ok" and second["status"] == "invalid"
    assert (second["errors"][-1]["pointer"], second["errors"][-1]["code"]) == fault


RECORDS = {  # of x, y, channel; the start of what the error says
    "inf,1,app": "line 3, column 1 (x): must be a number", "0x10,1,app": "line 3, column 1 (x)", "1,1e999,app": "line 3, column 3 (y): the number is too large", "1.,1,app": "line 3, column 1 (x)",
    "01,1,app": "line 3, column 1 (x)", " 1,1,app": "line 3, column 1 (x)", '"1,5",1,app': "line 3, column 1 (x)", "1,one,app": "line 3, column 3 (y)", "1": "line 3, column 1: the row has another number",
    "1,1,app,4": "line 3, column 1: the row has another number", '1,1,a"b': None, '1,1,"app': "line 3, column 5: a quoted field is not closed", "1,1,a\0b": "line 3, column 1: the row is not valid UTF-8",
    b"1,1,\xff": "line 3, column 1: the row is not valid UTF-8", "a,b,app": "line 3, column 1 (x): must be a number; line 3, column 3 (y): must be a number",
    "nan,1,app": None, "NULL,1,app": None, ",1,app": None, "1e-400,1,app": None, "-0,1,app": None, ",,app": "1 of 3 features are given",
}


@pytest.mark.parametrize("record, error", RECORDS.items(), ids=[str(r) for r in RECORDS])
def test_a_record_that_is_wrong_says_where_and_fails_alone(http, record, error):
    record = record.encode() if isinstance(record, str) else record
    reply = post(http, b"x,y,channel\n1,1,app\n" + record + b"\n", "text/csv")
    good, row = csv.DictReader(reply.text.splitlines())
    assert (good["status"], good["error"]) == ("ok", "")
    assert row["status"] == ("ok" if error is None else "insufficient_data" if "given" in error else "invalid")
    assert row["error"].startswith(error or "") and (error or not row["error"])


@pytest.mark.parametrize("body, status", [("", 400), ("\n", 400), ("x,y,x\n1,1,1\n", 400), ("x,y,z\n1,1,1\n", 400), ("X,y\n1,1\n", 400), ("x;y\n1;1\n", 400), ("x,y\n", 422), (b"x,\xff\n1,1\n", 400), ("x,y", 422)])
def test_a_header_that_names_no_features_refuses_the_body(http, body, status):
    assert post(http, body, "text/csv").status_code == status


# ---- tensors ----

def tensor(**changes):
    return {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "data": [1], **changes}, {"name": "y", "datatype": "FP32", "shape": [1], "data": [1]}]}


@pytest.mark.parametrize("changes, code", [
    ({"shape": [2 ** 32, 2 ** 32]}, "wrong_shape"), ({"shape": [999_999_999_999]}, "too_many_rows"), ({"shape": [2 ** 62]}, "bad_body"), ({"shape": [2 ** 64]}, "bad_body"),
    ({"shape": [-1]}, "bad_body"), ({"shape": [1.5]}, "bad_body"), ({"shape": []}, "wrong_shape"), ({"shape": "1"}, "wrong_type"), ({"shape": [1] * 40}, "wrong_shape"),
    ({"shape": [0]}, "wrong_shape"), ({"datatype": "FLOAT"}, "unknown_value"), ({"datatype": 1}, "wrong_type"), ({"name": None}, "wrong_type"), ({"data": {}}, "bad_body"),
    ({"parameters": []}, "wrong_type"), ({"stride": 1}, "unknown_key")])
def test_a_tensor_that_cannot_be_is_refused(http, changes, code):
    reply = http.post("/v2/models/fed/infer", json=tensor(**changes))
    assert reply.status_code == 422 and code in {e["code"] for e in reply.json()["errors"]}, reply.text


@pytest.mark.parametrize("bits, status", [(0x7F800000, "invalid"), (0xFF800000, "invalid"), (0x7FC00000, "ok"), (0xFFFFFFFF, "ok"), (0x7F800001, "ok"), (0x00000001, "ok"), (0x80000000, "ok")])
def test_bit_patterns_that_are_no_number_are_missing_and_infinities_invalid(http, bits, status):
    tensors = [{"name": n, "datatype": "FP32", "shape": [1], "parameters": {"binary_data_size": 4}} for n in ("x", "y")]
    head = json.dumps({"inputs": [*tensors, {"name": "channel", "datatype": "BYTES", "shape": [1], "data": ["app"]}]}).encode()
    reply = http.post("/v2/models/fed/infer", data=head + struct.pack("<If", bits, 1), headers={"Content-Type": "application/octet-stream", "Inference-Header-Content-Length": str(len(head))})
    assert {o["name"]: o["data"] for o in reply.json()["outputs"]}["status"] == [status]


# ---- data to learn from ----

def rows_of(columns, rows):
    return f"id,{columns}\n" + "".join(f"u{i},{','.join(map(str, r))}\n" for i, r in enumerate(rows))


def kmeans(k):
    return {"algorithm": {"type": "kmeans", "k": k}}


CLASSES = {"task": "classification", "target": "class", "algorithm": {"type": "mlp", "hidden": [4], "epochs": 3}}
LEARNT = {  # (rows, spec, segments there are, or what the job's error says)
    "a constant column": (rows_of("x,y", [(5, i % 3 * 9) for i in range(60)]), kmeans(3), 3),
    "constant columns": (rows_of("x,y", [(5, 5)] * 60), kmeans(3), 1),
    "a column without a value": (rows_of("x,y", [("", i) for i in range(60)]), kmeans(3), "feature x: there is no value"),
    "one user": (rows_of("x", [(1,)]), kmeans(1), 1),
    "one user for two segments": (rows_of("x", [(1,)]), kmeans(2), "k is 2 but the feature set has only 1 user"),
    "fewer users than segments": (rows_of("x", [(i,) for i in range(4)]), kmeans(5), "k is 5 but the feature set has only 4 users"),
    "fewer distinct users than segments": (rows_of("x", [(i % 3,) for i in range(60)]), kmeans(10), 3),
    "as many users as segments": (rows_of("x,y", [(i, i * i) for i in range(6)]), kmeans(6), 6),
    "one segment": (rows_of("x", [(i,) for i in range(60)]), kmeans(1), 1),
    "numbers past a float": (rows_of("x,y", [(f"{i}e306", i % 3 * 9) for i in range(60)]), kmeans(3), 3),
    "numbers near the end of a float": (rows_of("x", [(f"{i % 3}.1e29",) for i in range(60)]), kmeans(3), 3),
    "numbers below a float": (rows_of("x,y", [(f"{i}e-320", i % 3 * 9) for i in range(60)]), kmeans(3), 3),
    "two values and k to be chosen": (rows_of("x", [(i % 2,) for i in range(60)]), {"algorithm": {"type": "kmeans", "k": "auto", "k_min": 2, "k_max": 6}}, 2),
    **{f"one point for {a}": (rows_of("x,y", [(5, 5)] * 60), {"algorithm": {"type": a, "k": 3}}, None) for a in ("minibatch_kmeans", "gmm", "autoencoder_kmeans", "deep_clustering")},
    "one class": (rows_of("x,class", [(i, "a") for i in range(60)]), CLASSES, "the target has only one class"),
    "no class": (rows_of("x,class", [(i, "") for i in range(60)]), CLASSES, "no user has a value of the target class"),
    "a class of one user": (rows_of("x,class", [(i, "ab"[i == 7]) for i in range(60)]), CLASSES, None),
    "two users of two classes": (rows_of("x,class", [(1, "a"), (2, "b")]), CLASSES, None),
    "no weights that converge": (rows_of("x,class", [(i, "ab"[i % 2]) for i in range(60)]), {**CLASSES, "algorithm": {"type": "mlp", "hidden": [4], "epochs": 30, "learning_rate": 1}}, None),
}


@pytest.mark.parametrize("name", LEARNT)
def test_data_that_is_hard_to_learn_from_ends_in_a_sound_model_or_a_reason(http, run_job, name):
    body, spec, wanted = LEARNT[name]
    names = "h" + name.replace(" ", "-")
    assert http.post(f"/v1/feature-sets/{names}/rows?id_column=id", data=body, headers={"Content-Type": "text/csv"}).status_code == 200
    job = run_job(f"/v1/models/{names}/train", {"feature_set": names, "label": True, "promote": "always", **spec})
    if isinstance(wanted, str):
        assert job["state"] == "failed" and wanted in job["error"]["detail"], job
        return
    assert job["state"] == "succeeded", job
    version = http.get(f"/v1/models/{names}/versions/1")
    assert "nan" not in version.text.lower() and "infinity" not in version.text.lower()
    assert wanted in (None, version.json()["metrics"].get("k"))
    answers = http.post(f"/v1/models/{names}/predict", json={"rows": [{"features": {c: 1 for c in ("x", "y") if c in version.json()["spec"]["features"]}}]}).json()["predictions"]
    assert answers[0]["status"] == "ok" and 0 <= answers[0]["confidence"] <= 1


RELATIONS = {  # (SQL of the table, what a warning or the error says, None for a good one)
    "reserved words": ('SELECT i AS "user", i AS "order", i AS "Camel Case", i AS "quo""te", i AS "a.b/c~d" FROM generate_series(1, 30) i', None),
    "a NULL for an id": ('SELECT NULLIF(i, 3) AS "user", i AS x FROM generate_series(1, 30) i', None),
    "numerics past a float": ("SELECT i AS \"user\", CASE i WHEN 1 THEN 1e200::numeric WHEN 2 THEN 'NaN' ELSE i END AS x FROM generate_series(1, 30) i", "2 values of x are not finite or too large"),
    "numerics past a double": ('SELECT i AS "user", CASE i WHEN 1 THEN 1e400::numeric ELSE i END AS x FROM generate_series(1, 30) i', "reading the features failed: a number is out of range"),
    "times without end": ("SELECT i AS \"user\", CASE i WHEN 1 THEN 'infinity' WHEN 2 THEN '-infinity' ELSE '2026-01-01'::timestamptz + i * interval '1 day' END AS x FROM generate_series(1, 30) i",
                          "2 values of x are not finite or too large"),
    "ragged vectors": ("SELECT i AS \"user\", CASE i WHEN 5 THEN ARRAY[1, 2, 3] ELSE ARRAY[i, 2] END::real[] AS x FROM generate_series(1, 30) i",
                       "1 value of x is not finite, too large or of another length"),
    "nobody": ('SELECT 1 AS "user", 1.0 AS x WHERE false', "the feature set has no users"),
}


@pytest.mark.parametrize("name", RELATIONS)
def test_a_relation_is_input_too(http, sql, run_job, name):
    select, wanted = RELATIONS[name]
    table = "r" + name.replace(" ", "_").lower()
    sql(f'CREATE TABLE public."{table}" AS {select}')
    assert http.put(f"/v1/feature-sets/{table}", json={"relation": f"public.{table}", "id_column": "user"}).status_code == 201
    job = run_job(f"/v1/models/{table}/train", {"feature_set": table, "label": True, "algorithm": {"type": "kmeans", "k": 2}})
    told = " ".join(job["warnings"]) if job["state"] == "succeeded" else job["error"]["detail"]
    assert wanted in told if wanted else job["state"] == "succeeded", job


@pytest.mark.parametrize("relation", ["pg_catalog.pg_authid", "information_schema.tables", "pg_toast.pg_toast_1247", "segmentd.tokens", "segmentd.jobs"])
def test_tables_of_the_system_are_no_features(http, relation):
    reply = http.put("/v1/feature-sets/system", json={"relation": relation, "id_column": "id"})
    assert reply.status_code == 422 and reply.json()["errors"][0]["pointer"] == "/relation"


def test_a_relation_that_changed_behind_us_is_said_so(http, sql, run_job):
    spec = {"feature_set": "changed", "algorithm": {"type": "kmeans", "k": 2}, "label": True}
    sql("CREATE TABLE changed AS SELECT i AS id, i AS x FROM generate_series(1, 30) i")
    assert http.put("/v1/feature-sets/changed", json={"relation": "public.changed", "id_column": "id"}).status_code == 201
    for change in ("ALTER TABLE changed ALTER x TYPE text", "ALTER TABLE changed RENAME x TO z", "DROP TABLE changed"):
        sql(change)
        job = run_job("/v1/models/changed/train", spec)
        assert (job["state"], job["error"]["code"]) == ("failed", "features_unreadable"), (change, job)
        assert http.get("/v1/feature-sets/changed").status_code in (200, 409)


def test_user_ids_that_look_like_sql_or_paths_are_labelled_and_found(http, sql, run_job):
    ids = ["x'; DROP TABLE canary; --", '"', "$1", "\\", "%", "a b", "é", "e\u0301", "\u202eabc", "\U0001F600", "NULL", "1e5", "a,b", "{1,2}", "a/b", "/etc/passwd", "../..", "%2F", "a\\b", "'" * 256]
    sql("CREATE TABLE IF NOT EXISTS canary (id int)")
    body = "".join(json.dumps({"id": u, "x": i % 2 * 10 + i / 100}) + "\n" for i, u in enumerate(ids))
    assert http.post("/v1/feature-sets/oddly/rows?id_column=id", data=body, headers={"Content-Type": "application/x-ndjson"}).json()["inserted"] == len(ids)
    job = run_job("/v1/models/oddly/train", {"feature_set": "oddly", "algorithm": {"type": "kmeans", "k": 2}, "label": True})
    assert job["state"] == "succeeded", job
    members = [u["user_id"] for s in (1, 2) for u in http.get(f"/v1/models/oddly/segments/{s}/users").json()["items"]]
    assert sorted(members) == sorted(ids) and sql("SELECT count(*) FROM canary") == [(0,)]
    for u in ids:
        reply = http.get(f"/v1/users/{quote(u, safe='')}/segments")
        assert reply.status_code == 200 and reply.json()["user_id"] == u, (u, reply.text)
