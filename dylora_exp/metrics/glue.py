"""The metrics of GLUE: fractions and correlation coefficients of labels and numbers."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any

Numbers = Sequence[float]


def accuracy(predictions: Numbers, references: Numbers) -> float:
    """Return the share of predictions that equal the reference, 0..1."""
    from sklearn.metrics import accuracy_score

    return float(accuracy_score(references, predictions))


def f1(predictions: Numbers, references: Numbers) -> float:
    """Return the harmonic mean of precision and recall of label 1, 0..1; 0 where undefined."""
    from sklearn.metrics import f1_score

    return float(f1_score(references, predictions, zero_division=0))


def matthews_correlation(predictions: Numbers, references: Numbers) -> float:
    """Return the Matthews correlation coefficient, -1..1; 0 for constant predictions."""
    from sklearn.metrics import matthews_corrcoef

    with warnings.catch_warnings():
        # Constant predictions are no accident at a rank that collapsed.
        warnings.filterwarnings("ignore", "A single label was found")
        return float(matthews_corrcoef(references, predictions))


def pearson(predictions: Numbers, references: Numbers) -> float:
    """Return the Pearson correlation coefficient, -1..1; NaN for constants and single examples."""
    from scipy import stats

    return _correlation(stats.pearsonr, predictions, references)


def spearmanr(predictions: Numbers, references: Numbers) -> float:
    """Return Spearman's rank correlation, -1..1; NaN for constants and single examples."""
    from scipy import stats

    return _correlation(stats.spearmanr, predictions, references)


def _correlation(function: Callable[..., Any], predictions: Numbers, references: Numbers) -> float:
    from scipy import stats

    if len(predictions) < 2:
        return math.nan
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", stats.ConstantInputWarning)
        return float(function(predictions, references)[0])
