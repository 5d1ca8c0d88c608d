"""Figures of numpy that test_projection.c expects, on the data of kmeans.py.

Run: /usr/bin/python3 tests/reference/projection.py
"""
import contextlib
import io
import os
import sys

import numpy as np

sys.path.insert(0, os.path.dirname(__file__))
with contextlib.redirect_stdout(io.StringIO()):
    from kmeans import groups

x, _ = groups(500, 5, 6)
x = (x * np.array([3, 1, 2, 0.5, 1], dtype=np.float32)).astype(np.float64)
values, vectors = np.linalg.eigh(np.cov(x.T, bias=True))
for i in (-1, -2):
    axis = vectors[:, i] * np.sign(vectors[np.abs(vectors[:, i]).argmax(), i])
    print("explained %.9g axis %s" % (values[i] / values.sum(), " ".join("%.7f" % v for v in axis)))
