"""Expected values of tests/unit/test_classification.c, from scikit-learn 1.2.

    /usr/bin/python3 tests/reference/classification.py

Scores and classes come from the same integer recurrence as in the test, so that both sides see the
same numbers: 16-bit scores over 64 levels, hence many ties.
"""
import warnings

import numpy as np
from sklearn import metrics

warnings.filterwarnings("ignore")


def rows(n, n_classes, n_true):
    """Probabilities (n, n_classes) and classes (n) below n_true."""
    state = 12345
    p = np.empty((n, n_classes), np.float32)
    y = np.empty(n, int)
    for i in range(n):
        state = (state * 1103515245 + 12345) % 2**31
        y[i] = (state >> 16) % n_true
        levels = []
        for j in range(n_classes):
            state = (state * 1103515245 + 12345) % 2**31
            levels.append(1 + (state >> 16) % 64 + (40 if j == y[i] else 0))
        p[i] = np.array(levels, np.float32) / np.float32(sum(levels))
    return p, y


def show(name, n, n_classes, n_true):
    p, y = rows(n, n_classes, n_true)
    predicted = p.argmax(1)
    labels = range(n_classes)
    precision, recall, f1, support = metrics.precision_recall_fscore_support(y, predicted, labels=labels)
    occurring = sorted(set(y) | set(predicted))
    macro = metrics.precision_recall_fscore_support(y, predicted, labels=occurring, average="macro")[:3]
    roc = [metrics.roc_auc_score(y == j, p[:, j]) if 0 < sum(y == j) < n else np.nan for j in labels]
    pr = [metrics.average_precision_score(y == j, p[:, j]) if sum(y == j) else np.nan for j in labels]
    print(name)
    print("  accuracy", repr(metrics.accuracy_score(y, predicted)))
    print("  macro", *map(repr, macro))
    print("  log loss", repr(metrics.log_loss(y, p.astype(float), labels=list(labels), eps=1e-7)))
    print("  roc", repr(roc[1] if n_classes == 2 else np.nanmean(roc)))
    print("  pr", repr(pr[1] if n_classes == 2 else np.nanmean(pr)))
    for j in labels:
        print("  class", j, support[j], *map(repr, (precision[j], recall[j], f1[j], roc[j], pr[j])))
    print("  confusion", metrics.confusion_matrix(y, predicted, labels=labels).ravel().tolist())


show("two classes", 500, 2, 2)
show("four classes", 500, 4, 4)
show("the last class never occurs", 300, 4, 3)
