"""Figures of scikit-learn 1.2.1 that test_kmeans.c and test_quality.c expect.

The data is drawn by the generator below, which the tests repeat in C: no file is needed.
Run: /usr/bin/python3 tests/reference/kmeans.py
"""
import numpy as np
from sklearn import metrics
from sklearn.cluster import KMeans


def numbers(n):
    """n values in [-1, 1) from a 32-bit linear congruential generator (Numerical Recipes)."""
    state, out = 12345, np.empty(n)
    for i in range(n):
        state = (1664525 * state + 1013904223) % 2**32
        out[i] = (state >> 8) / 2**23 - 1
    return out.astype(np.float32)


def groups(n_rows, n_cols, n_groups, offset=0.0):
    """Row i is noise around a corner: column c of group i % n_groups is 3 * ((group >> c) & 1)."""
    x = numbers(n_rows * n_cols).reshape(n_rows, n_cols)
    group = np.arange(n_rows) % n_groups
    corner = 3 * ((group[:, None] >> np.arange(n_cols)[None, :]) & 1)
    return (x + corner + offset).astype(np.float32), group


def fit(x, start, n_iter, tol=0.0):
    return KMeans(len(start), init=start, n_init=1, max_iter=n_iter, tol=tol, algorithm="lloyd").fit(
        x.astype(np.float64))


x, group = groups(1000, 4, 16)
km = fit(x, x[:16].astype(np.float64), 300)
print("16 groups, start at the first 16 rows: inertia %.9g, iterations %d" % (km.inertia_, km.n_iter_))
km = fit(x, x[:5].astype(np.float64), 300)
print("k 5 on them: inertia %.9g, iterations %d, sizes %s"
      % (km.inertia_, km.n_iter_, sorted(np.bincount(km.labels_), reverse=True)))

x, group = groups(600, 3, 6)
label = np.where(np.arange(600) % 7 == 0, (group + 1) % 6, group)
s = metrics.silhouette_samples(x, label)
print("quality of 6 groups with every 7th row astray: silhouette %.9g, by cluster %s" % (
    s.mean(), " ".join("%.9g" % s[label == j].mean() for j in range(6))))
print("  davies-bouldin %.9g, calinski-harabasz %.9g" % (
    metrics.davies_bouldin_score(x, label), metrics.calinski_harabasz_score(x, label)))
print("  adjusted rand against the groups %.9g, against i %% 4 %.9g" % (
    metrics.adjusted_rand_score(group, label), metrics.adjusted_rand_score(np.arange(600) % 4, label)))
