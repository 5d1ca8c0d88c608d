"""The binary forms in which PostgreSQL sends features and ids: however a number travels, it is the same number. What of them is kept."""
import json
import os
import pathlib
import resource
import time

import pytest

N = 300
VALUES = "(ARRAY[1.5, -2.25, 3e10, 0, 1e-20, NULL, 'NaN', 'Infinity', '-Infinity']::float8[])[1 + (g * 7 + {0} * 5 + g * {0} % 3) % 9]::{1} AS c{0}"


def train_spec(name):
    return {"feature_set": name, "algorithm": {"type": "kmeans", "k": 2, "n_init": 1}, "label": True, "promote": "always"}


def put(http, sql, name, columns, ids="g"):
    """A relation of N users whose features are c1, c2 ..., and its feature set."""
    sql(f"CREATE TABLE public.{name} AS SELECT {ids} AS id, {', '.join(columns)} FROM generate_series(1, {N}) g")
    reply = http.put(f"/v1/feature-sets/{name}", json={"relation": f"public.{name}", "id_column": "id"})
    assert reply.status_code in (200, 201), reply.text


@pytest.mark.parametrize("n", [6, 70])
def test_runs_of_floats_are_read_like_fields_by_themselves(http, sql, train, n):
    """Equal data has equal hashes: runs of one type, with and without strange values, against columns that alternate."""
    half = n // 2
    layouts = {"reals": ["real"] * n, "doubles": ["float8"] * n, "mixed": ["real", "float8"] * half, "halves": ["real"] * half + ["float8"] * half}
    hashes = {}
    for name, types in layouts.items():
        put(http, sql, f"load_{name}_{n}", [VALUES.format(c, t) for c, t in enumerate(types, 1)])
        version = train(f"load_{name}_{n}", train_spec(f"load_{name}_{n}"))
        hashes[name] = version["data"]["hash"]
        assert sum("not finite" in w for w in version["warnings"]) == n
    assert len(set(hashes.values())) == 1, hashes


def test_doubles_past_the_range_of_float32_are_missing_and_counted(http, sql, train):
    put(http, sql, "load_huge", [f"(CASE WHEN g IN ({c}, {c} + 10) THEN {'-' * (c % 2)}1e300 ELSE g * {c} END)::float8 AS c{c}" for c in range(1, 5)])
    version = train("load_huge", train_spec("load_huge"))
    assert [w for w in version["warnings"] if "too large" in w] == [f"2 values of c{c} are not finite or too large: taken as missing" for c in range(1, 5)]


@pytest.mark.parametrize("sql_type, ids", [
    ("smallint", "(g - 151) * 218"), ("integer", "(g - 151) * 14316557"), ("bigint", "(g - 151) * 61489146912365172"),
    ("numeric", "g + 0.5"), ("uuid", "md5(g::text)::uuid"), ("text", "'user ' || g"),
])
def test_ids_are_labelled_as_the_database_spells_them(http, sql, train, sql_type, ids):
    name = f"load_ids_{sql_type}"
    extremes = {"smallint": ("-32768", "32767"), "integer": ("-2147483648", "2147483647"), "bigint": ("-9223372036854775808", "9223372036854775807")}
    low, high = extremes.get(sql_type, (None, None))
    chosen = f"(CASE g WHEN 1 THEN {low} WHEN {N} THEN {high} ELSE {ids} END)" if low else f"({ids})"
    put(http, sql, name, ["(g % 2 * 10 + g * 0.001)::real AS c1", "(g % 2 * 5)::float8 AS c2"], f"{chosen}::{sql_type}")
    train(name, train_spec(name))
    labelled = "SELECT l.user_id FROM segmentd.labels l JOIN segmentd.label_current c USING (run_id) JOIN segmentd.models m ON m.id = c.model_id WHERE m.name = "
    found = {row[0] for row in sql(f"{labelled}'{name}'")}
    assert found == {row[0] for row in sql(f"SELECT id::text FROM public.{name}")} and len(found) == N
    assert low is None or {low, high, "0"} <= found


def nameless(server):
    """Files without a name that the process has open: spools, and what it writes to under pytest."""
    files = pathlib.Path(f"/proc/{server.process.pid}/fd").iterdir()
    return [name for name in map(os.readlink, files) if name.endswith(" (deleted)")]


def test_a_full_spool_is_told_of_once_and_costs_the_keeping_alone(server, http, sql, run_job):
    """Read in ten parts, of which the two large ones do not fit."""
    sql("CREATE TABLE public.many (id int, a real, b real, filler text); INSERT INTO many SELECT g, (g % 3) * 10 + sin(g), g % 11, repeat('x', 120) FROM generate_series(1, 220000) g;"
        "ANALYZE many")
    http.put("/v1/feature-sets/many", json={"relation": "public.many", "id_column": "id", "columns": [{"name": "a"}, {"name": "b"}]})
    spec = {"feature_set": "many", "label": True, "algorithm": {"type": "kmeans", "k": 3}}
    slow = {**spec, "algorithm": {**spec["algorithm"], "head": {"type": "mlp", "hidden": [64], "epochs": 500, "patience": 0}}}
    others, before = nameless(server), resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (1 << 20, before[1]))
    try:
        job = http.post("/v1/models/many/train", json=slow).json()
        while (job := http.get(f"/v1/jobs/{job['id']}").json())["phase"] in ("queued", "starting", "loading"):
            time.sleep(0.02)
        assert job["state"] == "running" and nameless(server) == others
        http.post(f"/v1/jobs/{job['id']}/cancel")
        done = run_job("/v1/models/many/train", spec)
    finally:
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, before)
    assert (done["state"], http.get("/v1/models/many/segments").json()["n_users"]) == ("succeeded", 220000), done
    events = [json.loads(line) for line in server.log_path.read_text().splitlines()]
    told = [e for e in events if e["msg"] == "rows are not kept for labelling"]
    assert [e["job"] for e in told] == [job["id"], done["id"]]
    assert all(e["reason"] == "File too large" and "spool_dir" in e["remedy"] for e in told), told
