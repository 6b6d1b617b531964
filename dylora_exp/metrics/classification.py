"""The GLUE metrics as ``evaluate.Metric`` modules.

All values are fractions or correlation coefficients, as the GLUE metric reports them. A correlation
with a constant is undefined and comes out as NaN.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import datasets
import evaluate
from scipy import stats
from sklearn import metrics as sklearn_metrics

from dylora_exp.core import RequestError, unknown_name


class _GlueMetric(evaluate.Metric):
    """A metric of one number for each example."""

    description: str
    dtype = "int64"
    library = "scikit-learn"

    def _info(self) -> evaluate.MetricInfo:
        value = datasets.Value(self.dtype)
        return evaluate.MetricInfo(
            description=self.description,
            citation="",
            features=datasets.Features({"predictions": value, "references": value}),
        )


class Accuracy(_GlueMetric):
    """Share of predictions that equal the reference."""

    description = "Share of predictions that equal the reference, 0..1."

    def _compute(self, predictions: Any, references: Any) -> dict[str, float]:
        return {"accuracy": float(sklearn_metrics.accuracy_score(references, predictions))}


class F1(_GlueMetric):
    """F1 of label 1 (GLUE's F1 for MRPC and QQP)."""

    description = "Harmonic mean of precision and recall of label 1, 0..1; 0 where undefined."

    def _compute(self, predictions: Any, references: Any) -> dict[str, float]:
        score = sklearn_metrics.f1_score(references, predictions, zero_division=0)
        return {"f1": float(score)}


class MatthewsCorrelation(_GlueMetric):
    """Matthews correlation coefficient (GLUE's metric for CoLA)."""

    description = "Matthews correlation coefficient, -1..1; 0 for constant predictions."

    def _compute(self, predictions: Any, references: Any) -> dict[str, float]:
        with warnings.catch_warnings():
            # Constant predictions are no accident at a rank that collapsed.
            warnings.filterwarnings("ignore", "A single label was found")
            score = sklearn_metrics.matthews_corrcoef(references, predictions)
        return {"matthews_correlation": float(score)}


class Pearson(_GlueMetric):
    """Pearson correlation (GLUE's metric for STS-B)."""

    description = "Pearson correlation coefficient, -1..1."
    dtype = "float64"
    library = "scipy"

    def _compute(self, predictions: Any, references: Any) -> dict[str, float]:
        return {"pearson": _correlation(stats.pearsonr, predictions, references)}


class Spearman(_GlueMetric):
    """Spearman rank correlation (GLUE's second metric for STS-B)."""

    description = "Spearman rank correlation coefficient, -1..1."
    dtype = "float64"
    library = "scipy"

    def _compute(self, predictions: Any, references: Any) -> dict[str, float]:
        return {"spearmanr": _correlation(stats.spearmanr, predictions, references)}


METRICS: dict[str, type[_GlueMetric]] = {
    "accuracy": Accuracy,
    "f1": F1,
    "matthews_correlation": MatthewsCorrelation,
    "pearson": Pearson,
    "spearmanr": Spearman,
}


def score(
    names: Sequence[str], predictions: Sequence[float], references: Sequence[float]
) -> dict[str, float]:
    """Compute several metrics over the same predictions.

    Args:
        names: Keys of ``METRICS``.
        predictions: One label id or number for each example.
        references: The same for the truth.

    Raises:
        RequestError: For a name that is not known.
    """
    if wrong := [name for name in names if name not in METRICS]:
        raise RequestError([unknown_name("task.metrics", name, METRICS) for name in wrong])
    values: dict[str, float] = {}
    for name in names:
        metric = METRICS[name](keep_in_memory=True)
        values |= metric.compute(predictions=predictions, references=references)
    return values


def signature(names: Sequence[str]) -> str:
    """Return the library and its version behind each metric, in one line."""
    return "; ".join(f"{n}|{_library(METRICS[n].library)}" for n in names)


def _library(name: str) -> str:
    return f"{name}:{version(name)}"


def _correlation(function: Any, predictions: Any, references: Any) -> float:
    if len(predictions) < 2:
        return math.nan
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", stats.ConstantInputWarning)
        return float(function(predictions, references)[0])
