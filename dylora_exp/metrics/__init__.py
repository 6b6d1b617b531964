"""Metrics: what each one is (``METRICS``), and how predictions are scored (``Scorer``).

Importing this package loads none of the libraries behind the metrics. The same metrics as
``evaluate.Metric`` modules are in ``dylora_exp.metrics.evaluate_modules``, which loads torch.
"""

from dylora_exp.metrics.registry import (
    ANY_TASK,
    METRICS,
    PARTS,
    Computation,
    Metric,
    base_name,
    format_value,
    get,
    is_better,
    names,
    protocol_metrics,
    protocols,
    sign,
    signature,
)
from dylora_exp.metrics.scorer import Scorer

__all__ = [
    "ANY_TASK",
    "METRICS",
    "PARTS",
    "Computation",
    "Metric",
    "Scorer",
    "base_name",
    "format_value",
    "get",
    "is_better",
    "names",
    "protocol_metrics",
    "protocols",
    "sign",
    "signature",
]
