"""One work of bench/engine.py done by one peer, in a process of its own: the clock covers the fit, not imports or files.

usage: engine_peers.py PEER JSON; prints one JSON line
"""
import ctypes
import json
import math
import sys
import time
import warnings

import numpy

warnings.filterwarnings("ignore")  # "did not converge": the number of epochs is given
THREADS = 2


def blas_kernel():
    blas = ctypes.CDLL("libopenblas.so.0")
    blas.openblas_get_corename.restype = ctypes.c_char_p
    return blas.openblas_get_corename().decode()


def rows(work):
    return numpy.fromfile(work["data"], dtype="float32", count=work["n"] * work["d"]).reshape(work["n"], work["d"])


def centroids(work):
    return numpy.fromfile(work["start"], dtype="float32").reshape(work["k"], work["d"])


def inertia(x, c):
    """Sum of squared distances to the nearest centroid, in float64 and by differences: no cancellation."""
    from sklearn.metrics import pairwise_distances_argmin
    return float(sum(((x[i:i + 50000].astype("float64") - c[pairwise_distances_argmin(x[i:i + 50000], c)]) ** 2).sum()
                     for i in range(0, len(x), 50000)))


def sklearn_kmeans(work, algorithm):
    from sklearn.cluster import KMeans
    x, start = rows(work), centroids(work)
    begin = time.perf_counter()
    km = KMeans(work["k"], init=start, n_init=1, max_iter=work["iterations"], tol=0, algorithm=algorithm).fit(x)
    return time.perf_counter() - begin, inertia(x, km.cluster_centers_), km.n_iter_


def sklearn_minibatch(work):
    from sklearn.cluster import MiniBatchKMeans
    x = rows(work)
    begin = time.perf_counter()
    km = MiniBatchKMeans(work["k"], batch_size=work["batch"], n_init=3, random_state=work["seed"]).fit(x)
    return time.perf_counter() - begin, inertia(x, km.cluster_centers_), km.n_steps_


def faiss_kmeans(work):
    import faiss
    faiss.omp_set_num_threads(THREADS)
    x, start = rows(work), centroids(work)
    begin = time.perf_counter()
    km = faiss.Kmeans(work["d"], work["k"], niter=work["iterations"], max_points_per_centroid=work["n"])
    km.train(x, init_centroids=start)
    return time.perf_counter() - begin, inertia(x, km.centroids), work["iterations"]


def torch_kmeans(work):
    import torch
    torch.set_num_threads(THREADS)
    x, c = torch.from_numpy(rows(work)), torch.from_numpy(centroids(work))
    begin = time.perf_counter()
    for _ in range(work["iterations"]):
        label = torch.addmm((c * c).sum(1), x, c.t(), alpha=-2).argmin(1)
        count = torch.bincount(label, minlength=work["k"]).clamp(min=1)
        c = torch.zeros_like(c).index_add_(0, label, x) / count[:, None]
    return time.perf_counter() - begin, inertia(rows(work), c.numpy()), work["iterations"]


def sklearn_start(work):
    from sklearn.cluster import kmeans_plusplus
    x = rows(work)
    begin = time.perf_counter()
    c, _ = kmeans_plusplus(x, work["k"], random_state=work["seed"])
    return time.perf_counter() - begin, inertia(x, c), None


def layers(work):
    """(weights (n_out, n_in), bias) of each layer, as our fit begins with them."""
    flat, at = numpy.fromfile(work["weights"], dtype="float32"), 0
    for n_in, n_out in zip(work["sizes"], work["sizes"][1:]):
        w = flat[at:at + n_in * n_out].reshape(n_out, n_in)
        yield w, flat[at + n_in * n_out:at + (n_in + 1) * n_out]
        at += (n_in + 1) * n_out


def sklearn_network(work):
    from sklearn import neural_network
    kind = neural_network.MLPRegressor if work["coder"] else neural_network.MLPClassifier
    given = layers(work)

    class Started(kind):
        def _init_coef(self, fan_in, fan_out, dtype):
            w, bias = next(given)
            return w.T.astype(dtype, order="C"), bias.astype(dtype)

    x = rows(work)
    y = x if work["coder"] else numpy.fromfile(work["labels"], dtype="uint16", count=work["n"])
    net = Started(work["sizes"][1:-1], solver="adam", alpha=0, batch_size=work["batch"], learning_rate_init=0.001,
                  max_iter=work["epochs"], tol=0, n_iter_no_change=work["epochs"] + 1)
    begin = time.perf_counter()
    net.fit(x, y)
    seconds = (time.perf_counter() - begin) / work["epochs"]
    return seconds, net.loss_curve_[-1] * (2 if work["coder"] else 1), None  # its squared loss is halved


def torch_network(work):
    import torch
    torch.set_num_threads(THREADS)
    modules, n_layers = [], len(work["sizes"]) - 1
    for i, (w, bias) in enumerate(layers(work)):
        modules.append(torch.nn.Linear(w.shape[1], w.shape[0]))
        modules[-1].weight.data, modules[-1].bias.data = torch.from_numpy(w.copy()), torch.from_numpy(bias.copy())
        if i + 1 < n_layers and not (work["coder"] and i + 1 == n_layers // 2):
            modules.append(torch.nn.ReLU())
    net = torch.nn.Sequential(*modules)
    x = torch.from_numpy(rows(work))
    y = x if work["coder"] else torch.from_numpy(numpy.fromfile(work["labels"], dtype="uint16", count=work["n"]).astype("int64"))
    loss_of = torch.nn.MSELoss() if work["coder"] else torch.nn.CrossEntropyLoss()
    adam = torch.optim.Adam(net.parameters(), lr=0.001)
    begin = time.perf_counter()
    for _ in range(work["epochs"]):
        order, total = torch.randperm(work["n"]), 0.0
        for at in range(0, work["n"], work["batch"]):
            rows_of = order[at:at + work["batch"]]
            adam.zero_grad()
            loss = loss_of(net(x[rows_of]), y[rows_of])
            loss.backward()
            adam.step()
            total += loss.item() * len(rows_of)
    return (time.perf_counter() - begin) / work["epochs"], total / work["n"], None


PEERS = {
    ("kmeans", "scikit-learn lloyd"): lambda work: sklearn_kmeans(work, "lloyd"),
    ("kmeans", "scikit-learn elkan"): lambda work: sklearn_kmeans(work, "elkan"),
    ("kmeans", "faiss"): faiss_kmeans,
    ("kmeans", "PyTorch"): torch_kmeans,
    ("minibatch", "scikit-learn"): sklearn_minibatch,
    ("start", "scikit-learn"): sklearn_start,
    ("network", "scikit-learn"): sklearn_network,
    ("network", "PyTorch"): torch_network,
}


def main():
    work = json.loads(sys.argv[2])
    seconds, loss, iterations = PEERS[work["kind"], sys.argv[1]](work)
    if not math.isfinite(loss):
        sys.exit(f"{sys.argv[1]}: the loss is not finite")
    print(json.dumps({"seconds": seconds, "loss": loss, "iterations": iterations, "kernel": blas_kernel()}))


if __name__ == "__main__":
    main()
