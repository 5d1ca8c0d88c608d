"""Segments: profiles that can be trusted and paged members."""
import re
import time

import numpy
import pytest

SPEC = {"feature_set": "blobs", "algorithm": {"type": "kmeans", "k": 3}, "label": True, "promote": "always"}


@pytest.fixture(scope="module")
def model(train, blobs):
    train("profiled", SPEC)
    return "profiled"


def members(http, model, segment, **params):
    users, cursor = [], None
    while True:
        page = http.get(f"/v1/models/{model}/segments/{segment}/users", params={**params, **({"cursor": cursor} if cursor else {})}).json()
        users += page["items"]
        cursor = page["next_cursor"]
        if cursor is None:
            return users


def test_profiles_are_exact_in_original_units(http, model, blobs):
    got = http.get(f"/v1/models/{model}/segments").json()
    assert (got["model"], got["version"], got["n_users"]) == (model, 1, 300) and len(got["items"]) == 3
    everyone = numpy.array([f["x"] for f in blobs.values()], dtype=numpy.float32)
    for segment in got["items"]:
        users = [u["user_id"] for u in members(http, model, segment["segment"])]
        assert len(users) == segment["size"] and segment["share"] == pytest.approx(segment["size"] / 300)
        x = numpy.array([blobs[u]["x"] for u in users], dtype=numpy.float32)
        feature = next(f for f in segment["features"] if f["name"] == "x")
        assert feature["mean"] == pytest.approx(x.mean(), rel=1e-5)
        for name, q in (("median", 50), ("p10", 10), ("p90", 90)):
            assert feature[name] == pytest.approx(numpy.percentile(x, q), rel=1e-5)
        assert feature["population_mean"] == pytest.approx(everyone.mean(), rel=1e-5)
        assert feature["effect"] == pytest.approx((x.mean() - everyone.mean()) / everyone.std(), rel=1e-4)
        channel = next(f for f in segment["features"] if f["name"] == "channel")
        assert sum(c["share"] for c in channel["categories"]) == pytest.approx(1)
        assert segment["centroid"]["x"] == pytest.approx(x.mean(), rel=1e-3)
        assert segment["name"] and segment["top_features"] and set(segment["exemplars"]) <= set(users)


def test_members_are_paged_by_user_or_distance_without_gaps(http, model):
    by_id = members(http, model, 1, limit=7)
    by_distance = members(http, model, 1, limit=7, order="distance")
    ids = [u["user_id"] for u in by_id]
    assert ids == sorted(ids) and len(set(ids)) == len(ids)
    distances = [u["distance"] for u in by_distance]
    assert distances == sorted(distances) and {u["user_id"] for u in by_distance} == set(ids)


def test_pages_of_members_are_all_of_the_run_of_the_first(http, train, blobs, run_job, sql):
    train("paged", SPEC)
    path = "/v1/models/paged/segments/1/users"
    for order in ("user_id", "distance"):
        page = {"limit": 7, "order": order}
        first = http.get(path, params=page).json()
        run_job("/v1/models/paged/label", None)
        second = http.get(path, params={**page, "cursor": first["next_cursor"]}).json()
        assert second["labelled_at"] == first["labelled_at"] != http.get(path).json()["labelled_at"]
        assert len(second["items"]) == 7 and not {u["user_id"] for u in first["items"]} & {u["user_id"] for u in second["items"]}
    for _ in range(2):
        run_job("/v1/models/paged/label", None)
    becomes(sql, "SELECT count(*) FROM segmentd.label_runs r JOIN segmentd.models m ON m.id = r.model_id WHERE m.name = 'paged'", [(2,)])
    gone = http.get(path, params={**page, "cursor": second["next_cursor"]})
    assert (gone.status_code, gone.json()["code"]) == (409, "conflict")
    assert http.delete("/v1/models/paged?force=true").status_code == 204
    gone = http.get(path, params={**page, "cursor": second["next_cursor"]})
    assert (gone.status_code, gone.json()["code"]) == (404, "model_not_found")


def test_a_cursor_outlives_its_labels_where_nothing_is_champion(http, train, blobs, run_job):
    train("unpromoted", {**SPEC, "promote": "never", "label": False})
    label, path = "/v1/models/unpromoted/label?version=1", "/v1/models/unpromoted/segments/1/users"
    run_job(label, None)
    cursor = http.get(path, params={"limit": 7}).json()["next_cursor"]
    for _ in range(3):
        run_job(label, None)

    def gone():
        reply = http.get(path, params={"limit": 7, "cursor": cursor})
        return reply.status_code == 409 and reply.json()["code"] == "conflict"

    assert any(gone() or time.sleep(0.1) for _ in range(100))


def test_a_users_segments_are_found_by_id(http, model, blobs):
    user = members(http, model, 2, limit=5)[0]
    got = http.get(f"/v1/users/{user['user_id']}/segments").json()["segments"]
    mine = next(s for s in got if s["model"] == model)
    assert mine["segment"] == 2 and mine["confidence"] == user["confidence"]
    assert http.get("/v1/users/nobody-by-that-name/segments").status_code == 404


def test_a_new_run_replaces_the_old_one_in_one_step(http, model, run_job):
    before = http.get(f"/v1/models/{model}/segments").json()["labelled_at"]
    job = run_job(f"/v1/models/{model}/label", None)
    assert job["state"] == "succeeded" and job["version"] == 1
    after = http.get(f"/v1/models/{model}/segments").json()
    assert after["labelled_at"] > before and sum(s["size"] for s in after["items"]) == 300


def test_a_training_labels_the_rows_it_learnt_from_as_a_label_job_does(http, train, run_job, sql):
    train("kept", SPEC)
    run_job("/v1/models/kept/label", None)
    (trained,), (labelled,) = sql("SELECT r.id FROM segmentd.label_runs r JOIN segmentd.models m ON m.id = r.model_id WHERE m.name = 'kept' ORDER BY r.id")
    columns = "SELECT user_id, result, confidence, distance FROM segmentd.labels WHERE run_id ="
    assert sql(f"SELECT count(*) FROM segmentd.labels WHERE run_id = {trained}") == [(300,)]
    assert sql(f"SELECT count(*) FROM (({columns} {trained}) EXCEPT ({columns} {labelled})) different") == [(0,)]
    one, other = sql("SELECT array_agg(profile::text ORDER BY segment) FROM segmentd.segment_profiles WHERE run_id IN"
                     f" ({trained}, {labelled}) GROUP BY run_id ORDER BY run_id")
    drop = [re.sub(r'"silhouette": ?[^,}]*', "", text) for text in one[0]], [re.sub(r'"silhouette": ?[^,}]*', "", text) for text in other[0]]
    assert drop[0] == drop[1]  # but for the silhouette, which only a training knows


def test_pages_that_were_emptied_change_nothing(http, run_job, sql):
    """Statistics still tell of many rows, so that two readers come; most of the parts that they take are empty."""
    sql("CREATE TABLE emptied (id int, a real, b real, filler text) WITH (autovacuum_enabled = false);"
        "INSERT INTO emptied SELECT g, (g % 3) * 10 + sin(g), g % 11, repeat('x', 120) FROM generate_series(1, 220000) g;"
        "ANALYZE emptied; DELETE FROM emptied WHERE id > 5000 AND NOT id BETWEEN 150001 AND 153001")
    assert http.put("/v1/feature-sets/emptied", json={"relation": "public.emptied", "id_column": "id", "columns": [{"name": "a"}, {"name": "b"}]}).status_code in (200, 201)
    run_job("/v1/models/emptied/train", {"feature_set": "emptied", "label": True, "algorithm": {"type": "kmeans", "k": 3}})
    segments = http.get("/v1/models/emptied/segments").json()
    assert segments["n_users"] == 8001 and sum(s["size"] for s in segments["items"]) == 8001
    trained = [(s["segment"], s["size"]) for s in segments["items"]]
    run_job("/v1/models/emptied/label", None)
    assert [(s["segment"], s["size"]) for s in http.get("/v1/models/emptied/segments").json()["items"]] == trained


def test_a_large_table_read_over_two_connections_is_the_table_read_over_one(http, run_job, sql):
    """A partitioned table has no pages of its own, so its rows come over one connection; their order is the same."""
    columns = "id int, a real, b double precision, c int, filler text"
    rows = "SELECT g, nullif(g % 97, 3), (g % 5) * 7 + sin(g), g % 11, repeat('x', 120) FROM generate_series(1, 220000) g"
    sql(f"CREATE TABLE whole ({columns}); INSERT INTO whole {rows}; ALTER TABLE whole ADD PRIMARY KEY (id); ANALYZE whole;"
        f"CREATE TABLE parted ({columns}, PRIMARY KEY (id)) PARTITION BY RANGE (id); CREATE TABLE parted_1 PARTITION OF parted DEFAULT;"
        "INSERT INTO parted SELECT * FROM whole; ANALYZE parted")
    assert sql("SELECT pg_relation_size('whole') >= 33554432 AND (SELECT reltuples >= 200000 FROM pg_class WHERE oid = 'parted'::regclass)") == [(True,)]
    versions = {}
    for name in ("whole", "parted"):
        assert http.put(f"/v1/feature-sets/{name}", json={"relation": f"public.{name}", "id_column": "id", "columns": [{"name": c} for c in "abc"]}).status_code in (200, 201)
        job = run_job(f"/v1/models/{name}/train", {**SPEC, "feature_set": name})
        versions[name] = http.get(f"/v1/models/{name}/versions/{job['version']}").json()
    one, other = versions["whole"], versions["parted"]
    assert one["data"] == other["data"] and one["data"]["rows"] == 220000
    assert one["metrics"] == other["metrics"]
    labels = "SELECT user_id, result, distance FROM segmentd.labels WHERE run_id = (SELECT run_id FROM segmentd.label_current c JOIN segmentd.models m ON m.id = c.model_id WHERE m.name = "
    assert sql(f"SELECT count(*) FROM (({labels}'whole')) EXCEPT ({labels}'parted'))) different") == [(0,)]
    assert sql(f"SELECT count(*) FROM ({labels}'whole')) labelled") == [(220000,)]


def becomes(sql, query, expected):
    """What a job leaves for after its commit: waits for it."""
    for _ in range(200):
        if (found := sql(query)) == expected:
            return
        time.sleep(0.05)
    raise AssertionError(found)


def test_the_index_by_distance_follows_the_commit(model, sql):
    becomes(sql, "SELECT id FROM segmentd.label_runs WHERE to_regclass('segmentd.labels_' || id || '_result') IS NULL", [])


def test_old_runs_are_dropped_and_the_auditor_is_content(http, model, run_job, sql, server):
    for _ in range(3):
        run_job(f"/v1/models/{model}/label", None)
    becomes(sql, "SELECT count(*) FROM segmentd.label_runs r JOIN segmentd.models m ON m.id = r.model_id WHERE m.name = 'profiled'", [(2,)])
    assert server.command("doctor").returncode == 0


def test_profiles_have_a_tag_that_changes_with_the_run(http, model):
    reply = http.get(f"/v1/models/{model}/segments")
    assert http.get(f"/v1/models/{model}/segments", headers={"If-None-Match": reply.headers["ETag"]}).status_code == 304


def test_the_projection_has_points_with_their_segment(http, model):
    got = http.get(f"/v1/models/{model}/projection").json()
    assert got["version"] == 1 and len(got["points"]) == 300 and {p["segment"] for p in got["points"]} == {1, 2, 3}
    assert 0 < got["explained"][1] <= got["explained"][0] <= 1


def test_the_tag_of_a_projection_is_that_of_its_points_and_not_of_its_number(http, train, blobs):
    """A model that was deleted and made again begins with version 1 once more."""
    train("again", {**SPEC, "label": False})
    before = http.get("/v1/models/again/projection")
    assert http.get("/v1/models/again/projection", headers={"If-None-Match": before.headers["ETag"]}).status_code == 304
    assert http.delete("/v1/models/again?force=true").status_code == 204
    train("again", {**SPEC, "label": False, "features": ["x", "y"]})
    after = http.get("/v1/models/again/projection", headers={"If-None-Match": before.headers["ETag"]})
    assert after.status_code == 200 and after.json()["version"] == 1 and after.json()["points"] != before.json()["points"]


def test_what_is_not_there_is_told_apart(http, train, blobs):
    train("unlabelled", {**SPEC, "label": False})
    assert http.get("/v1/models/unlabelled/segments").json()["code"] == "not_labelled"
    assert http.get("/v1/models/none/segments").json()["code"] == "model_not_found"
    assert http.get("/v1/models/profiled/segments/99").json()["code"] == "segment_not_found"


def test_ids_that_no_route_could_name_are_left_out_and_counted(http, sql, run_job):
    sql("CREATE TABLE oddids AS SELECT CASE i WHEN 1 THEN repeat('x', 300) WHEN 2 THEN '' WHEN 3 THEN E'a\\x01b' ELSE 'u' || i END AS id, i % 2 AS x"
        " FROM generate_series(1, 40) i")
    http.put("/v1/feature-sets/oddids", json={"relation": "public.oddids", "id_column": "id"})
    job = run_job("/v1/models/oddids/train", {"feature_set": "oddids", "algorithm": {"type": "kmeans", "k": 2}, "label": True})
    assert job["state"] == "succeeded" and any(w.startswith("3 rows are not labelled") for w in job["warnings"]), job
    segments = http.get("/v1/models/oddids/segments").json()
    assert segments["n_users"] == 37 == sum(s["size"] for s in segments["items"])
    again = run_job("/v1/models/oddids/label", None)
    assert any(w.startswith("3 rows are not labelled") for w in again["warnings"])
