"""Figures of scikit-learn 1.2.1 that test_gmm.c expects, on the rows of kmeans.py.

Both start from the rows whole in the nearest of the first 4 rows.
Run: /usr/bin/python3 tests/reference/gmm.py
"""
import contextlib
import io

import numpy as np
from sklearn.mixture import GaussianMixture

with contextlib.redirect_stdout(io.StringIO()):
    from kmeans import groups

x, _ = groups(1000, 3, 4)
x = x.astype(np.float64)
nearest = ((x[:, None, :] - x[None, :4, :]) ** 2).sum(2).argmin(1)


class Started(GaussianMixture):
    def _initialize_parameters(self, x, random_state):
        self._initialize(x, np.eye(4)[nearest])


for kind in "diag", "full":
    g = Started(4, covariance_type=kind, tol=0, max_iter=20).fit(x)
    sizes = np.bincount(g.predict(x), minlength=4)
    order = sorted(range(4), key=lambda j: (-sizes[j], tuple(g.means_[j])))
    print(kind, "log-likelihood %.9g, bic %.9g, sizes %s" % (
        g.score(x), g.bic(x), sizes[order]))
    print("  means", ", ".join("%.7g" % v for v in g.means_[order].ravel()))
    print("  weights", ", ".join("%.7g" % v for v in g.weights_[order]))
    factors = g.precisions_cholesky_[order]
    factors = factors if kind == "diag" else factors.transpose(0, 2, 1)
    print("  factors", ", ".join("%.7g" % v for v in factors.ravel()))
