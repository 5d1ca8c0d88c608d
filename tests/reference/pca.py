#!/usr/bin/python3
"""Prints tests/unit/pca_reference.h: scikit-learn's PCA of a small table, plain and whitened.

    tests/reference/pca.py > tests/unit/pca_reference.h
"""
import numpy as np
import sklearn
from sklearn.decomposition import PCA

N, D = 40, 5
rng = np.random.default_rng(3)
x = (rng.normal(size=(N, D)) @ rng.normal(size=(D, D)) * [1, 5, 0.1, 2, 1] + [0, 1e4, -3, 7, 0]).astype(np.float32)


def matrix(name, values, form="%.9gf"):
    rows = ["    { " + ", ".join(form % v if "." in form % v or "e" in form % v else (form % v)[:-1] + ".0f" for v in row) + " }," for row in values]
    return "static const float %s[%d][%d] = {\n%s\n};\n" % (name, *values.shape, "\n".join(rows))


print("/* pca_reference.h - components by scikit-learn %s, printed by tests/reference/pca.py. */" % sklearn.__version__)
print("#ifndef TESTS_UNIT_PCA_REFERENCE_H\n#define TESTS_UNIT_PCA_REFERENCE_H\n")
print("enum { PCA_ROWS = %d, PCA_COLUMNS = %d };" % (N, D))
print("/* clang-format off */")
print(matrix("PCA_X", x), end="")
for name, whiten in (("PCA_PLAIN", False), ("PCA_WHITE", True)):
    model = PCA(whiten=whiten, svd_solver="full").fit(x.astype(np.float64))
    sign = [np.sign(axis[np.abs(axis).argmax()]) for axis in model.components_]
    print(matrix(name, model.transform(x.astype(np.float64)) * sign), end="")
print("static const double PCA_EXPLAINED[%d] = { %s };" % (D, ", ".join("%.12g" % v for v in model.explained_variance_ratio_)))
NAMES = {0.5: "PCA_FOR_HALF", 0.9: "PCA_FOR_90", 0.999: "PCA_FOR_999"}
print("enum { %s };" % ", ".join("%s = %d" % (name, PCA(share, svd_solver="full").fit(x).n_components_) for share, name in NAMES.items()))
print("/* clang-format on */\n\n#endif")
