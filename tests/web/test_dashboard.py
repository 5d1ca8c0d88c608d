"""The dashboard as a browser shows it: headless Chromium loads the page from the real server."""
import contextlib
import functools
import html
import http.server as http_server
import os
import pathlib
import re
import shutil
import subprocess
import threading

import pytest

WEB = pathlib.Path(__file__).resolve().parents[2] / "server" / "web"
CHROMIUM = shutil.which("chromium")
CANARY = "<img src=x onerror=document.title='owned'>"
SEGMENTATION = {"algorithm": {"type": "kmeans", "k": 3}, "promote": "always"}


@pytest.fixture(scope="module")
def browse(server, tmp_path_factory):
    """Loads an address of the server; answers the DOM as it then stands and what went to the console."""
    if CHROMIUM is None:
        assert os.environ.get("CI", "") not in ("1", "true"), "chromium is not installed"
        pytest.skip("chromium is not installed")
    profile = tmp_path_factory.mktemp("chromium")

    def browse(address):
        done = subprocess.run(
            [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
             "--disable-component-update", "--disable-sync", "--enable-logging=stderr", f"--user-data-dir={profile}",
             "--virtual-time-budget=5000", "--dump-dom", server.url + address if address.startswith("/") else address],
            capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        return done.stdout, [line for line in done.stderr.splitlines() if ":CONSOLE" in line]

    return browse


@contextlib.contextmanager
def model_of(http, run_job, name, feature_set, **spec):
    job = run_job(f"/v1/models/{name}/train", {"feature_set": feature_set, **spec})
    assert job["state"] == "succeeded", job
    try:
        yield job
    finally:
        assert http.delete(f"/v1/models/{name}?force=true").status_code == 204


def visible(dom, element):
    """The text of the element with that id; None when it is hidden."""
    opening = re.search(rf'<(\w+)[^>]*\bid="{element}"[^>]*>', dom)
    assert opening, f"the page has no {element}"
    if re.search(r"\shidden\b", opening.group(0)):
        return None
    tag, depth, at = opening.group(1), 1, opening.end()
    for found in re.finditer(rf"<(/?){tag}\b[^>]*>", dom[at:]):
        depth += -1 if found.group(1) else 1
        if depth == 0:
            return html.unescape(re.sub(r"<[^>]*>", " ", dom[at:at + found.start()]))
    raise AssertionError(f"{element} is not closed")


def test_faults_of_a_page_reach_the_console_that_is_read_here(browse):
    assert len(browse("data:text/html,<script>undefined_function()</script>")[1]) == 1


def test_a_server_without_models_says_how_to_begin(browse):
    dom, console = browse("/")
    assert "No models yet" in visible(dom, "empty") and "/v1/models/loyalty/train" in visible(dom, "empty")
    assert visible(dom, "model-view") is None and console == []


def test_segments_are_shown_with_names_sizes_and_profiles(browse, http, run_job, blobs):
    with model_of(http, run_job, "shown", "blobs", label=True, **SEGMENTATION) as job:
        segments = http.get("/v1/models/shown/segments").json()["items"]
        metrics = http.get("/v1/models/shown/versions/1").json()["metrics"]
        dom, console = browse("/#model=shown")
    assert console == []
    sizes, profiles, job_table = visible(dom, "sizes"), visible(dom, "profiles-body"), visible(dom, "jobs-body")
    assert len(segments) == 3
    for segment in segments:
        assert segment["name"] in sizes and segment["name"] in profiles
        assert re.search(rf"\b{segment['size']}\b", sizes) and f"{100 * segment['share']:.1f} %" in sizes
        assert segment["description"] in profiles and ", ".join(segment["exemplars"]) in profiles
    for feature in ("x", "y", "channel", "app", "web", "shop"):
        assert re.search(rf"\b{feature}\b", profiles)
    assert f"{metrics['silhouette']:.3g}" in visible(dom, "metrics")
    assert dom.count('class="dots ') == 3 and "PC 1:" in visible(dom, "map")
    assert "succeeded" in job_table and "train shown" in job_table and job["id"] not in job_table


def test_a_model_without_labels_says_what_to_post(browse, http, run_job, blobs):
    with model_of(http, run_job, "bare", "blobs", label=False, **SEGMENTATION):
        dom, console = browse("/#model=bare")
    assert "/v1/models/bare/label?version=1" in visible(dom, "profiles-body")
    assert 'class="dots ' in dom and console == []


def test_a_classifier_is_shown_by_its_classes(browse, http, run_job, blobs):
    spec = {"task": "classification", "target": "channel", "features": ["x", "y"], "algorithm": {"type": "mlp", "hidden": [8], "epochs": 20}}
    with model_of(http, run_job, "sorted", "blobs", promote="always", **spec):
        dom, console = browse("/#model=sorted")
    assert console == [] and visible(dom, "profiles") is None
    for name in ("app", "web", "shop"):
        assert name in visible(dom, "classes-body") and name in visible(dom, "sizes")
    assert "Accuracy" in visible(dom, "metrics")


def test_markup_in_names_is_shown_as_text_and_never_run(browse, http, run_job):
    rows = "".join(f'"{CANARY}{i}",{i % 3 * 10 + i % 7},{i % 5},"{CANARY}{i % 2}"\n' for i in range(120))
    reply = http.post("/v1/feature-sets/hostile/rows?id_column=id", data=f'id,"{CANARY}",y,kind\n{rows}', headers={"Content-Type": "text/csv"})
    assert reply.status_code == 200, reply.text
    with model_of(http, run_job, "hostile", "hostile", label=True, **SEGMENTATION):
        dom, console = browse("/#model=hostile")
    assert console == []
    assert "<img src=x" not in dom and 'src="x"' not in dom and "<title>owned" not in dom
    profiles = visible(dom, "profiles-body")
    assert CANARY in profiles and f"{CANARY}0" in profiles


class PageAlone(http_server.SimpleHTTPRequestHandler):
    """Serves the page's files, and hangs up on whatever asks the service."""

    def do_GET(self):
        if self.path.startswith("/v1/"):
            self.close_connection = True
        else:
            super().do_GET()

    def log_message(self, *_):
        pass


def test_a_service_that_is_gone_is_said(browse):
    with http_server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(PageAlone, directory=WEB)) as alone:
        threading.Thread(target=alone.serve_forever, daemon=True).start()
        dom, console = browse(f"http://127.0.0.1:{alone.server_port}/")
        alone.shutdown()
    assert "does not answer" in visible(dom, "banner") and visible(dom, "model-view") is None and console == []


def test_a_reader_without_a_token_is_asked_for_one(browse, http, server):
    server.stop()
    original = server.config_path.read_text()
    server.config_path.write_text(original + "[auth]\nmode = token\n")
    server.start()
    try:
        dom, console = browse("/")
        assert "segmentd token create" in visible(dom, "login") and visible(dom, "model-view") is None
        assert console == []
    finally:
        server.stop()
        server.config_path.write_text(original)
        server.start()
