"""What may be asked of ``resize``: one rule, a value that the adapter has, another folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from dylora_exp.adapters.peft_folder import PeftFolder
from dylora_exp.core import RequestError
from dylora_exp.models import fused_part

RULES = ("rank", "energy", "parameters", "mean_rank")


def only_rule(values: dict[str, Any]) -> tuple[str, Any]:
    """Return the one rule that is given, and its value."""
    given = [name for name, value in values.items() if value is not None]
    if len(given) != 1:
        found = " and ".join(given) or "none"
        raise RequestError(f"resize: found {found}, expected one of {', '.join(RULES)}.")
    name, value = given[0], values[given[0]]
    whole = name in ("rank", "parameters")
    kinds = (int, np.integer) if whole else (int, float, np.integer, np.floating)
    if isinstance(value, bool) or not isinstance(value, kinds):
        raise RequestError(f"{name}: found {value!r}, expected a {'whole ' * whole}number.")
    return name, int(value) if whole else float(value)


def check_value(source: PeftFolder, name: str, value: float) -> None:
    """Refuse a value outside of what the adapter has."""
    layers = source.layers.values()
    cheapest = min(layer.rank_parameters for layer in layers)
    all_ranks = sum(layer.rank_parameters for layer in layers)
    limits = {
        "rank": (1, max(layer.r for layer in layers), "the adapter's r"),
        "parameters": (cheapest, source.parameters, "the adapter's own"),
        "mean_rank": (cheapest / all_ranks, source.parameters / all_ranks, "the adapter's own"),
        "energy": (0, 1, "all of it"),
    }
    low, high, what = limits[name]
    if not low <= value <= high or value == 0:
        lowest = "a number above 0" if name == "energy" else f"at least {low:.6g}"
        lowest = f"at least {low:,}" if name == "parameters" else lowest
        highest = f"{high:,}" if name == "parameters" else f"{high:.6g}"
        raise RequestError(
            f"{name}: found {value}, expected {lowest} and at most {highest}, {what}."
        )


def check_apart(source: Path, target: Path) -> None:
    """Refuse to write into the adapter that is read."""
    if source.resolve() in [target.resolve(), *target.resolve().parents]:
        raise RequestError(f"--to: '{target}' is in the adapter's own folder, choose another.")


def check_run(source: PeftFolder) -> None:
    """Refuse factors as a run of this project keeps them where PEFT would read them otherwise."""
    try:
        config = json.loads((source.path.parent / "run.json").read_text(encoding="utf-8"))["config"]
        fused, method = config["model"].get("fused"), config["method"]["name"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return
    split = any(fused_part(name, fused) for name in source.layers)
    if split or method == "matryoshka":
        why = "adapts parts of fused layers" if split else "has factors of its rows besides"
        raise RequestError(
            f"{source.path}: the run {why}; lower its rank with "
            f"`dylora export {source.path.parent.name} --rank B --to DIR`."
        )
