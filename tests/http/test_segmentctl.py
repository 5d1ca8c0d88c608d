"""segmentctl: every command against the real server, its exit codes, and what reaches a terminal."""
import csv
import http.server
import json
import os
import pathlib
import pty
import re
import subprocess
import threading
import time

import pytest

BUILD = os.environ.get("SEGMENTD_BUILD") or pathlib.Path(
    os.environ.get("SEGMENTD_BIN", pathlib.Path(__file__).resolve().parents[2] / "build" / "server" / "segmentd")).parent.parent
BINARY = str(pathlib.Path(BUILD) / "ctl" / "segmentctl")
ROWS = "id,x,channel\na,1,app\nb,2,web\nc,3.5,shop\n"


def run(url, *words, stdin=None, env=None):
    clean = {k: v for k, v in os.environ.items() if not k.startswith("SEGMENTD_") and not k.lower().endswith("_proxy")}
    done = subprocess.run([BINARY, *map(str, words)], input=stdin, capture_output=True, timeout=90,
                          env={**clean, **({"SEGMENTD_URL": url} if url else {}), **(env or {})})
    done.stdout, done.stderr = done.stdout.decode(errors="surrogateescape"), done.stderr.decode()
    assert "Sanitizer" not in done.stderr and "runtime error" not in done.stderr, done.stderr
    return done


@pytest.fixture(scope="module")
def ctl(server):
    return lambda *words, **options: run(server.url, *words, **options)


@pytest.fixture(scope="module")
def ok(ctl):
    def call(*words, **options):
        done = ctl(*words, **options)
        assert done.returncode == 0, done
        return done.stdout

    return call


@pytest.fixture(scope="module")
def shop(ok, blobs):
    ok("train", "shop", "--feature-set", "blobs", "--k", 3, "--seed", 7, "--label", "--promote", "always", "--watch")
    return "shop"


@pytest.fixture
def answering(request):
    """A server that gives the answers it is told to, whatever is asked."""
    answers, asked = [], []

    class Handler(http.server.BaseHTTPRequestHandler):
        def answer(self):
            asked.append((self.command, self.path, dict(self.headers)))
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, body, claimed = answers.pop(0) if len(answers) > 1 else answers[0]
            self.send_response(status)
            self.send_header("Content-Length", str(claimed or len(body)))
            self.end_headers()
            self.wfile.write(body)
            self.close_connection = claimed is not None

        do_GET = do_POST = do_PUT = answer

        def log_message(self, *_):
            pass

    fake = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=fake.serve_forever)
    thread.start()

    def start(*replies):
        answers.extend((r[0], r[1].encode() if isinstance(r[1], str) else r[1], r[2] if len(r) > 2 else None) for r in replies)
        return f"http://127.0.0.1:{fake.server_port}", asked

    yield start
    fake.shutdown()
    thread.join()
    fake.server_close()


def on_terminal(url, *words):
    """What segmentctl writes when stdout and stderr are a terminal, and its exit code."""
    master, slave = pty.openpty()
    process = subprocess.Popen([BINARY, "--url", url, *words], stdin=subprocess.DEVNULL, stdout=slave, stderr=slave)
    os.close(slave)
    text = b""
    while True:
        try:
            piece = os.read(master, 65536)
        except OSError:  # EIO: the last writer is gone
            break
        if not piece:
            break
        text += piece
    os.close(master)
    return text.decode(), process.wait(timeout=30)


@pytest.mark.parametrize("suffix, text", [
    (".csv", ROWS),
    (".ndjson", "".join(json.dumps(r) + "\n" for r in csv.DictReader(ROWS.splitlines()))),
    (".JSONL", "".join(json.dumps(r) + "\n" for r in csv.DictReader(ROWS.splitlines()))),
    (".json", json.dumps(list(csv.DictReader(ROWS.splitlines())))),
])
def test_import_takes_the_type_from_the_suffix(ok, http, tmp_path, suffix, text):
    file = tmp_path / f"rows{suffix}"
    file.write_text(text)
    name = "import" + suffix[1:].lower()
    assert ok("import", name, file, "--id", "id") == f"{name}: 3 inserted, 0 updated, 0 skipped, 2 columns\n"
    assert http.get(f"/v1/feature-sets/{name}").json()["rows"] == 3


def test_import_reads_stdin_as_a_stream(ok, http):
    rows = "id,x\n" + "".join(f"u{i},{i}\n" for i in range(200000))
    got = json.loads(ok("import", "piped", "-", "--type", "csv", "--id", "id", "--json", stdin=rows.encode()))
    assert got["inserted"] == 200000 and http.get("/v1/feature-sets/piped").json()["columns"][0]["max"] == 199999
    assert "3 updated" in ok("import", "piped", "-", "--type=csv", "--id=id", stdin=b"id,x\nu1,1\nu2,2\nu3,3\n")


def test_bad_rows_are_listed_one_a_line_and_skipped_on_demand(ctl, http):
    ctl("import", "faulty", "-", "--type", "csv", "--id", "id", stdin=b"id,x\na,1\n")
    bad = b"id,x\nb,oops\nc,2\nd,1e999\n"
    done = ctl("import", "faulty", "-", "--type", "csv", "--id", "id", stdin=bad)
    lines = done.stderr.splitlines()
    assert (done.returncode, done.stdout, lines[0]) == (1, "", "segmentctl: 2 faults")
    assert [line.split(": ")[0] for line in lines[1:]] == ["  line 2, column 2 (x)", "  line 4, column 2 (x)"]
    assert http.get("/v1/feature-sets/faulty").json()["rows"] == 1
    done = ctl("import", "faulty", "-", "--type", "csv", "--id", "id", "--skip-bad", stdin=bad)
    assert done.returncode == 0 and "1 inserted, 0 updated, 2 skipped" in done.stdout and "line 4" in done.stderr


def test_a_file_that_cannot_be_read_fails(ctl, tmp_path):
    folder = tmp_path / "folder.csv"
    folder.mkdir()
    for path, why in ((tmp_path / "absent.csv", "No such file or directory"), (folder, "Is a directory")):
        done = ctl("import", "nothing", path)
        assert done.returncode == 1 and why in done.stderr


def test_train_watch_tells_the_phases_and_the_version(ctl, blobs, http):
    done = ctl("train", "watched", "--feature-set", "blobs", "--k", 3, "--watch")
    assert done.returncode == 0 and re.fullmatch(r"job [0-9a-f-]{36}: succeeded, model watched version 1\n", done.stdout)
    assert all(line.startswith("segmentctl: watched: ") for line in done.stderr.splitlines())
    assert http.get("/v1/models/watched/versions/1").json()["spec"]["algorithm"]["k"] == 3


def test_options_become_the_spec(ok, blobs, tmp_path):
    def dry(*words):
        return json.loads(ok("train", "dry", "--dry-run", *words))

    got = dry("--feature-set", "blobs", "--k", 4, "--seed", 9, "--features", "x,channel", "--promote", "never", "--label", "--hidden", "16,8")
    assert (got["task"], got["seed"], got["features"], got["promote"], got["label"]) == ("segmentation", 9, ["x", "channel"], "never", True)
    assert (got["algorithm"]["type"], got["algorithm"]["k"], got["algorithm"]["head"]["hidden"]) == ("kmeans", 4, [16, 8])
    got = dry("--feature-set", "blobs", "--target", "channel", "--hidden", "12")
    assert (got["task"], got["target"], got["algorithm"]["type"], got["algorithm"]["hidden"]) == ("classification", "channel", "mlp", [12])
    got = dry("--feature-set", "blobs", "--algorithm", "autoencoder_kmeans", "--k", 2, "--hidden", "8,2")
    assert got["algorithm"]["encoder"] == [8, 2]
    file = tmp_path / "spec.json"
    file.write_text(json.dumps({"feature_set": "blobs", "seed": 1, "preprocess": {"default": {"scale": "robust"}},
                                "algorithm": {"type": "kmeans", "k": 2, "n_init": 3}}))
    got = dry("--spec", file, "--k", 5)
    assert (got["seed"], got["algorithm"]["k"], got["algorithm"]["n_init"]) == (1, 5, 3) and "robust" in json.dumps(got["preprocess"])
    assert dry("--spec", file, "--algorithm", "autoencoder_kmeans", "--k", 3)["algorithm"]["type"] == "autoencoder_kmeans"


def test_a_wrong_spec_lists_every_fault_with_its_pointer(ctl, blobs, http):
    done = ctl("train", "wrong", "--feature-set", "blobs", "--k", "many", "--seed", "-1", "--promote", "soon")
    lines = done.stderr.splitlines()
    assert done.returncode == 1 and lines[0] == "segmentctl: 3 faults"
    assert {line.split(":")[0] for line in lines[1:]} == {"  /algorithm/k", "  /seed", "  /promote"}
    assert http.get("/v1/models/wrong").status_code == 404


def test_a_job_that_fails_prints_its_error(ctl, ok):
    ok("import", "tiny", "-", "--type", "csv", "--id", "id", stdin=b"id,x\na,1\nb,2\n")
    done = ctl("train", "failing", "--feature-set", "tiny", "--k", 50, "--watch")
    assert done.returncode == 1 and ": failed, model failing" in done.stdout
    job = json.loads(ok("jobs", "--model", "failing", "--json"))["items"][0]
    assert f"segmentctl: {job['error']['detail']}\n" in done.stderr
    assert job["error"]["detail"] in ok("jobs", "--model", "failing")


def test_jobs_are_listed_shown_cancelled_and_retried(ctl, ok, blobs, tmp_path):
    file = tmp_path / "long.json"
    file.write_text(json.dumps({"feature_set": "blobs", "algorithm": {
        "type": "kmeans", "k": 3, "head": {"type": "mlp", "hidden": [64], "epochs": 5000, "patience": 0}}}))
    job = json.loads(ok("train", "long", "--spec", file, "--json"))["id"]
    assert ctl("retry", job).returncode == 1
    assert f"job {job}: cancel" in ok("cancel", job)
    deadline = time.monotonic() + 20
    while "cancelled" not in ok("jobs", job) and time.monotonic() < deadline:
        time.sleep(0.05)
    table = ok("jobs", "--state", "cancelled", "--model", "long").splitlines()
    assert table[0].split() == ["ID", "KIND", "MODEL", "STATE", "DONE", "VERSION", "CREATED", "MESSAGE"]
    assert table[1].split()[:4] == [job, "train", "long", "cancelled"] and len(table) == 2
    assert ok("retry", job) == f"job {job}: queued, model long\n"
    ok("cancel", job)
    assert "no such job" in ctl("jobs", "00000000-0000-0000-0000-000000000000").stderr


def test_segments_are_an_aligned_table_of_all_users(ok, shop, http):
    raw = json.loads(ok("segments", shop, "--json"))
    assert raw == http.get(f"/v1/models/{shop}/segments").json()
    head, blank, *table = ok("segments", shop).splitlines()
    assert head.startswith("shop version 1, 300 users, labelled 20") and blank == ""
    assert re.fullmatch(r"SEGMENT  NAME +USERS  SHARE  TOP FEATURES", table[0])
    users, features = table[0].index("USERS") + 5, table[0].index("TOP FEATURES")
    for line, segment in zip(table[1:], raw["items"], strict=True):
        assert line[:users].split()[-1] == str(segment["size"]) and segment["name"] in line
        assert line[features:] == ", ".join(segment["top_features"])


def test_predict_answers_in_the_format_of_the_file(ok, shop, blobs, http, tmp_path):
    users = dict(list(blobs.items())[:6])
    want = [p["segment"] for p in http.post(f"/v1/models/{shop}/predict", json={
        "rows": [{"user_id": u, "features": f} for u, f in users.items()]}).json()["predictions"]]
    rows = [{"user_id": u, "features": f} for u, f in users.items()]
    files = {"r.csv": "user_id,x,y,channel\n" + "".join(f"{u},{f['x']!r},{f['y']!r},{f['channel']}\n" for u, f in users.items()),
             "r.ndjson": "\n".join(map(json.dumps, rows)), "r.json": json.dumps({"rows": rows})}
    got = {}
    for name, text in files.items():
        (tmp_path / name).write_text(text)
        got[name] = ok("predict", shop, tmp_path / name)
    assert [int(r["segment"]) for r in csv.DictReader(got["r.csv"].splitlines())] == want
    assert [json.loads(line)["segment"] for line in got["r.ndjson"].splitlines()] == want
    assert [p["segment"] for p in json.loads(got["r.json"])["predictions"]] == want
    many = "user_id,x,y,channel\n" + "".join(f"n{i},{i % 20},0,app\n" for i in range(50000))
    assert len(ok("predict", shop, "-", "--type", "csv", stdin=many.encode()).splitlines()) == 50001


def test_an_answer_cut_short_or_not_written_is_a_failure(answering, server, shop, tmp_path):
    file = tmp_path / "r.csv"
    file.write_text("user_id,x,y,channel\na,1,2,app\n")
    url, _ = answering((200, "user_id,segment\na,1\n", 1000))
    done = run(url, "predict", shop, file)
    assert done.returncode == 1 and done.stdout.startswith("user_id") and "the answer is not complete" in done.stderr
    with open("/dev/full", "wb") as full:
        assert subprocess.run([BINARY, "--url", server.url, "predict", shop, file], stdout=full, stderr=subprocess.DEVNULL).returncode == 1


def test_models_versions_and_promotion(ok, ctl, blobs, http):
    for _ in range(2):
        ok("train", "promoted", "--feature-set", "blobs", "--k", 3, "--promote", "always", "--watch")
    assert ok("promote", "promoted", 1) == "promoted: version 1 serves\n"
    assert http.get("/v1/models/promoted").json()["champion"] == 1
    line = next(line for line in ok("models").splitlines() if line.startswith("promoted "))
    assert line.split()[1:4] == ["segmentation", "1", "2"]
    versions = [line.split() for line in ok("models", "promoted").splitlines()]
    assert [v[0] for v in versions] == ["VERSION", "2", "1"] and "champion" in versions[2] and "champion" not in versions[1]
    assert "has no version 9" in ctl("promote", "promoted", 9).stderr
    assert [ctl("promote", "promoted", v).returncode for v in ("one", "0", "1x", "99999999999")] == [2] * 4


def test_label_and_feature_sets(ok, shop):
    assert re.search(r": succeeded, model shop", ok("label", shop, "--watch"))
    assert any(line.split()[:4] == ["blobs", "managed", "id", "3"] for line in ok("feature-sets").splitlines())
    head, _, *table = ok("feature-sets", "blobs").splitlines()
    assert head == "blobs: 300 rows" and table[1].split()[:3] == ["x", "numeric", "0"] and "app" in table[3]


def test_figures_of_a_sample_are_called_so(answering):
    document = {"name": "shop", "rows": 30000000, "rows_estimated": True, "columns": [],
                "based_on": {"rows": 100412, "sample": True, "method": "random_pages", "detail": "a part of the pages was read"}}
    url, _ = answering((200, json.dumps(document)))
    assert run(url, "feature-sets", "shop").stdout.splitlines()[:2] == ["shop: about 30000000 rows", "figures of 100412 rows: a part of the pages was read"]


def test_lists_are_followed_over_all_pages(answering):
    pages = [{"items": [{"name": f"m{i}"}], "next_cursor": f"c&{i}" if i < 2 else None} for i in range(3)]
    url, asked = answering(*[(200, json.dumps(p)) for p in pages])
    assert [m["name"] for m in json.loads(run(url, "models", "--json").stdout)["items"]] == ["m0", "m1", "m2"]
    assert [path.split("cursor=")[-1] for _, path, _ in asked[1:]] == ["c%260", "c%261"]


def test_no_control_character_reaches_the_terminal(answering):
    evil = "a\x1b]0;owned\x07\x9b31m\u202egnp\x7f中"
    shown = "a\ufffd]0;owned\ufffd\ufffd31m\ufffdgnp\ufffd中"
    document = {"model": evil, "version": 1, "n_users": 1, "labelled_at": evil,
                "items": [{"segment": 1, "name": evil, "size": 1, "share": 1, "top_features": [evil]}]}
    problem = {"title": evil, "detail": evil, "errors": [{"pointer": evil, "detail": evil}]}
    raw = json.dumps(document, ensure_ascii=False).encode()
    url, _ = answering((200, raw), (200, raw), (422, json.dumps(problem)), (200, json.dumps({"items": [{"name": evil}]})))
    assert run(url, "segments", "m").stdout.count(shown) == 4
    got = run(url, "segments", "m", "--json").stdout
    assert json.loads(got) == document and not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", got)
    assert run(url, "segments", "m").stderr == f"segmentctl: {shown}\n  {shown}: {shown}\n"
    assert shown in run(url, "models").stdout


def test_predictions_on_a_terminal_are_cleaned_and_elsewhere_are_not(answering, tmp_path):
    body = "user_id\r\n\x1b[2J\u009b中".encode() + b"\xff\n"
    file = tmp_path / "r.csv"
    file.write_text("x\n1\n")
    url, _ = answering((200, body))
    assert run(url, "predict", "m", file).stdout.encode(errors="surrogateescape") == body
    text, code = on_terminal(url, "predict", "m", str(file))
    assert code == 0 and "\ufffd[2J\ufffd中\ufffd" in text and "\x1b[2J" not in text and "\x9b" not in text


def test_a_terminal_sees_a_bar_that_fits_and_goes_away(answering, server, blobs):
    job = {"id": "j", "state": "running", "progress": 0.5, "phase": "training", "message": "epoch \x1b[31m" + "9" * 300, "model": "m"}
    url, _ = answering((202, json.dumps(job)), (200, json.dumps(job)), (200, json.dumps({**job, "state": "succeeded", "version": 4})))
    text, code = on_terminal(url, "label", "m", "--watch")
    assert code == 0 and "[############............]  50%  training: epoch \ufffd[31m999" in text
    lines = [line for line in re.split("\r\x1b\\[K|\r\n", text) if "50%" in line]
    assert lines and max(map(len, lines)) <= 79
    assert text.endswith("\r\x1b[Kjob j: succeeded, model m version 4\r\n")


def test_watching_outlives_a_server_that_is_away(answering):
    job = {"id": "j", "state": "running", "progress": 0, "phase": "", "message": "", "model": "m"}
    url, asked = answering((202, json.dumps(job)), (503, "{}"), (200, "{", 100), (200, json.dumps({**job, "state": "succeeded"})))
    assert run(url, "label", "m", "--watch").returncode == 0 and len(asked) == 4


def test_the_token_goes_along_and_a_bad_one_nowhere(answering):
    url, asked = answering((200, '{"items": []}'))
    run(url, "models", env={"SEGMENTD_TOKEN": "sesame"})
    run(url, "--token", "open", "models", env={"SEGMENTD_TOKEN": "sesame"})
    assert [h["Authorization"] for _, _, h in asked] == ["Bearer sesame", "Bearer open"]
    assert run(url, "--token", "a\r\nX-Evil: 1", "models").returncode == 2 and len(asked) == 2


def test_words_are_escaped_in_the_address(answering):
    url, asked = answering((200, '{"items": []}'))
    run(url, "models", "a/../b?c=d#e")
    run(url, "jobs", "..")
    assert [path.split("?")[0] for _, path, _ in asked] == ["/v1/models/a%2F..%2Fb%3Fc%3Dd%23e/versions", "/v1/jobs/.."]


def test_a_string_in_a_number_s_place_is_cleaned_too(answering):
    evil = "\x1b[31m"
    document = {key: evil for key in ("model", "name", "version", "n_users", "rows", "labelled_at", "id", "state", "phase", "inserted", "updated", "skipped")}
    url, _ = answering((200, json.dumps({**document, "items": [document], "columns": [document], "errors": [{"pointer": evil, "detail": evil}]})))
    for words in (["segments", "m"], ["models"], ["models", "m"], ["feature-sets", "f"], ["feature-sets"], ["jobs"], ["jobs", "j"], ["label", "m"],
                  ["cancel", "j"], ["import", "f", "-", "--type", "csv"]):
        done = run(url, *words, stdin=b"")
        assert done.returncode == 0 and "\ufffd[31m" in done.stdout and "\x1b" not in done.stdout + done.stderr, words


@pytest.mark.parametrize("body", ["", "<html>", "[]", '{"items": 1}', '{"items": [1, null, {"name": {}}]}', '{"items": [{"name": "\\ud800"}]}'])
def test_any_answer_is_survived(answering, body):
    url, _ = answering((200, body))
    for words in (["models"], ["jobs"], ["segments", "m"], ["feature-sets", "f"], ["cancel", "j"], ["models", "--json"]):
        assert run(url, *words).returncode in (0, 1)


def test_a_unix_socket_serves_too(database, tmp_path):
    from conftest import BINARY as SEGMENTD
    path = tmp_path / "s.sock"
    config = tmp_path / "segmentd.ini"
    config.write_text(f"[http]\nlisten = unix:{path}\n[database]\nurl = {database.url}\n")
    with open(tmp_path / "log", "wb") as log:
        process = subprocess.Popen([SEGMENTD, "--config", str(config)], stdin=subprocess.DEVNULL, stderr=log)
    try:
        deadline = time.monotonic() + 20
        while not path.exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        done = run(None, "--url", f"unix:{path}", "models")
        assert (done.returncode, done.stdout.split()[:2]) == (0, ["MODEL", "TASK"]), done
    finally:
        process.terminate()
        process.wait(timeout=30)


def test_nobody_at_the_other_end_is_a_failure():
    done = run("http://127.0.0.1:1", "models")
    assert done.returncode == 1 and done.stderr.startswith("segmentctl: ") and done.stdout == ""


@pytest.mark.parametrize("words", [
    [], ["fly"], ["--fast"], ["models", "a", "b"], ["segments"], ["segments", ""], ["train", "m"], ["train", "m", "--k"], ["import", "f", "rows.txt"],
    ["import", "f", "-"], ["predict", "m", "rows.csv", "--type", "xml"], ["--url", "ftp://x", "models"], ["--url", "unix:", "models"]])
def test_wrong_usage_exits_2(words):
    done = run("http://127.0.0.1:1", *words)
    assert (done.returncode, done.stdout) == (2, "") and done.stderr.startswith("segmentctl: ")


@pytest.mark.parametrize("command", ["import", "train", "jobs", "cancel", "retry", "segments", "predict", "label", "models", "promote", "feature-sets"])
def test_every_command_has_help(command):
    done = run(None, command, "--help")
    assert done.returncode == 0 and done.stdout.startswith(f"usage: segmentctl {command} ") and f"\n  {command} " in run(None, "--help").stdout
    assert re.fullmatch(r"segmentctl \d+\.\d+\.\d+\n", run(None, "--version").stdout)
