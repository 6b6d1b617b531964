"""Adapters in PEFT's files: read with every check that the run's record allows, and written."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias

from peft import PeftModel, get_peft_model_state_dict
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from dylora_exp.adapters.peft_folder import (
    A_KEY,
    B_KEY,
    PREFIX,
    SETTINGS,
    WEIGHTS,
    PeftLayer,
    read_peft_folder,
)
from dylora_exp.config import CALIBRATED
from dylora_exp.core import RequestError, apply_umask
from dylora_exp.records import Record, changed_file

# A (r, d_in) and B (d_out, r) by the name of their layer.
Factors: TypeAlias = dict[str, tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class SavedAdapter:
    """PEFT's settings, the factors of all adapted layers, and the trained head.

    ``alphas`` are the numerators of the layers' scales at their own ranks, where PEFT's settings
    say them otherwise than by ``lora_alpha`` alone (``alpha_pattern``, rsLoRA). ``bases`` are the
    same products in other bases, which were found on training examples, by the truncations that
    they are of.
    """

    settings: dict[str, Any]
    factors: Factors
    head: dict[str, Tensor]
    alphas: dict[str, float] = field(default_factory=dict)
    bases: dict[str, Factors] = field(default_factory=dict)


def read_adapter(folder: Path, record: Record) -> SavedAdapter:
    """Read the adapter that a run has saved.

    Args:
        folder: Where the run saved it.
        record: The run's.

    Raises:
        RequestError: When a file is missing or damaged, or does not hold what the run trained.
    """
    settings, tensors = _read_files(folder)
    r_max = int(record.config["ranks"]["r_max"])
    own = _own_layers(folder) if "peft_type" in record.training.get("imported", {}) else {}
    if not own and not isinstance(settings.get("target_modules"), list):
        raise RequestError(f"{folder / SETTINGS}: target_modules is no list.")
    if not own and settings.get("r") != r_max:
        raise RequestError(f"{folder / SETTINGS}: r is {settings.get('r')}, the run's is {r_max}.")
    file = folder / WEIGHTS
    for name, tensor in tensors.items():
        if not tensor.is_floating_point() or not tensor.isfinite().all():
            raise RequestError(
                f"{file}: '{name}' holds other values than finite numbers; was training stable? "
                "Run again with a lower trainer.learning_rate."
            )
    factors: Factors = {}
    for layer in dict.fromkeys(name[: -len(A_KEY)] for name in tensors if _is_factor(name)):
        for key, other in ((A_KEY, B_KEY), (B_KEY, A_KEY)):
            if layer + key not in tensors:
                raise RequestError(f"{file}: '{layer}{key}' is missing beside '{layer}{other}'.")
        factors[layer] = a, b = tensors[layer + A_KEY], tensors[layer + B_KEY]
        r = own[layer].r if own else r_max
        if a.dim() != 2 or b.dim() != 2 or (a.shape[0], b.shape[1]) != (r, r):
            raise RequestError(
                f"{file}: the factors of '{layer}' have shapes {tuple(a.shape)} and "
                f"{tuple(b.shape)}, expected {r} rows and {r} columns."
            )
    _check_count(file, tensors, factors, record)
    if changed := changed_file(folder, record):
        raise RequestError(
            f"{changed}: not the file that run {record.run_id} saved and scored; run again to make "
            "it."
        )
    head = {name: tensor for name, tensor in tensors.items() if not _is_factor(name)}
    alphas = {name: layer.numerator for name, layer in own.items()}
    truncations = {entry.truncation or "" for entry in record.ranks} & CALIBRATED
    bases = {each: _read_basis(folder / _basis_file(each), factors) for each in sorted(truncations)}
    return SavedAdapter(settings, factors, head, alphas, bases)


def write_basis(folder: Path, truncation: str, factors: Factors) -> None:
    """Write the factors in a basis that was found on training examples, beside the adapter.

    Args:
        folder: Where the run saves its adapter.
        truncation: That which the basis is of.
        factors: By the names of the layers in the base model.
    """
    tensors = _tensors({PREFIX + name: each for name, each in factors.items()})
    save_file(tensors, folder / _basis_file(truncation))


def write_continued(folder: Path, name: str, model: PeftModel) -> None:
    """Write the factors and the head of a cut that was trained on, beside the adapter.

    Args:
        folder: Where the run saves its adapter.
        name: The cut's, for a file.
        model: A model that shows the cut.
    """
    tensors = get_peft_model_state_dict(model, save_embedding_layers=False)
    save_file({key: each.contiguous() for key, each in tensors.items()}, _continued(folder, name))


def read_continued(folder: Path, name: str, saved: SavedAdapter) -> SavedAdapter:
    """Return the adapter of a cut that was trained on, its rows and columns in their order.

    Args:
        folder: Where the run saved its adapter.
        name: The cut's, for a file.
        saved: What the run saved at r_max.

    Raises:
        RequestError: When the file is missing or damaged.
    """
    file = _continued(folder, name)
    try:
        tensors = load_file(file)
        factors = {n: (tensors.pop(n + A_KEY), tensors.pop(n + B_KEY)) for n in saved.factors}
    except (OSError, SafetensorError, KeyError) as error:
        raise RequestError(
            f"{file}: not there, or damaged ({error}); run again to make it."
        ) from None
    return replace(saved, factors=factors, head=tensors, bases={})


def write_adapter(folder: Path, adapter: SavedAdapter) -> None:
    """Write an adapter's settings and tensors into a new folder, as PEFT does."""
    tensors = adapter.head | _tensors(adapter.factors)
    folder.mkdir()
    text = json.dumps(adapter.settings, indent=2, sort_keys=True)
    (folder / SETTINGS).write_text(text, encoding="utf-8")
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    apply_umask(folder)


def _basis_file(truncation: str) -> str:
    return f"basis_{truncation}.safetensors"


def _continued(folder: Path, name: str) -> Path:
    return folder / f"continued_{name}.safetensors"


def _read_basis(file: Path, factors: Factors) -> Factors:
    """Return the factors of a basis, which have the names and shapes of the adapter's."""
    try:
        tensors = load_file(file)
    except (OSError, SafetensorError) as error:
        raise RequestError(
            f"{file}: not there, or damaged ({error}); run again to make it."
        ) from None
    expected = {name: tensor.shape for name, tensor in _tensors(factors).items()}
    if {name: tensor.shape for name, tensor in tensors.items()} != expected:
        raise RequestError(f"{file}: it holds other factors than the adapter beside it.")
    return {layer: (tensors[layer + A_KEY], tensors[layer + B_KEY]) for layer in factors}


def _tensors(factors: Factors) -> dict[str, Tensor]:
    """Return all factors by their keys in a file."""
    found: dict[str, Tensor] = {}
    for layer, (a, b) in factors.items():
        found |= {layer + A_KEY: a.contiguous(), layer + B_KEY: b.contiguous()}
    return found


def _own_layers(folder: Path) -> dict[str, PeftLayer]:
    """Return the layers of an imported adapter, which may differ in rank and scale, by keys."""
    return {PREFIX + name: layer for name, layer in read_peft_folder(folder).layers.items()}


def _is_factor(name: str) -> bool:
    return name.endswith((A_KEY, B_KEY))


def _read_files(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    for file in (folder / SETTINGS, folder / WEIGHTS):
        if not file.is_file():
            raise RequestError(f"{file}: not there; run again to make it.")
    try:
        settings = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
        tensors = load_file(folder / WEIGHTS)
    except (OSError, ValueError, SafetensorError) as error:
        raise RequestError(f"{folder}: not a saved adapter ({error}).") from None
    if not isinstance(settings, dict):
        raise RequestError(f"{folder / SETTINGS}: expected an object.")
    return settings, tensors


def _check_count(file: Path, tensors: dict[str, Tensor], factors: Factors, record: Record) -> None:
    """Check that the adapter holds as many values as the run trained."""
    found = sum(tensor.numel() for tensor in tensors.values())
    trained = record.parameters.get("trainable", found)
    if found != trained:
        missing = _missing_layers(factors)
        names = f": layer '{missing[0]}' is missing" if missing else ""
        more = f", and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise RequestError(
            f"{file}: holds {found:,} values, the run trained {trained:,}{names}{more}."
        )


def _missing_layers(layers: Iterable[str]) -> list[str]:
    """Return the layers that are missing although others have their kind and their number."""
    present = list(layers)
    kinds = dict.fromkeys(re.sub(r"\.\d+\.", ".{}.", layer, count=1) for layer in present)
    numbers = [int(match[1]) for layer in present if (match := re.search(r"\.(\d+)\.", layer))]
    everywhere = [kind.format(i) for i in range(max(numbers, default=-1) + 1) for kind in kinds]
    return [layer for layer in everywhere if layer not in present]
