"""Scoring: every format says the same, bad rows fail alone, and no database is needed."""
import csv
import io
import json
import time

import pytest

from raw import wire

KMEANS = {"feature_set": "blobs", "algorithm": {"type": "kmeans", "k": 3}, "label": True, "promote": "always"}


@pytest.fixture(scope="module")
def model(train, blobs):
    train("scored", KMEANS)
    return "scored"


def test_what_is_predicted_is_what_is_stored(http, model, blobs, sql):
    stored = {u: (s, c, d) for u, s, c, d in sql(
        "SELECT l.user_id, l.result, l.confidence, l.distance FROM segmentd.labels l JOIN segmentd.label_current c ON c.run_id = l.run_id"
        " JOIN segmentd.models m ON m.id = c.model_id WHERE m.name = 'scored'")}
    rows = [{"user_id": u, "features": f} for u, f in blobs.items()]
    got = http.post(f"/v1/models/{model}/predict", json={"rows": rows}).json()
    assert got["model"] == model and got["version"] == 1 and len(stored) == len(blobs)
    for p in got["predictions"]:
        segment, confidence, distance = stored[p["user_id"]]
        assert p["status"] == "ok" and p["segment"] == segment
        assert (p["confidence"], p["distance"]) == (pytest.approx(confidence, rel=1e-6), pytest.approx(distance, rel=1e-6))


def test_every_format_gives_the_same_answers(http, model, blobs):
    users = list(blobs.items())[:100]
    url = f"/v1/models/{model}/predict"
    named = http.post(url, json={"rows": [{"user_id": u, "features": f} for u, f in users]}).json()["predictions"]
    columnar = http.post(url, json={"data": [[f["channel"], f["x"], f["y"]] for _, f in users], "user_ids": [u for u, _ in users],
                                    "columns": ["channel", "x", "y"]}).json()["predictions"]
    lines = "".join(json.dumps({"user_id": u, "features": f}) + "\n" for u, f in users)
    ndjson = [json.loads(l) for l in http.post(url, data=lines, headers={"Content-Type": "application/x-ndjson"}).text.splitlines()]
    body = "user_id,x,y,channel\r\n" + "".join(f"{u},{f['x']!r},{f['y']!r},{f['channel']}\r\n" for u, f in users)
    reply = http.post(url, data=body, headers={"Content-Type": "text/csv"})
    assert reply.headers["Content-Type"].startswith("text/csv")
    header, *records = csv.reader(io.StringIO(reply.text))
    alone = [http.post(url, json={"rows": [{"user_id": u, "features": f}]}).json()["predictions"][0] for u, f in users[:10]]
    pick = lambda p: (p["user_id"], p["segment"], p["confidence"], p["distance"])
    assert list(map(pick, named)) == list(map(pick, columnar)) == list(map(pick, ndjson))
    assert list(map(pick, named[:10])) == list(map(pick, alone))
    by_name = [dict(zip(header, r)) for r in records]
    assert [(r["user_id"], int(r["segment"]), float(r["confidence"])) for r in by_name] == [(p["user_id"], p["segment"], p["confidence"]) for p in named]


@pytest.mark.parametrize("spec", [{"algorithm": {"type": "kmeans", "k": 3}}, {"algorithm": {"type": "gmm", "k": 3}},
                                  {"task": "classification", "target": "channel", "features": ["x", "y"], "algorithm": {"type": "mlp", "hidden": [4], "epochs": 3}}])
def test_a_document_has_the_bytes_of_the_lines_for_every_mix_of_rows(http, train, blobs, spec):
    model = "bytes_" + spec["algorithm"]["type"]
    train(model, {"feature_set": "blobs", "promote": "always", **spec})
    names = spec.get("features", ["channel", "x", "y"])
    rows = [{"features": {name: f[name] for name in names}} for f in list(blobs.values())[:150]]
    rows[0]["features"]["x"] = None
    rows[70]["features"]["x"] = "far"
    rows[71]["features"] = {}
    for i in (63, 64, 149):
        rows[i]["user_id"] = f"u{i}"
    url = f"/v1/models/{model}/predict"
    document = http.post(url, json={"rows": rows})
    lines = http.post(url, data="".join(json.dumps(r) + "\n" for r in rows), headers={"Content-Type": "application/x-ndjson"}).text.splitlines()
    assert document.headers["Cache-Control"] == "no-store" and "Vary" not in document.headers
    whole = document.text[document.text.index("[") + 1:-2]
    assert len(lines) == len(rows) and [p["status"] for p in document.json()["predictions"]].count("ok") == 148
    lines[70] = json.dumps(document.json()["predictions"][70], separators=(",", ":"))  # a document has pointers where lines have columns
    lines[71] = json.dumps(document.json()["predictions"][71], separators=(",", ":"))
    assert whole == ",".join(lines)


def test_a_body_in_pieces_gets_the_answer_of_a_whole_one(server, model, blobs):
    rows = [{"user_id": u, "features": f} for u, f in list(blobs.items())[:40]]
    body = json.dumps({"rows": rows}).encode()
    head = b"POST /v1/models/%s/predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (model.encode(), len(body))
    with wire(server) as w:
        status, _, whole = w.send(head + body).reply()
        assert status == 200
        w.send(head)
        for at in range(0, len(body), 700):
            time.sleep(0.01)
            w.send(body[at:at + 700])
        assert w.reply()[2] == whole
        w.send(head + body + head + body)
        assert w.reply()[2] == whole and w.reply()[2] == whole


def test_an_answer_much_longer_than_its_body_is_compressed(http, model):
    url, rows = f"/v1/models/{model}/predict", {"rows": [{"features": {}}] * 600}
    plain = http.post(url, json=rows, headers={"Accept-Encoding": "identity"})
    packed = http.post(url, json=rows)
    assert len(plain.content) > 32 << 10 and packed.headers["Content-Encoding"] == "gzip" and packed.content == plain.content


def test_missing_and_unseen_features_are_named(http, model):
    rows = [{"features": {"x": 0.0, "y": 0.0, "channel": "never seen"}}, {"features": {"x": 0.0, "y": None, "channel": "app"}}, {"features": {"x": 0.0}}]
    p = http.post(f"/v1/models/{model}/predict", json={"rows": rows}).json()["predictions"]
    assert p[0]["status"] == "ok" and p[0]["unseen"] == ["channel"] and p[0]["imputed"] == []
    assert p[1]["status"] == "ok" and p[1]["imputed"] == ["y"]
    assert p[2]["status"] == "insufficient_data" and p[2]["segment"] is None


def test_a_bad_row_fails_alone_with_its_pointer(http, model):
    rows = [{"user_id": "u1", "features": {"x": "old", "y": 1, "nope": 2}}, {"user_id": "u2", "features": {"x": 0, "y": 0, "channel": "app"}},
            {"user_id": "a\u0007b", "features": {"x": 0, "y": 0}}]
    p = http.post(f"/v1/models/{model}/predict", json={"rows": rows}).json()["predictions"]
    assert [q["status"] for q in p] == ["invalid", "ok", "invalid"]
    pointers = {e["pointer"]: e["code"] for e in p[0]["errors"]}
    assert pointers["/rows/0/features/x"] == "wrong_type" and "unknown_feature" in pointers.values()
    assert p[2]["errors"][0]["code"] == "bad_user_id"


@pytest.mark.parametrize("body", [
    b'{"rows": [', b'{"rows": []} x', b'{"rows": [{"features": {"x": 01}}]}', b'{"rows": [{"features": {"x": 1.}}]}',
    b'{"rows": [{"features": {"x": NaN}}]}', b'{"rows": [], "rows": []}', b"\xef\xbb\xbf{}", b'{"rows": [{"user_id": "\\ud800"}]}',
    b'{"rows": [{"user_id": "\\u0000"}]}', b'{"rows": [{"user_id": "\xff"}]}', b"[" * 1000, b'{"rows": [{"user_id": "a\nb"}]}', b"", b"null",
    b'{"columns": ["x"], "data": [[1]], "rows": []}', b'{"columns": ["nope"], "data": [[1]]}', b'{"columns": ["x", "x"], "data": [[1, 2]]}'])
def test_a_body_that_cannot_be_parsed_fails_whole(http, model, body):
    reply = http.post(f"/v1/models/{model}/predict", data=body, headers={"Content-Type": "application/json"})
    assert reply.status_code in (400, 422), reply.text
    assert reply.headers["Content-Type"].startswith("application/problem+json")


def test_a_number_that_is_too_large_is_the_fault_of_its_row(http, model):
    reply = http.post(f"/v1/models/{model}/predict", data=b'{"rows": [{"features": {"x": 1e999, "y": 1}}, {"features": {"x": 1e-400, "y": -0, "channel": "app"}}]}',
                      headers={"Content-Type": "application/json"}).json()["predictions"]
    assert reply[0]["status"] == "invalid" and reply[0]["errors"][0]["code"] == "not_finite" and reply[1]["status"] == "ok"


def test_unknown_models_versions_and_types_are_told(http, model):
    assert http.post("/v1/models/none/predict", json={"rows": []}).status_code == 404
    assert http.post(f"/v1/models/{model}/predict?version=99", json={"rows": []}).status_code == 404
    assert http.post(f"/v1/models/{model}/predict", json={"rows": []}).status_code == 422
    assert http.post(f"/v1/models/{model}/predict?version=1", json={"rows": [{"features": {}}]}).json()["version"] == 1
    assert http.post(f"/v1/models/{model}/predict", data="x", headers={"Content-Type": "text/plain"}).status_code == 415


def test_answers_survive_a_restart_and_a_stopped_database(server, http, model, blobs, database):
    rows = {"rows": [{"user_id": u, "features": f} for u, f in blobs.items()]}
    before = http.post(f"/v1/models/{model}/predict", json=rows).text
    server.stop()
    server.start()
    assert http.post(f"/v1/models/{model}/predict", json=rows).text == before
    with database.paused():
        assert http.post(f"/v1/models/{model}/predict", json=rows, timeout=5).text == before
        assert http.get("/livez", timeout=5).status_code == 200


@pytest.mark.races
def test_many_clients_at_once_get_the_same_bytes(http, model, blobs):
    import concurrent.futures
    rows = {"rows": [{"user_id": u, "features": f} for u, f in blobs.items()]}
    expected = http.post(f"/v1/models/{model}/predict", json=rows).text
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        assert set(pool.map(lambda _: http.post(f"/v1/models/{model}/predict", json=rows).text, range(100))) == {expected}


def test_classification_answers_class_and_probabilities(http, sql, train):
    sql("CREATE TABLE buyers AS SELECT i AS id, i % 100 AS a, i % 100 < 40 AS bought FROM generate_series(1, 1000) i")
    http.put("/v1/feature-sets/buyers", json={"relation": "public.buyers", "id_column": "id"})
    train("buyers", {"feature_set": "buyers", "task": "classification", "target": "bought",
                     "algorithm": {"type": "mlp", "hidden": [8], "epochs": 80, "learning_rate": 0.01}})
    p = http.post("/v1/models/buyers/predict", json={"columns": ["a"], "data": [[3], [95]]}).json()["predictions"]
    assert [q["class"] for q in p] == ["true", "false"]
    assert sum(p[0]["probabilities"].values()) == pytest.approx(1, abs=1e-5) and set(p[0]["probabilities"]) == {"true", "false"}
