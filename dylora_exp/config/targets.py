"""How ``model.targets`` may be written, besides as a list of names."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator

from dylora_exp.core import did_you_mean

# All linear layers but the output of a language model, or the head of a classifier.
ALL_LINEAR = "all-linear"
# Of a model's targets, head and fused layers: what follows from the model itself.
AUTO = "auto"


def _list_targets(value: Any) -> Any:
    """Return ``all-linear`` as a list of it, which stands for the names of many layers."""
    if value == ALL_LINEAR:
        return [value]
    if isinstance(value, str):
        hint = did_you_mean(value, [ALL_LINEAR]) or "."
        raise ValueError(f"found {value!r}, expected a list such as [a, b], or {ALL_LINEAR}{hint}")
    if isinstance(value, list) and ALL_LINEAR in value and len(value) > 1:
        raise ValueError(f"found {ALL_LINEAR} beside other names, which it includes.")
    return value


Targets = Annotated[list[str], BeforeValidator(_list_targets)]
