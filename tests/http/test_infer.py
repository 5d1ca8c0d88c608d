"""The Open Inference Protocol, version 2, by a client that was written from its specification: JSON and binary tensors, both ways."""
import json
import struct

import pytest

KMEANS = {"feature_set": "blobs", "algorithm": {"type": "kmeans", "k": 3}, "promote": "always"}
TYPES = {"FP16": "<e", "FP32": "<f", "FP64": "<d", "INT8": "<b", "INT16": "<h", "INT32": "<i", "INT64": "<q", "UINT8": "<B", "UINT32": "<I", "BOOL": "<?"}


class Client:
    """What a client of the protocol does, no more."""

    def __init__(self, http, model, version=None):
        self.http = http
        self.base = f"/v2/models/{model}" + (f"/versions/{version}" if version else "")

    @staticmethod
    def pack(datatype, values):
        if datatype == "BYTES":
            return b"".join(struct.pack("<I", len(v)) + v for v in values)
        return b"".join(struct.pack(TYPES[datatype], v) for v in values)

    @staticmethod
    def unpack(datatype, raw):
        if datatype != "BYTES":
            return [v for v, in struct.iter_unpack(TYPES[datatype], raw)]
        values = []
        while raw:
            n, = struct.unpack_from("<I", raw)
            values.append(raw[4:4 + n])
            raw = raw[4 + n:]
        return values

    def post(self, document, tail=None, **headers):
        head = json.dumps(document).encode()
        if tail is None:
            return self.http.post(self.base + "/infer", data=head, headers={"Content-Type": "application/json", **headers})
        return self.http.post(self.base + "/infer", data=head + tail,
                              headers={"Content-Type": "application/octet-stream", "Inference-Header-Content-Length": str(len(head)), **headers})

    def infer(self, tensors, binary_in=False, **document):
        """tensors: {name: (datatype, shape, flat values)}; the outputs as {name: values}."""
        inputs, tail = [], b""
        for name, (datatype, shape, values) in tensors.items():
            tensor = {"name": name, "datatype": datatype, "shape": shape}
            if binary_in:
                raw = self.pack(datatype, [v.encode() if isinstance(v, str) else v for v in values])
                tensor["parameters"] = {"binary_data_size": len(raw)}
                tail += raw
            else:
                tensor["data"] = values
            inputs.append(tensor)
        reply = self.post({**document, "inputs": inputs}, tail if binary_in else None)
        assert reply.status_code == 200, reply.text
        n = int(reply.headers.get("Inference-Header-Content-Length", len(reply.content)))
        self.header, rest = json.loads(reply.content[:n]), reply.content[n:]
        outputs = {}
        for tensor in self.header["outputs"]:
            size = tensor.get("parameters", {}).get("binary_data_size")
            if size is None:
                outputs[tensor["name"]] = tensor["data"]
            else:
                values = self.unpack(tensor["datatype"], rest[:size])
                outputs[tensor["name"]] = [v.decode() if isinstance(v, bytes) else v for v in values]
                rest = rest[size:]
        assert rest == b""
        return outputs


@pytest.fixture(scope="module")
def model(train, blobs):
    train("tensors", KMEANS)
    return "tensors"


@pytest.fixture
def client(http, model):
    return Client(http, model)


def by_feature(rows):
    n = len(rows)
    return {"x": ("FP32", [n], [r["x"] for r in rows]), "y": ("FP64", [n, 1], [r["y"] for r in rows]), "channel": ("BYTES", [n], [r["channel"] for r in rows])}


def test_health_and_metadata_follow_the_protocol(http, model):
    assert http.get("/v2/health/live").json() == {"live": True}
    assert http.get("/v2/health/ready").json() == {"ready": True}
    server = http.get("/v2").json()
    assert server["name"] == "segmentd" and "binary_tensor_data" in server["extensions"]
    assert http.get(f"/v2/models/{model}/ready").json() == {"name": model, "ready": True}
    assert http.get(f"/v2/models/{model}/versions/1/ready").status_code == 200
    document = http.get(f"/v2/models/{model}").json()
    assert document["name"] == model and document["versions"] == ["1"] and document["platform"] == "segmentd_kmeans"
    assert {(i["name"], i["datatype"], tuple(i["shape"])) for i in document["inputs"]} == {("x", "FP32", (-1,)), ("y", "FP32", (-1,)), ("channel", "BYTES", (-1,))}
    assert ("segment", "INT32", (-1,)) in {(o["name"], o["datatype"], tuple(o["shape"])) for o in document["outputs"]}


def test_tensors_say_what_rows_say(http, client, model, blobs):
    rows = list(blobs.values())[:150]
    told = http.post(f"/v1/models/{model}/predict", json={"rows": [{"features": r} for r in rows]}).json()["predictions"]
    for binary_in in (False, True):
        for binary_out in (False, True):
            got = client.infer(by_feature(rows), binary_in, id="7", parameters={"binary_data_output": binary_out})
            assert got["segment"] == [p["segment"] for p in told] and got["segment_name"] == [p["segment_name"] for p in told]
            assert got["distance"] == pytest.approx([p["distance"] for p in told], rel=1e-7)
            assert got["status"] == ["ok"] * len(rows)
            assert (client.header["model_name"], client.header["model_version"], client.header["id"]) == (model, "1", "7")


def test_outputs_are_those_asked_for_each_in_its_form(client, blobs):
    row = next(iter(blobs.values()))
    got = client.infer(by_feature([row]), outputs=[{"name": "confidence", "parameters": {"binary_data": True}}, {"name": "segment"}])
    assert list(got) == ["confidence", "segment"]
    assert "data" not in client.header["outputs"][0] and "data" in client.header["outputs"][1]


def test_one_matrix_holds_every_feature_in_order(http, train):
    rows = "a,b,c\n" + "".join(f"{i % 7},{i % 3},{i % 5}\n" for i in range(60))
    assert http.post("/v1/feature-sets/numbers/rows", data=rows, headers={"Content-Type": "text/csv"}).status_code < 300
    train("numbers", {"feature_set": "numbers", "algorithm": {"type": "kmeans", "k": 4}, "promote": "always"})
    client = Client(http, "numbers", version=1)
    data = [[i % 7, i % 3, i % 5] for i in range(130)]
    flat = [v for row in data for v in row]
    columns = {name: ("INT16", [130], [row[i] for row in data]) for i, name in enumerate("abc")}
    expected = client.infer(columns)
    for datatype in ("FP32", "FP64", "INT32", "UINT8"):
        assert client.infer({"features": (datatype, [130, 3], flat)}, binary_in=True) == expected
    assert client.infer({"features": ("FP32", [130, 3], data)}) == expected


def test_nan_null_and_absent_tensors_are_missing(client):
    got = client.infer({"x": ("FP32", [2], [float("nan"), 0.0]), "y": ("FP32", [2], [0.0, 0.0])}, binary_in=True)
    assert got["status"] == ["insufficient_data", "ok"] and got["segment"][0] == -1
    assert client.infer({"x": ("FP32", [1], [None]), "y": ("FP32", [1], [0.5]), "channel": ("BYTES", [1], ["app"])})["status"] == ["ok"]


def test_halves_are_read_as_the_numbers_they_are(client):
    """BF16 is the upper half of a float32; values here are exact in both."""
    values, y = [0.0, -1.5, 2.0, 10.25, 2.0 ** -14, -0.0], [0.5] * 6
    wanted = client.infer({"x": ("FP32", [6], values), "y": ("FP32", [6], y)}, binary_in=True)
    assert client.infer({"x": ("FP16", [6], values), "y": ("FP16", [6], y)}, binary_in=True) == wanted
    tail = b"".join(struct.pack("<f", v)[2:] for v in values + y)
    inputs = [{"name": n, "datatype": "BF16", "shape": [6], "parameters": {"binary_data_size": 12}} for n in "xy"]
    reply = client.post({"inputs": inputs}, tail)
    assert reply.status_code == 200, reply.text
    assert {o["name"]: o["data"] for o in reply.json()["outputs"]}["distance"] == wanted["distance"]
    subnormal = client.infer({"x": ("FP16", [2], [2.0 ** -24, 0.0]), "y": ("FP16", [2], [0.0, float("inf")])}, binary_in=True)
    assert subnormal["status"] == ["ok", "invalid"]


def test_halves_in_json_are_refused(client):
    reply = client.post({"inputs": [{"name": "x", "datatype": "FP16", "shape": [1], "data": [1]}, {"name": "y", "datatype": "FP32", "shape": [1], "data": [1]}]})
    assert reply.status_code == 422 and pointers(reply) == {"/inputs/0/data": "wrong_type"}


@pytest.mark.parametrize("datatype, good, bad", [("INT8", -128, -129), ("UINT8", 255, 256), ("UINT8", 0, -1), ("INT16", 32767, 32768), ("INT64", 2 ** 63 - 1, 2 ** 63),
                                                 ("UINT64", 2 ** 64 - 1, 2 ** 64), ("INT32", 7, 7.5)])
def test_a_number_that_its_datatype_cannot_hold_makes_its_row_invalid(client, datatype, good, bad):
    assert client.infer({"x": (datatype, [2], [good, bad]), "y": ("FP32", [2], [0.0, 0.0])})["status"] == ["ok", "invalid"]


def test_a_bad_value_makes_its_row_invalid_alone(client):
    got = client.infer({"x": ("FP32", [3], [1.0, float("inf"), 2.0]), "y": ("FP32", [3], [0.0, 0.0, 0.0])}, binary_in=True)
    assert got["status"] == ["ok", "invalid", "ok"]
    assert client.header["parameters"]["n_invalid"] == 1 and "row 1, x" in client.header["parameters"]["first_fault"]
    assert client.infer({"x": ("FP32", [2], ["one", 1.0]), "y": ("FP32", [2], [0.0, 0.0])})["status"] == ["invalid", "ok"]


def pointers(reply):
    assert reply.headers["Content-Type"].startswith("application/problem+json") and reply.json()["error"]
    return {e["pointer"]: e["code"] for e in reply.json()["errors"]}


def test_all_faults_of_a_header_are_reported_together(client):
    x = {"name": "x", "datatype": "FP32", "shape": [1], "data": [1]}
    reply = client.post({"inputs": [x, {"name": "nope", "datatype": "FP32", "shape": [1], "data": [1]}, {"name": "y", "datatype": "FP8", "shape": [2], "data": [1, 2]},
                                    {"name": "channel", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]}, {"shape": [1], "datatype": "BOOL"}, x]})
    assert reply.status_code == 422
    assert pointers(reply) == {"/inputs/1/name": "unknown_feature", "/inputs/2/datatype": "unknown_value", "/inputs/2/shape": "wrong_shape",
                               "/inputs/3/datatype": "wrong_type", "/inputs/3/shape": "wrong_shape", "/inputs/4/name": "missing", "/inputs/5/name": "duplicate"}


@pytest.mark.parametrize("document, tail, status, code", [
    ({"inputs": []}, None, 422, "missing"),
    ({}, None, 422, "missing"),
    ({"inputs": [{"name": "x", "datatype": "FP32", "shape": [2], "data": [1]}]}, None, 422, "wrong_shape"),
    ({"inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "data": [1, 2]}]}, None, 422, "wrong_shape"),
    ({"inputs": [{"name": "x", "datatype": "FP32", "shape": [0], "data": []}]}, None, 422, "missing"),
    ({"inputs": [{"name": "x", "datatype": "FP32", "shape": [1]}]}, None, 422, "missing"),
    ({"inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "parameters": {"binary_data_size": 8}}]}, b"\0" * 4, 422, "too_short"),
    ({"inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "parameters": {"binary_data_size": 8}}]}, b"\0" * 8, 422, "wrong_shape"),
    ({"inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "parameters": {"binary_data_size": 4}}]}, b"\0" * 9, 422, "bad_body"),
    ({"inputs": [{"name": "channel", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": 6}}]}, b"\xff\xff\xff\xffab", 422, "wrong_shape"),
    ({"inputs": [{"name": "x", "datatype": "FP32", "shape": [999999999], "data": [1]}]}, None, 422, "too_many_rows"),
    ({"inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "data": [1]}], "outputs": [{"name": "nope"}]}, None, 422, "unknown_value"),
])
def test_a_tensor_that_does_not_fit_is_refused(client, document, tail, status, code):
    reply = client.post(document, tail)
    assert reply.status_code == status and code in pointers(reply).values(), reply.text


def test_the_header_length_must_lie_in_the_body(client, http):
    for length in ("", "-1", "abc", "99999999", "9" * 30):
        reply = client.post({"inputs": []}, b"", **{"Inference-Header-Content-Length": length})
        assert reply.status_code == 400, length
    assert http.post(client.base + "/infer", data=b"{}", headers={"Content-Type": "application/octet-stream"}).status_code == 400
    assert http.post(client.base + "/infer", data=b"{}", headers={"Content-Type": "text/csv"}).status_code == 415
    assert http.post(client.base + "/infer", data=b'{"inputs": [', headers={"Content-Type": "application/json"}).status_code == 400


def test_unknown_models_and_versions_are_404(http, model):
    for path in ("/v2/models/absent", "/v2/models/absent/ready", f"/v2/models/{model}/versions/99", f"/v2/models/{model}/versions/x/ready"):
        reply = http.get(path)
        assert reply.status_code == 404 and reply.json()["error"], path
    assert http.post("/v2/models/absent/infer", json={"inputs": []}).status_code == 404


def test_classes_and_probabilities_come_as_tensors(http, train, blobs):
    train("tensors_class", {"feature_set": "blobs", "task": "classification", "target": "channel", "algorithm": {"type": "mlp", "hidden": [8], "epochs": 5},
                            "promote": "always"})
    rows = list(blobs.values())[:20]
    told = http.post("/v1/models/tensors_class/predict", json={"rows": [{"features": {"x": r["x"], "y": r["y"]}} for r in rows]}).json()["predictions"]
    tensors = {k: v for k, v in by_feature(rows).items() if k != "channel"}
    got = Client(http, "tensors_class").infer(tensors, True, parameters={"binary_data_output": True})
    assert got["class"] == [p["class"] for p in told]
    assert got["probabilities"] == pytest.approx([v for p in told for v in p["probabilities"].values()], rel=1e-6)
