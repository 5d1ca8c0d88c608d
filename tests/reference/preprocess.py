#!/usr/bin/python3
"""Prints tests/unit/preprocess_reference.h: what scikit-learn makes of four small columns.

    tests/reference/preprocess.py > tests/unit/preprocess_reference.h
"""
import warnings

import numpy as np
import sklearn
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (FunctionTransformer, MaxAbsScaler, MinMaxScaler, PowerTransformer,
                                   QuantileTransformer, RobustScaler, StandardScaler)

warnings.filterwarnings("ignore", message="n_quantiles")
N = 40
rng = np.random.default_rng(7)
COLUMNS = {
    "skewed": np.exp(rng.normal(1, 1.2, N)),
    "tied": rng.integers(-3, 6, N).astype(float),
    "signed": rng.normal(-2, 3, N),
    "large": 1e6 + rng.integers(0, 400, N).astype(float),
}
LOG1P = FunctionTransformer(lambda x: np.sign(x) * np.log1p(np.abs(x)))
# name, transform, scale, estimator; the enumerators of preprocess.h
CASES = [
    ("standard", "NONE", "STANDARD", StandardScaler()),
    ("min_max", "NONE", "MIN_MAX", MinMaxScaler()),
    ("robust", "NONE", "ROBUST", RobustScaler()),
    ("max_abs", "NONE", "MAX_ABS", MaxAbsScaler()),
    # the last column is left out: at 1e6 scikit-learn's lambda makes all values equal to 14 digits
    ("yeo_johnson", "YEO_JOHNSON", "NONE", PowerTransformer(standardize=False)),
    ("yeo_johnson, standard", "YEO_JOHNSON", "STANDARD", PowerTransformer(standardize=True)),
    ("quantile", "QUANTILE", "NONE", QuantileTransformer()),
    ("log1p, robust", "LOG1P", "ROBUST", make_pipeline(LOG1P, RobustScaler())),
]


def row(values, form):
    text, line = "", "   "
    for value in values:
        item = " " + form(value) + ","
        if len(line + item) > 100:
            text, line = text + line + "\n", "   "
        line += item
    return text + line + "\n"


def double(x):
    return repr(float(x))


def single(x):
    return np.format_float_positional(np.float32(x), unique=True, trim="0") + "f"


def large_quantile():
    """1,500 rows, more than there are knots; every hundredth result."""
    x = (np.arange(1500, dtype=np.int64) * 7919 % 1500).astype(float) ** 2 / 128
    return QuantileTransformer().fit_transform(x.reshape(-1, 1))[::100, 0]


def imputed():
    """Every fourth value missing: median, then clipped at the 5 % and 95 % quantiles, then scaled."""
    x = COLUMNS["skewed"].astype(np.float32).astype(float).reshape(-1, 1).copy()
    x[::4] = np.nan
    x = SimpleImputer(strategy="median").fit_transform(x)
    x = np.clip(x, *np.quantile(x, [0.05, 0.95]))
    return StandardScaler().fit_transform(x)[:, 0]


def main():
    print("/* preprocess_reference.h - made by tests/reference/preprocess.py with scikit-learn "
          f"{sklearn.__version__}. */")
    print("#ifndef SEG_TESTS_PREPROCESS_REFERENCE_H\n#define SEG_TESTS_PREPROCESS_REFERENCE_H\n")
    print("/* clang-format off */")
    print(f"#define REFERENCE_ROWS {N}\n#define REFERENCE_COLUMNS {len(COLUMNS)}\n")
    print("static const float REFERENCE_X[REFERENCE_COLUMNS][REFERENCE_ROWS] = {")
    for name, x in COLUMNS.items():
        print(f"    {{ /* {name} */\n{row(x, single)}    }},")
    print("};\n")
    print("static const struct {\n    const char *name;\n    enum seg_transform transform;\n"
          "    enum seg_scale scale;\n    unsigned n_columns;\n    double y[REFERENCE_COLUMNS][REFERENCE_ROWS];\n"
          "} REFERENCE[] = {")
    for name, transform, scale, estimator in CASES:
        columns = list(COLUMNS.values())[:3 if transform == "YEO_JOHNSON" else 4]
        print(f'    {{ "{name}", SEG_TRANSFORM_{transform}, SEG_SCALE_{scale}, {len(columns)}, {{')
        for x in columns:
            y = estimator.fit_transform(x.astype(np.float32).astype(float).reshape(-1, 1))
            print(f"    {{\n{row(y[:, 0], double)}    }},")
        print("    } },")
    print("};\n")
    print("static const double REFERENCE_LARGE_QUANTILE[] = {\n" + row(large_quantile(), double) + "};\n")
    print("static const double REFERENCE_IMPUTED[] = {\n" + row(imputed(), double) + "};\n")
    print("/* clang-format on */\n#endif")


main()
