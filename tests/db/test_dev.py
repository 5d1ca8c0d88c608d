"""`segmentd dev`: one command makes everything, keeps it, and leaves nothing running; its shop has the groups it says."""
import contextlib
import csv
import io
import os
import pathlib
import re
import signal
import subprocess
import tempfile
import time

import numpy as np
import pytest
import requests
from conftest import BINARY
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score

OWNER = {"user": "postgres", "group": "postgres", "extra_groups": []} if os.getuid() == 0 else {}


def dev(folder, *words):
    return subprocess.run([BINARY, "dev", "--data", str(folder), *words], capture_output=True, text=True, timeout=120)


@contextlib.contextmanager
def running(folder):
    """A segmentd dev that is ready, its page's address beside it; killed at the end if it still runs."""
    process = subprocess.Popen([BINARY, "dev", "--data", str(folder), "--listen", "127.0.0.1:0"], stdout=subprocess.PIPE,
                               stderr=subprocess.DEVNULL, text=True)
    page = None
    try:
        for line in process.stdout:
            found = re.match(r"page: (http://127\.0\.0\.1:\d+)/$", line)
            page = found.group(1) if found else page
            if line.startswith("ready"):
                break
        assert page is not None
        yield process, page
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def postmaster(folder):
    """Its process, or None when no cluster runs there."""
    try:
        return int(pathlib.Path(folder, "pgdata/postmaster.pid").read_text().split()[0])
    except FileNotFoundError:
        return None


def ask(folder, query):
    """Rows of a query on a running dev's database, as texts."""
    out = subprocess.run(["psql", "-X", "--csv", "-t", "-h", str(folder), "-d", "segmentd", "-c", query], capture_output=True, text=True,
                         check=True, cwd="/", **OWNER).stdout
    return list(csv.reader(io.StringIO(out)))


@pytest.fixture(scope="module")
def folder():
    """A folder that a dev has been checked in; the later tests start from there."""
    with tempfile.TemporaryDirectory(prefix="segmentd-dev-", dir="/tmp") as parent:
        os.chmod(parent, 0o755)  # as root the service is another user
        path = pathlib.Path(parent, "dev")
        done = dev(path, "--check")
        assert done.returncode == 0, done.stdout + done.stderr
        assert "check: all is well" in done.stdout
        assert len(re.findall(r"^ +[123]  .* \d+\.\d%", done.stdout, re.M)) == 3
        yield path


def test_check_leaves_no_process_behind(folder):
    assert postmaster(folder) is None
    assert not list(folder.glob(".s.PGSQL*"))


def test_the_next_start_makes_nothing_again(folder):
    done = dev(folder, "--check")
    assert done.returncode == 0, done.stdout + done.stderr
    assert not re.search(r"applied|made|training", done.stdout)


def test_an_interrupt_stops_the_server_and_its_database(folder):
    with running(folder) as (process, page):
        assert requests.get(page + "/livez", timeout=5).status_code == 200
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
    assert postmaster(folder) is None


def test_a_second_one_in_the_same_folder_is_refused(folder):
    with running(folder) as (process, page):
        second = dev(folder, "--check")
        assert second.returncode == 1
        assert f"another segmentd dev works in {folder}" in second.stderr
        assert requests.get(page + "/livez", timeout=5).status_code == 200


def test_a_killed_one_takes_its_database_along_and_starts_again(folder):
    with running(folder) as (process, _):
        pid = postmaster(folder)
        process.kill()
        process.wait()
    deadline = time.monotonic() + 20
    while pathlib.Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not pathlib.Path(f"/proc/{pid}").exists()
    assert dev(folder, "--check").returncode == 0


def test_a_pid_file_of_a_process_that_is_not_ours_does_not_stop_it(folder):
    (folder / "pgdata/postmaster.pid").write_text("1\n/nowhere\n")
    os.chown(folder / "pgdata/postmaster.pid", folder.stat().st_uid, folder.stat().st_gid)
    assert dev(folder, "--check").returncode == 0


def test_a_folder_with_a_long_name_works(folder):
    deep = folder.parent / ("x" * 60) / ("y" * 60)
    done = dev(deep, "--check")
    assert done.returncode == 0, done.stderr
    assert not list(pathlib.Path("/tmp").glob(f"segmentd-{deep.stat().st_uid}-*"))


@pytest.mark.parametrize("address", ["0.0.0.0:0", "[::]:0"])
def test_an_address_that_others_reach_is_refused(folder, address):
    done = dev(folder, "--listen", address)
    assert done.returncode == 1
    assert "only loopback addresses" in done.stderr
    assert postmaster(folder) is None


def test_wrong_usage_is_exit_status_two(folder):
    assert dev(folder, "--no-such-option").returncode == 2
    assert dev(folder, "surplus").returncode == 2


def test_the_shop_is_incomplete_and_absurd_in_parts_and_counts_its_orders(folder):
    with running(folder):
        assert ask(folder, "SELECT count(*), count(age), count(gender), count(browsing_minutes) FROM shop.users") == [
            ["10000", "9805", "9776", "9800"]]
        absurd = ask(folder, "SELECT count(*) FILTER (WHERE age = 199), count(*) FILTER (WHERE browsing_minutes = 10000) FROM shop.users")
        assert 30 <= sum(map(int, absurd[0])) <= 70
        assert ask(folder, "SELECT sum(round(orders_per_month * 12)) = (SELECT count(*) FROM shop.orders) FROM shop.user_features") == [["t"]]


def test_the_groups_of_the_shop_are_found_by_scikit_learn_and_by_segmentd(folder):
    with running(folder):
        rows = ask(folder, "SELECT age, gender, orders_per_month, browsing_minutes, group_number, result FROM shop.user_features"
                           " JOIN shop.truth USING (user_id) JOIN segmentd.labels USING (user_id) ORDER BY user_id")
    genders = {"": np.nan, "female": 0.0, "male": 1.0}
    x = np.array([[float(r[0] or "nan"), genders[r[1]], float(r[2]), float(r[3] or "nan")] for r in rows])
    truth, segment = np.array([[int(r[4]), int(r[5])] for r in rows]).T
    x = np.where(np.isnan(x), np.nanmedian(x, axis=0), x)
    x = np.clip(x, np.quantile(x, 0.01, axis=0), np.quantile(x, 0.99, axis=0))
    x = (x - x.mean(axis=0)) / x.std(axis=0)
    found = KMeans(3, n_init=10, random_state=0).fit_predict(x)
    assert adjusted_rand_score(truth, found) >= 0.95
    assert adjusted_rand_score(truth, segment) >= 0.95
    assert abs(np.corrcoef(x[:, 1], truth)[0, 1]) < 0.05  # gender says nothing of the group


def test_k_auto_counts_the_groups_of_the_shop(folder):
    """Though gender cuts each group in two, and some users are absurd."""
    with running(folder) as (_, page):
        job = requests.post(page + "/v1/models/counted/train", json={"feature_set": "shop", "algorithm": {"type": "kmeans", "k": "auto"}}, timeout=10).json()
        while job["state"] not in ("succeeded", "failed"):
            time.sleep(0.05)
            job = requests.get(f"{page}/v1/jobs/{job['id']}", timeout=10).json()
        version = requests.get(f"{page}/v1/models/counted/versions/{job['version']}", timeout=10).json()
    assert version["metrics"]["k"] == 3, version["metrics"]["k_reason"]
    assert any("left out" in w for w in version["warnings"])
