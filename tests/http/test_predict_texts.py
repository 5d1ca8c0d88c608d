"""The digits of an answer depend on the row alone: not on the form of the body, the batch, or the number of workers."""
import csv
import io
import json
import random
import struct

import conftest
import pytest

NAMES = [f"f{i}" for i in range(7)]
MODELS = {"net": {"task": "classification", "target": "kind", "algorithm": {"type": "mlp", "hidden": [9, 5], "activation": "gelu", "epochs": 3}},
          "groups": {"algorithm": {"type": "kmeans", "k": 4, "n_init": 1}},
          "mixture": {"algorithm": {"type": "gmm", "k": 3}},
          "codes": {"algorithm": {"type": "autoencoder_kmeans", "k": 3, "encoder": [5, 2], "epochs": 2}}}
N_ROWS = 2500  # three blocks, of which two go to other workers


@pytest.fixture(scope="module")
def rows(http, train):
    rng = random.Random(5)
    made = [[struct.unpack("f", struct.pack("f", rng.gauss(i % 3, 1 + c)))[0] for c in range(7)] for i in range(N_ROWS)]
    lines = ["id," + ",".join(NAMES) + ",kind"] + [f"{i}," + ",".join(map(repr, r)) + f",{'abc'[i % 3]}" for i, r in enumerate(made)]
    http.post("/v1/feature-sets/texts/rows?id_column=id", data="\n".join(lines), headers={"Content-Type": "text/csv"})
    for model, spec in MODELS.items():
        train(model, {"feature_set": "texts", "features": NAMES, "promote": "always", **spec})
    return made


def numbers(prediction):
    """Every number of a prediction as the text that it was."""
    p = prediction
    return [p.get("class", p.get("segment")), p["confidence"], p.get("distance"), *p.get("probabilities", {}).values()]


def predict(http, model, body, kind="application/json"):
    reply = http.post(f"/v1/models/{model}/predict", data=body, headers={"Content-Type": kind})
    assert reply.status_code == 200, reply.text
    return reply.text


def columnar(http, model, rows):
    text = predict(http, model, json.dumps({"columns": NAMES, "data": rows}))
    return list(map(numbers, json.loads(text, parse_float=str, parse_int=str)["predictions"]))


@pytest.mark.parametrize("model", MODELS)
def test_every_form_and_batch_writes_the_same_digits(http, rows, model):
    expected = columnar(http, model, rows)
    assert len(expected) == N_ROWS
    named = [{"features": dict(zip(reversed(NAMES), reversed(r)))} for r in rows]
    read = lambda text: numbers(json.loads(text, parse_float=str, parse_int=str))
    reply = json.loads(predict(http, model, json.dumps({"rows": named})), parse_float=str, parse_int=str)
    assert list(map(numbers, reply["predictions"])) == expected
    lines = predict(http, model, "".join(json.dumps(r) + "\n" for r in named), "application/x-ndjson").splitlines()
    assert list(map(read, lines)) == expected
    body = ",".join(NAMES) + "\n" + "".join(",".join(map(repr, r)) + "\n" for r in rows)
    header, *records = csv.reader(io.StringIO(predict(http, model, body, "text/csv")))
    kept = [i for i, name in enumerate(header) if name not in ("user_id", "status", "segment_name", "error")]
    assert [[r[i] for i in kept] for r in records] == [[n for n in e if n is not None] for e in expected]
    for first, n in ((0, 1), (17, 1), (40, 48), (63, 2), (100, 15), (1000, 65)):
        assert columnar(http, model, rows[first:first + n]) == expected[first:first + n]


@pytest.mark.parametrize("model", MODELS)
def test_binary_tensors_have_the_floats_of_the_digits(http, rows, model):
    raw = struct.pack(f"<{N_ROWS * 7}f", *(x for r in rows for x in r))
    head = json.dumps({"inputs": [{"name": "features", "datatype": "FP32", "shape": [N_ROWS, 7], "parameters": {"binary_data_size": len(raw)}}],
                       "outputs": [{"name": "confidence", "parameters": {"binary_data": True}}]}).encode()
    reply = http.post(f"/v2/models/{model}/infer", data=head + raw, headers={"Content-Type": "application/octet-stream", "Inference-Header-Content-Length": str(len(head))})
    start = int(reply.headers["Inference-Header-Content-Length"])
    got = struct.unpack(f"<{N_ROWS}f", reply.content[start:])
    assert list(got) == [struct.unpack("f", struct.pack("f", float(e[1])))[0] for e in columnar(http, model, rows)]


@pytest.mark.parametrize("workers", (1, 3))
def test_any_number_of_workers_writes_the_same_bytes(http, rows, database, tmp_path, workers):
    other = conftest.Server(database, tmp_path, options=f"runners = 1\nworkers = {workers}\n")
    other.start()
    with conftest.Http(other) as session:
        for model in MODELS:
            body = json.dumps({"columns": NAMES, "data": rows})
            assert predict(session, model, body) == predict(http, model, body)
    other.stop()
