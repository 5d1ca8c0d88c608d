"""What was deleted is gone for scoring and jobs alike, whatever is in memory."""
KMEANS = {"feature_set": "blobs", "task": "segmentation", "algorithm": {"type": "kmeans", "k": 3}, "label": False}


def predict(http, blobs, model, version=None):
    row = {"rows": [{"features": {"x": 0.1, "y": 0.2}}]}
    return http.post(f"/v1/models/{model}/predict", params={"version": version} if version else None, json=row)


def test_a_deleted_version_that_was_scored_with_is_not_found(http, blobs, train):
    train("gone", KMEANS)
    train("gone", {**KMEANS, "seed": 2, "promote": "never"})
    assert predict(http, blobs, "gone", 2).status_code == 200
    assert http.delete("/v1/models/gone/versions/2").status_code == 204
    assert predict(http, blobs, "gone", 2).status_code == 404


def test_a_deleted_model_does_not_serve_under_its_old_version_numbers(http, blobs, train):
    train("former", KMEANS)
    train("former", {**KMEANS, "seed": 2, "promote": "never"})
    assert predict(http, blobs, "former", 2).status_code == 200
    assert http.delete("/v1/models/former", params={"force": "true"}).status_code == 204
    assert predict(http, blobs, "former", 2).status_code == 404


def test_a_model_without_a_champion_is_not_found_although_a_version_is_in_memory(http, blobs, train):
    train("shy", {**KMEANS, "promote": "never"})
    assert predict(http, blobs, "shy", 1).status_code == 200
    assert predict(http, blobs, "shy").status_code == 404


def test_a_model_deleted_while_it_is_trained_does_not_come_back(http, blobs, wait_job):
    spec = {**KMEANS, "algorithm": {"type": "autoencoder_kmeans", "k": 3, "epochs": 1500}}
    job = http.post("/v1/models/deleted/train", json=spec).json()
    while http.get(f"/v1/jobs/{job['id']}").json()["phase"] in ("queued", "starting"):
        pass
    assert http.delete("/v1/models/deleted").status_code == 204
    end = wait_job(job["id"])
    assert (end["state"], end["attempt"], end["error"]["code"]) == ("failed", 1, "model_not_found")
    assert http.get("/v1/models/deleted").status_code == 404
