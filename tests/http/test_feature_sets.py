"""Feature sets: what is imported, named and refused."""
import concurrent.futures
import json
import time

import psycopg2
import pytest

from conftest import Http

CSV = "age,channel,active,joined\r\n31,app,true,2024-01-02\r\n,\"we,b\",FALSE,2024-01-03T04:05:06Z\r\n45,\"two\nlines\",true,\r\n"


def post(http, name, body, kind="text/csv", **params):
    return http.post(f"/v1/feature-sets/{name}/rows", data=body.encode() if isinstance(body, str) else body, params=params,
                     headers={"Content-Type": kind})


def types(reply):
    return {c["name"]: c["type"] for c in reply.json()["columns"]}


def test_csv_is_imported_with_inferred_types(http):
    reply = post(http, "csv1", "\ufeff" + CSV)
    assert reply.status_code == 200, reply.text
    assert types(reply) == {"age": "numeric", "channel": "categorical", "active": "boolean", "joined": "timestamp"}
    assert (reply.json()["inserted"], reply.json()["updated"], reply.json()["skipped"]) == (3, 0, 0)


def test_the_summary_counts_what_is_there_and_what_is_missing(http):
    post(http, "csv2", CSV)
    got = http.get("/v1/feature-sets/csv2").json()
    assert got["rows"] == 3
    columns = {c["name"]: c for c in got["columns"]}
    assert columns["age"]["missing"] == 1 and columns["age"]["min"] == 31 and columns["age"]["mean"] == 38
    assert columns["age"]["quantiles"]["median"] == 38
    assert {t["value"] for t in columns["channel"]["top"]} == {"app", "we,b", "two\nlines"}
    assert columns["joined"]["missing"] == 1


def test_rows_with_an_id_are_upserted(http):
    assert post(http, "upsert", "id,x\na,1\nb,2\n", id_column="id").json()["inserted"] == 2
    reply = post(http, "upsert", "id,x\nb,5\nc,6\n", id_column="id").json()
    assert (reply["inserted"], reply["updated"]) == (1, 1)
    got = http.get("/v1/feature-sets/upsert").json()
    assert got["rows"] == 3 and got["columns"][0]["max"] == 6 and got["columns"][0]["mean"] == 4


@pytest.mark.races
def test_imports_of_the_same_users_at_once_are_counted_once(http, server):
    post(http, "crowded", "id,x\nfirst,0\n", id_column="id")

    def load(k):
        order = range(3000) if k % 2 else range(2999, -1, -1)  # the other way round, they would lock each other out
        with Http(server) as session:
            return post(session, "crowded", "id,x\n" + "".join(f"u{i},{k}\n" for i in order), id_column="id")

    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        replies = list(pool.map(load, range(6)))
    assert [r.status_code for r in replies] == [200] * 6, [r.text for r in replies]
    assert sorted(r.json()["inserted"] for r in replies) == [0] * 5 + [3000]
    assert http.get("/v1/feature-sets/crowded").json()["rows"] == 3001


def test_an_import_behind_one_that_goes_on_is_told_to_come_again(http, database):
    """Not kept waiting with its thread and its connection until the other ends. Nothing of it is stored."""
    post(http, "occupied", "id,x\na,1\n", id_column="id")
    with psycopg2.connect(database.url) as other, other.cursor() as cursor:
        cursor.execute("SELECT 1 FROM segmentd.feature_sets WHERE name = 'occupied' FOR UPDATE")
        begun = time.monotonic()
        reply = post(http, "occupied", "id,x\nb,2\n", id_column="id")
        assert (reply.status_code, reply.json()["code"]) == (503, "feature_set_busy") and reply.headers["Retry-After"]
        assert 4 < time.monotonic() - begun < 8
    assert http.get("/v1/feature-sets/occupied").json()["rows"] == 1
    assert post(http, "occupied", "id,x\nb,2\n", id_column="id").json()["inserted"] == 1


def test_ndjson_and_json_say_the_same_as_csv(http):
    rows = [{"user_id": "u1", "age": 31, "tags": [1, 2]}, {"user_id": "u2", "features": {"age": None, "tags": [3, 4.5]}}]
    ndjson = post(http, "nd", "\n".join(map(json.dumps, rows)) + "\n\n", "application/x-ndjson", id_column="user_id")
    assert ndjson.status_code == 200, ndjson.text
    assert types(ndjson) == {"age": "numeric", "tags": "vector"}
    plain = post(http, "js", json.dumps({"rows": rows}), "application/json", id_column="user_id")
    assert types(plain) == types(ndjson) and plain.json()["inserted"] == 2
    assert http.get("/v1/feature-sets/js").json()["rows"] == 2


@pytest.mark.parametrize("body, code, where", [
    ("id,x\na,1\nb\n", "ragged_row", "line 3"),
    ("id,x\na,1\na,2\n", "duplicate_id", "line 3"),
    ("id,x\na,\"1\nb,2\n", "bad_record", "line 2"),
    ("id,x\n,1\n", "bad_user_id", "line 2"),
    ("id,id\na,1\n", "bad_header", "line 1"),
    ("id,x\n", "no_rows", ""),
    ("", "bad_header", "line 1"),
])
def test_a_bad_row_is_named_by_its_line_and_nothing_is_stored(http, body, code, where):
    reply = post(http, "bad", body, id_column="id")
    assert reply.status_code == 422, reply.text
    errors = reply.json()["errors"]
    assert any(e["code"] == code and e["pointer"].startswith(where) for e in errors), errors
    assert http.get("/v1/feature-sets/bad").status_code == 404


def test_every_bad_line_is_reported_not_only_the_first(http):
    post(http, "many", "id,x\na,1\n", id_column="id")
    reply = post(http, "many", "id,x\nb,oops\nc,2\nd,1e999\n", id_column="id")
    assert reply.status_code == 422
    assert [e["pointer"] for e in reply.json()["errors"]] == ["line 2, column 2 (x)", "line 4, column 2 (x)"]
    assert http.get("/v1/feature-sets/many").json()["rows"] == 1


def test_on_error_skip_stores_the_good_rows_and_reports_the_others(http):
    post(http, "skip", "id,x\na,1\n", id_column="id")
    reply = post(http, "skip", "id,x\nb,oops\nc,2\nc,3\n", id_column="id", on_error="skip")
    assert reply.status_code == 200, reply.text
    assert (reply.json()["inserted"], reply.json()["skipped"]) == (1, 2)
    assert {e["code"] for e in reply.json()["errors"]} == {"wrong_type", "duplicate_id"}
    assert http.get("/v1/feature-sets/skip").json()["columns"][0]["max"] == 2


def test_invalid_utf8_is_refused_and_never_reaches_the_database(http):
    reply = post(http, "utf", b"id,x\na,\xff\xfe\n", id_column="id")
    assert reply.status_code == 422 and reply.json()["errors"][0]["pointer"].startswith("line 2")


def test_a_relation_of_the_users_own_is_read_by_its_catalogue(http, sql):
    sql("CREATE TABLE own (uid bigint PRIMARY KEY, a int, b numeric, c text, d timestamptz, e boolean, f real[], g point)")
    sql("INSERT INTO own SELECT i, i, i / 2.0, 'c' || i % 3, now(), i % 2 = 0, ARRAY[i, 2]::real[] FROM generate_series(1, 10) i")
    reply = http.put("/v1/feature-sets/own", json={"relation": "public.own", "id_column": "uid"})
    assert reply.status_code == 201, reply.text
    assert types(reply) == {"a": "numeric", "b": "numeric", "c": "categorical", "d": "timestamp", "e": "boolean", "f": "vector"}
    assert reply.json()["rows"] == 10
    again = http.put("/v1/feature-sets/own", json={"relation": "own", "id_column": "uid", "columns": [{"name": "a", "type": "categorical"}]})
    assert again.status_code == 200 and types(again) == {"a": "categorical"}


def test_columns_that_cannot_be_features_are_named_with_the_reason(http, sql):
    sql("CREATE TABLE mixed (uid text, a int, place point, empty real[], none real[], long int[], tags jsonb)")
    sql("INSERT INTO mixed VALUES ('u', 1, NULL, '{}', NULL, array_fill(0, ARRAY[4097]), '[]')")
    reply = http.put("/v1/feature-sets/mixed", json={"relation": "mixed", "id_column": "uid"})
    assert reply.status_code == 201 and types(reply) == {"a": "numeric"}, reply.text
    left_out = reply.json()["left_out"]
    assert [(c["name"], c["sql_type"]) for c in left_out] == [("place", "point"), ("empty", "real[]"), ("none", "real[]"),
                                                              ("long", "integer[]"), ("tags", "jsonb")]
    assert [word in c["detail"] for word, c in zip(("type", "length is not known", "length is not known", "4097 elements (limit 4096)", "type"),
                                                   left_out)] == [True] * 5, left_out
    assert http.get("/v1/feature-sets/mixed").json()["left_out"] == left_out
    listed = {s["name"]: s for s in http.get("/v1/feature-sets").json()["items"]}
    assert listed["mixed"]["left_out"] == left_out

    chosen = {"relation": "mixed", "id_column": "uid", "columns": [{"name": "a"}]}
    assert http.put("/v1/feature-sets/mixed", json=chosen).json()["left_out"] == []  # nothing but what was asked for
    chosen["columns"] += [{"name": "tags"}, {"name": "nowhere"}]
    refused = http.put("/v1/feature-sets/mixed", json=chosen).json()["errors"]
    assert [(e["pointer"], e["code"]) for e in refused] == [("/columns/1", "unknown_column"), ("/columns/2", "unknown_column")]
    assert "tags is jsonb" in refused[0]["detail"]

    sql("CREATE TABLE nothing_else (uid text, place point, tags jsonb)")
    refused = http.put("/v1/feature-sets/nothing", json={"relation": "nothing_else", "id_column": "uid"}).json()["errors"]
    assert [e["code"] for e in refused] == ["no_features"] and "place point, tags jsonb" in refused[0]["detail"]
    post(http, "kept", "id,x\na,1\n", id_column="id")
    assert "left_out" not in http.get("/v1/feature-sets/kept").json()


INJECTIONS = ['x"; DROP TABLE canary;--', '"', "''", "$1", "a" * 64, "pg_catalog.pg_authid", "public.canary; DROP TABLE canary", "a.b.c", "", "é",
              "segmentd.jobs", "public.\u0000"]


@pytest.mark.parametrize("name", INJECTIONS)
def test_identifiers_from_outside_never_become_sql(http, sql, name):
    sql("CREATE TABLE IF NOT EXISTS canary (id int)")
    for body in ({"relation": name, "id_column": "id"}, {"relation": "public.canary", "id_column": name},
                 {"relation": "public.canary", "id_column": "id", "columns": [{"name": name}]}):
        assert http.put("/v1/feature-sets/inject", json=body).status_code in (400, 422)
    post(http, "inject2", f"id,{json.dumps(name + 'x')}\na,1\n".replace("\\u0000", "0").replace('\\"', '""'), id_column="id")
    assert sql("SELECT count(*) FROM canary") == [(0,)]


def test_faults_are_reported_together(http):
    reply = http.put("/v1/feature-sets/f", json={"relation": "no such", "id_column": 5, "extra": 1})
    assert reply.status_code == 422
    assert {e["pointer"] for e in reply.json()["errors"]} >= {"/relation", "/id_column", "/extra"}


def test_a_boolean_of_a_relation_can_be_read_as_a_number(http, sql):
    sql("CREATE TABLE public.flags AS SELECT i::text AS id, i % 2 = 0 AS flag FROM generate_series(1, 4) i")
    reply = http.put("/v1/feature-sets/flags", json={"relation": "flags", "id_column": "id", "columns": [{"name": "flag", "type": "numeric"}]})
    assert reply.status_code == 201, reply.text
    assert reply.json()["columns"][0]["mean"] == 0.5


def test_ids_that_occur_twice_in_a_relation_fail_labelling_by_name(http, sql, run_job):
    sql("CREATE TABLE public.twice AS SELECT (i % 50)::text AS id, i % 7 AS x FROM generate_series(1, 100) i")
    http.put("/v1/feature-sets/twice", json={"relation": "twice", "id_column": "id"})
    job = run_job("/v1/models/twice/train", {"feature_set": "twice", "task": "segmentation", "algorithm": {"type": "kmeans", "k": 2}, "label": True})
    assert job["state"] == "failed" and job["error"]["code"] == "duplicate_id", job


def test_a_vector_beyond_the_range_of_float_is_refused(http):
    reply = http.post("/v1/feature-sets/far/rows?id_column=id", data='{"id": "a", "v": [1e300, 2]}\n', headers={"Content-Type": "application/x-ndjson"})
    assert reply.status_code == 422, reply.text


def test_a_set_in_use_is_not_deleted_and_a_users_relation_is_never_touched(http, sql, train):
    sql("CREATE TABLE keepme AS SELECT i AS id, random() AS x FROM generate_series(1, 50) i")
    http.put("/v1/feature-sets/keepme", json={"relation": "public.keepme", "id_column": "id"})
    train("keeper", {"feature_set": "keepme", "algorithm": {"type": "kmeans", "k": 2}})
    assert http.delete("/v1/feature-sets/keepme").status_code == 409
    assert http.delete("/v1/feature-sets/keepme?force=true").status_code == 204
    assert http.get("/v1/feature-sets/keepme").status_code == 404
    assert sql("SELECT count(*) FROM keepme") == [(50,)]


def test_a_managed_set_takes_its_table_with_it(http, sql):
    post(http, "gone", "id,x\na,1\n", id_column="id")
    tables = "SELECT count(*) FROM pg_tables WHERE schemaname = 'segmentd' AND tablename LIKE 'fs_%'"
    before = sql(tables)[0][0]
    assert http.delete("/v1/feature-sets/gone").status_code == 204
    assert sql(tables)[0][0] == before - 1


def test_lists_are_paged_by_key(http):
    for i in range(5):
        post(http, f"page{i}", "id,x\na,1\n", id_column="id")
    names, cursor = [], None
    for _ in range(100):
        reply = http.get("/v1/feature-sets", params={"limit": 2, **({"cursor": cursor} if cursor else {})})
        names += [i["name"] for i in reply.json()["items"]]
        cursor = reply.json()["next_cursor"]
        assert ("next" in reply.links) == (cursor is not None)
        if cursor is None:
            break
    assert names == sorted(names) and len(names) == len(set(names)) and {f"page{i}" for i in range(5)} <= set(names)


def test_a_summary_survives_numbers_that_no_mean_could_hold(http, sql):
    sql("CREATE TABLE extremes AS SELECT i AS id, CASE i WHEN 1 THEN 1.7e308 WHEN 2 THEN 1.7e308 WHEN 3 THEN 'NaN' WHEN 4 THEN '-Infinity' ELSE i END AS x"
        " FROM generate_series(1, 9) i")
    reply = http.put("/v1/feature-sets/extremes", json={"relation": "public.extremes", "id_column": "id"})
    assert reply.status_code == 201, reply.text
    column = reply.json()["columns"][0]
    assert (column["missing"], column["min"], column["mean"], column["max"]) == (4, 5, 7, 9)
