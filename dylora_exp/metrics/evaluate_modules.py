"""The registry's metrics as ``evaluate.Metric`` modules, which load without a network.

They are apart from the registry because importing ``evaluate`` imports torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import datasets
import evaluate

from dylora_exp.metrics import registry
from dylora_exp.metrics.scorer import Scorer

_TEXT = datasets.Value("string")
_REFERENCES = {
    "labels": datasets.Value("int64"),
    "numbers": datasets.Value("float64"),
    "texts": datasets.Sequence(_TEXT),
    "choices": datasets.Value("int64"),
}


class _Module(evaluate.Metric):
    """A metric of the registry."""

    def __init__(self, name: str, protocol: str | None) -> None:
        self.scorer = Scorer(protocol, [name])
        self.entry = registry.get(name)
        super().__init__(keep_in_memory=True)

    def _info(self) -> evaluate.MetricInfo:
        references = _REFERENCES[self.entry.scores]
        predictions = _TEXT if self.entry.scores == "texts" else references
        return evaluate.MetricInfo(
            description=f"{self.entry.title}: {self.scorer.signature}",
            citation="",
            features=datasets.Features({"predictions": predictions, "references": references}),
        )

    def _compute(
        self, predictions: Sequence[Any], references: Sequence[Any]
    ) -> dict[str, float | None]:
        return self.scorer.score(predictions, references)


def load_metric(name: str, protocol: str | None = None) -> evaluate.Metric:
    """Return a metric as an ``evaluate`` module; its ``scorer`` has the signature.

    Args:
        name: Its name in the registry, which is also the key of the result.
        protocol: Whose computation of the metric it is.

    Raises:
        RequestError: For a protocol or a metric that is not known.
    """
    return _Module(name, protocol)


def compute(
    names: Sequence[str],
    predictions: Sequence[Any],
    references: Sequence[Any],
    protocol: str | None = None,
) -> dict[str, float | None]:
    """Return the values of several metrics of the same predictions.

    Raises:
        RequestError: For a protocol or a metric that is not known.
    """
    modules = evaluate.combine([load_metric(name, protocol) for name in dict.fromkeys(names)])
    values: dict[str, float | None] = modules.compute(
        predictions=predictions, references=references
    )
    return values
