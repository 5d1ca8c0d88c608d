"""Feature sets: what is imported, named and refused."""
import concurrent.futures
import json
import time

import psycopg2
import pytest

from conftest import Http, Server

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


def test_a_summary_has_figures_of_numbers_with_many_digits(http, sql):
    sql("CREATE TABLE digits AS SELECT i AS id, i + ('0.' || repeat('3', 70))::numeric AS x FROM generate_series(1, 3) i")
    http.put("/v1/feature-sets/digits", json={"relation": "digits", "id_column": "id"})
    column = http.get("/v1/feature-sets/digits").json()["columns"][0]
    assert (column["missing"], column["min"], column["max"]) == (0, pytest.approx(4 / 3), pytest.approx(10 / 3))


@pytest.fixture(scope="module")
def sampling(database, tmp_path_factory):
    """A server that summarises more than 100,000 values from a sample of 10,000, andwhose statements may take 1 s."""
    server = Server(database, tmp_path_factory.mktemp("sampling"), "[limits]\nsummary_values_max = 100000\n[database]\nstatement_timeout_s = 1\n")
    server.start()
    with Http(server) as session:
        yield session
    server.stop()
    server.check_log()


def put(http, name, relation):
    reply = http.put(f"/v1/feature-sets/{name}", json={"relation": relation, "id_column": "id"})
    assert reply.status_code == 201, reply.text
    again = http.get(f"/v1/feature-sets/{name}")
    assert again.status_code == 200 and again.json() == reply.json()
    return reply.json()


LARGE = """ AS SELECT i AS id, CASE WHEN i % 4 > 0 THEN i * 617 % 1000 END AS x, CASE WHEN i % 10 < 7 THEN 'app' ELSE 'web' END AS channel
            FROM generate_series(1, 60000) i"""


def check_figures(got, n_rows):
    x, channel = got["columns"]
    assert x["missing"] == pytest.approx(n_rows / 4, rel=0.05) and channel["missing"] == 0
    assert (x["min"], x["max"]) == (1, 999) and x["mean"] == pytest.approx(500, abs=20)
    assert x["quantiles"]["p25"] == pytest.approx(250, abs=20) and x["quantiles"]["p90"] == pytest.approx(900, abs=20)
    assert {t["value"]: t["count"] for t in channel["top"]} == {"app": pytest.approx(n_rows * 0.7, rel=0.05), "web": pytest.approx(n_rows * 0.3, rel=0.05)}
    assert sum(t["count"] for t in channel["top"]) == pytest.approx(n_rows, abs=1) and channel["distinct"] == 2


@pytest.mark.parametrize("kind", ["TABLE", "MATERIALIZED VIEW"])
def test_a_large_table_is_summarised_from_a_sample_of_its_pages(sampling, sql, kind):
    name = "large_" + kind[:1].lower()
    sql(f"CREATE {kind} {name}{LARGE}")
    got = put(sampling, name, name)
    assert (got["rows"], got["rows_estimated"]) == (60000, False)
    assert got["based_on"]["sample"] is True and got["based_on"]["method"] == "random_pages" and "estimates" in got["based_on"]["detail"]
    assert 3000 < got["based_on"]["rows"] < 8000
    check_figures(got, 60000)


def test_up_to_the_limit_every_row_counts(sampling, sql):
    """100,000 values are not more than 100,000; a row more is. Rows without an id are nobody's."""
    sql(f"CREATE TABLE limit_at{LARGE.replace('60000', '50000')}")
    sql("INSERT INTO limit_at SELECT NULL, 7, 'nobody' FROM generate_series(1, 10)")
    got = put(sampling, "limit_at", "limit_at")
    assert (got["rows"], got["rows_estimated"], got["based_on"]) == (50000, False, {"rows": 50000, "sample": False, "method": "all_rows"})
    assert got["columns"][0]["missing"] == 12500 and got["columns"][0]["mean"] == 500
    assert got["columns"][1]["top"] == [{"value": "app", "count": 35000}, {"value": "web", "count": 15000}]
    sql("INSERT INTO limit_at VALUES (50001, 1, 'app')")
    got = sampling.get("/v1/feature-sets/limit_at").json()
    assert got["rows"] == 50001 and got["based_on"]["sample"] is True


def test_a_large_managed_set_is_summarised_from_a_sample_too(sampling):
    rows = "".join(f"u{i},{i * 617 % 1000},{'app' if i % 10 < 7 else 'web'}\n" for i in range(60000))
    assert post(sampling, "kept_large", "id,x,channel\n" + rows, id_column="id").status_code == 200
    got = sampling.get("/v1/feature-sets/kept_large").json()
    assert (got["rows"], got["rows_estimated"], got["based_on"]["method"]) == (60000, False, "random_pages")
    assert 3000 < got["based_on"]["rows"] < 8000 and got["columns"][0]["quantiles"]["median"] == pytest.approx(500, abs=20)


def test_partitions_are_sampled_unless_one_is_a_foreign_table(sampling, sql):
    """Which PostgreSQL would read whole beside a few pages of the others."""
    sql("CREATE TABLE parts (id int, x int, channel text) PARTITION BY RANGE (id)")
    sql("CREATE TABLE parts_a PARTITION OF parts FOR VALUES FROM (0) TO (20000)")
    sql("CREATE TABLE parts_b PARTITION OF parts FOR VALUES FROM (20000) TO (70000)")
    sql("INSERT INTO parts SELECT * FROM (SELECT" + LARGE.partition("SELECT")[2] + ") AS rows")
    got = put(sampling, "parts", "parts")
    assert (got["rows"], got["based_on"]["method"]) == (60000, "random_pages")
    check_figures(got, 60000)

    sql("CREATE EXTENSION file_fdw")
    sql("CREATE SERVER files FOREIGN DATA WRAPPER file_fdw")
    sql("CREATE FOREIGN TABLE parts_c PARTITION OF parts FOR VALUES FROM (70000) TO (80000) SERVER files"
        " OPTIONS (program 'seq -f %.0f,1,app 70000 79999', format 'csv')")
    got = sampling.get("/v1/feature-sets/parts").json()
    assert (got["rows"], got["based_on"]["rows"], got["based_on"]["method"]) == (70000, 5000, "first_rows")

    sql("CREATE FOREIGN TABLE far_away (id int, x int, channel text) SERVER files OPTIONS (program 'seq -f %.0f,1,app 60000', format 'csv')")
    got = put(sampling, "far_away", "far_away")
    assert (got["rows"], got["based_on"]["rows"], got["based_on"]["method"]) == (60000, 5000, "first_rows")
    assert got["columns"][1]["top"] == [{"value": "app", "count": 60000}]


def test_a_large_view_is_summarised_from_its_first_rows(sampling, sql):
    sql(f"CREATE TABLE viewed{LARGE}")
    sql("CREATE VIEW view_of AS SELECT id, x, channel FROM viewed WHERE id > 0")
    got = put(sampling, "view_of", "view_of")
    assert (got["rows"], got["rows_estimated"]) == (60000, False)
    assert (got["based_on"]["rows"], got["based_on"]["method"]) == (5000, "first_rows") and "first rows" in got["based_on"]["detail"]
    check_figures(got, 60000)


@pytest.fixture(scope="module")
def late(sql):
    """late(x, first) is x, from first on after a tenth of a second."""
    sql("CREATE FUNCTION late(x int, first int) RETURNS int STABLE LANGUAGE plpgsql AS"
        " 'BEGIN IF x >= first THEN PERFORM pg_sleep(0.1); END IF; RETURN x; END'")


def test_rows_that_cannot_all_be_read_in_time_are_sampled(sampling, sql, late):
    sql("CREATE TABLE patient AS SELECT i AS id, i AS x, 'app' AS channel FROM generate_series(1, 20000) i")
    sql("CREATE VIEW patience AS SELECT id, late(x, 15001) AS x, channel FROM patient")
    got = put(sampling, "patience", "patience")
    assert (got["rows"], got["rows_estimated"], got["based_on"]["rows"], got["based_on"]["method"]) == (20000, False, 5000, "first_rows")
    assert (got["columns"][0]["max"], got["columns"][1]["top"]) == (5000, [{"value": "app", "count": 20000}])

    sql("ANALYZE patient")  # without it the planner guesses from the size of the table
    sql("CREATE VIEW impatience AS SELECT id, x, channel FROM patient WHERE late(x, 15001) > 0")  # who counts waits as well
    got = put(sampling, "impatience", "impatience")
    assert got["rows_estimated"] is True and 5000 < got["rows"] <= 20000
    assert (got["based_on"]["rows"], got["based_on"]["method"], got["columns"][0]["max"]) == (5000, "first_rows", 5000)


def test_a_relation_that_cannot_be_read_in_time_is_registered_without_figures(sampling, sql, late):
    sql("CREATE TABLE slowly AS SELECT i AS id, i AS x, ARRAY[i, i]::real[] AS v FROM generate_series(1, 40) i")
    sql("ANALYZE slowly")
    sql("CREATE VIEW slow_rows AS SELECT id, x, v FROM slowly WHERE id < 2 OR pg_sleep(0.1) IS NOT NULL")
    sql("CREATE VIEW slow_values AS SELECT id, late(x, 1) AS x, v FROM slowly")
    rows, values = put(sampling, "slow_rows", "slow_rows"), put(sampling, "slow_values", "slow_values")
    assert rows["rows_estimated"] is True and 0 < rows["rows"] <= 40
    assert values["rows_estimated"] is False and values["rows"] == 40  # who counts need not wait for values
    for got in rows, values:
        assert got["based_on"].pop("detail") and got["based_on"] == {"rows": 0, "sample": False, "method": "nothing"}
        assert got["columns"] == [{"name": "x", "type": "numeric"}, {"name": "v", "type": "vector", "width": 2}]


def test_a_vector_whose_length_cannot_be_read_in_time_is_left_out_and_no_later_one_is_asked(sampling, sql, late):
    sql("CREATE TABLE uneven AS SELECT i AS id, i AS x, ARRAY[i, i]::real[] AS v FROM generate_series(1, 40) i")
    sql("CREATE VIEW late_vectors AS SELECT id, v AS quick, x, CASE WHEN late(x, 1) > 30 THEN v END AS slow, v AS later, '{}'::jsonb AS tags FROM uneven")
    got = put(sampling, "late_vectors", "late_vectors")
    assert got["based_on"] == {"rows": 40, "sample": False, "method": "all_rows"}
    assert types(sampling.get("/v1/feature-sets/late_vectors")) == {"quick": "vector", "x": "numeric"}
    assert [(c["name"], c["sql_type"], "longer than a statement may" in c["detail"]) for c in got["left_out"]] == [
        ("slow", "real[]", True), ("later", "real[]", True), ("tags", "jsonb", False)]

    body = {"relation": "late_vectors", "id_column": "id", "columns": [{"name": "x"}, {"name": "slow"}]}
    refused = sampling.put("/v1/feature-sets/late_vectors", json=body)
    assert refused.status_code == 422, refused.text
    assert [(e["pointer"], e["code"]) for e in refused.json()["errors"]] == [("/columns/1", "unknown_column")]
    assert "longer than a statement may" in refused.json()["errors"][0]["detail"]


def test_a_sample_without_a_row_is_followed_by_one_of_more_pages(sampling, sql):
    """The planner expects 1,000,000,000 rows and takes a page in 200,000, of a few hundred that there are."""
    sql(f"CREATE TABLE overrated WITH (autovacuum_enabled = false){LARGE}")
    sql("ANALYZE overrated")
    sql("UPDATE pg_class SET reltuples = 1e9 WHERE oid = 'overrated'::regclass")
    got = put(sampling, "overrated", "overrated")
    assert got["based_on"]["method"] == "random_pages" and 3000 < got["based_on"]["rows"] < 12000
    assert got["rows_estimated"] is True and got["rows"] == pytest.approx(60000, rel=0.4)  # by what the pages hold, not by the planner
    check_figures(got, got["rows"])


def test_more_pages_that_cannot_be_read_in_time_are_no_figures(sampling, sql):
    sql("CREATE TYPE slow_word AS ENUM ('app')")
    sql("CREATE FUNCTION slow_text(word slow_word) RETURNS text STABLE LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.1); RETURN NULL; END'")
    sql("CREATE CAST (slow_word AS text) WITH FUNCTION slow_text")
    sql("CREATE TABLE slow_words WITH (autovacuum_enabled = false) AS SELECT i AS id, 'app'::slow_word AS word FROM generate_series(1, 120000) i")
    sql("ANALYZE slow_words")
    sql("UPDATE pg_class SET reltuples = 1e9 WHERE oid = 'slow_words'::regclass")
    got = put(sampling, "slow_words", "slow_words")
    assert (got["based_on"]["rows"], got["based_on"]["method"]) == (0, "nothing")
    assert got["columns"] == [{"name": "word", "type": "categorical"}]
