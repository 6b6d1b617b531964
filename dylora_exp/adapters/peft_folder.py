"""Folders in which PEFT saved a LoRA: their settings, and the factors of each layer.

Whatever trained it, such a folder holds ``adapter_config.json`` and ``adapter_model.safetensors``,
and a layer computes ``scale * B A`` with ``scale = alpha / r``, or ``alpha / sqrt(r)`` for rsLoRA,
where ``rank_pattern`` and ``alpha_pattern`` may give a layer an r and an alpha of its own. What
computes anything else is refused. Neither the base model nor a network is needed; the tensors are
read one layer at a time, and PEFT itself is imported only for patterns.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open

from dylora_exp.adapters.peft_config import (
    MERGE,
    PLAIN,
    VARIANTS,
    AdapterSettings,
    read_peft_settings,
)
from dylora_exp.adapters.peft_config import SETTINGS as SETTINGS
from dylora_exp.core import RequestError, file_sha256, name_first, reading

if TYPE_CHECKING:
    from torch import Tensor

WEIGHTS = "adapter_model.safetensors"
_PICKLE = "adapter_model.bin"
PREFIX = "base_model.model."
A_KEY, B_KEY = ".lora_A.weight", ".lora_B.weight"
_FLOATS = ("F64", "F32", "F16", "BF16")


@dataclass(frozen=True)
class PeftLayer:
    """An adapted layer: it adds ``scale * B A`` to its weight.

    Attributes:
        name: Its module's name in the base model.
        r: The number of rows of A and columns of B.
        alpha: The numerator of the scale.
        scale: What PEFT multiplies the product by.
        d_in: The number of inputs.
        d_out: The number of outputs.
        dtype: The type of A's values as safetensors names it: F64, F32, F16 or BF16.
    """

    name: str
    r: int
    alpha: float
    scale: float
    d_in: int
    d_out: int
    dtype: str

    @property
    def numerator(self) -> float:
        """The alpha of a plain LoRA of this rank and scale: above ``alpha`` for rsLoRA."""
        found = self.scale * self.r
        return self.alpha if math.isclose(found, self.alpha) else found

    @property
    def rank_parameters(self) -> int:
        """The number of parameters of one rank."""
        return self.d_in + self.d_out

    @property
    def full_rank(self) -> int:
        """The largest rank that the product can have."""
        return min(self.r, self.d_in, self.d_out)


@dataclass(frozen=True)
class PeftFolder:
    """A LoRA in PEFT's files, checked; values are read when they are asked for.

    Attributes:
        path: The folder.
        settings: Of ``adapter_config.json``, those that matter here.
        tree: All of ``adapter_config.json``, as it is.
        layers: The adapted layers by their names, in the order of their names' numbers.
        others: The keys of the other tensors, those of ``modules_to_save``.
    """

    path: Path
    settings: AdapterSettings
    tree: dict[str, Any]
    layers: dict[str, PeftLayer]
    others: tuple[str, ...]

    @property
    def weights(self) -> Path:
        """The file of the tensors."""
        return self.path / WEIGHTS

    @property
    def parameters(self) -> int:
        """The number of values in all factors."""
        return sum(layer.r * layer.rank_parameters for layer in self.layers.values())

    def checksums(self) -> dict[str, str]:
        """Return the sha256 of both files by their names."""
        return {name: file_sha256(self.path / name) for name in (SETTINGS, WEIGHTS)}

    def factors(self, layer: str) -> tuple[Tensor, Tensor]:
        """Return A (r, d_in) and B (d_out, r) of a layer as they are saved, without the scale.

        Raises:
            RequestError: When a value is not finite.
        """
        return self.tensor(PREFIX + layer + A_KEY), self.tensor(PREFIX + layer + B_KEY)

    def tensor(self, key: str) -> Tensor:
        """Return a tensor by its key in the file.

        Raises:
            RequestError: When a value is not finite, or the file is not there any more.
        """
        tensor: Tensor = self._read(lambda: self._file.get_tensor(key))
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise RequestError(f"{self.weights}: '{key}' holds other values than finite numbers.")
        return tensor

    def check_values(self) -> None:
        """Read all tensors once.

        Raises:
            RequestError: When a value is not finite.
        """
        for layer in self.layers:
            self.factors(layer)
        for key in self.others:
            self.tensor(key)

    @functools.cached_property
    def _file(self) -> Any:
        return safe_open(self.weights, framework="pt")

    def _read(self, read: Callable[[], Any]) -> Any:
        return _read_tensors(self.weights, read)


def read_peft_folder(path: Path) -> PeftFolder:
    """Return the LoRA that PEFT has saved in a folder; only settings and shapes are read yet.

    Args:
        path: A folder with ``adapter_config.json`` and ``adapter_model.safetensors``.

    Raises:
        RequestError: When it holds no LoRA, one that is damaged, or one that computes something
            else than a plain LoRA.
    """
    settings, tree = read_peft_settings(path)
    file = path / WEIGHTS
    if not file.is_file():
        if (path / _PICKLE).exists():
            raise RequestError(
                f"{path / _PICKLE}: a pickle, which is not read since it may run code; load the "
                f"adapter by PEFT where you trust it, and save_pretrained writes {WEIGHTS}."
            )
        raise RequestError(f"{path}: there is no {WEIGHTS} in it.")

    def shapes() -> dict[str, tuple[tuple[int, ...], str]]:
        with safe_open(file, framework="pt") as tensors:
            slices = {key: tensors.get_slice(key) for key in tensors.keys()}  # noqa: SIM118
            return {key: (tuple(s.get_shape()), s.get_dtype()) for key, s in slices.items()}

    found = _read_tensors(file, shapes)
    names, others = _sort_keys(file, found)
    resolve = _resolver(path / SETTINGS, settings)
    layers = {name: _layer(file, name, found, settings, resolve) for name in names}
    _check_targets(path / SETTINGS, settings, layers)
    return PeftFolder(path, settings, tree, layers, tuple(others))


def _read_tensors(file: Path, read: Callable[[], Any]) -> Any:
    """Call what reads a safetensors file, its errors as sentences."""
    try:
        with reading(file):
            return read()
    except FileNotFoundError:
        raise RequestError(f"{file}: it is not there any more.") from None
    except SafetensorError as error:
        size = file.stat().st_size if file.exists() else 0
        why = f"{error}".partition("\n")[0] if size else "it is empty"
        raise RequestError(f"{file}: damaged, or not safetensors ({why}).") from None


def _sort_keys(file: Path, found: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """Return the names of the adapted layers, and the keys of all other tensors."""
    names, others = set(), []
    for key in found:
        part = re.search(r"\.(lora_\w+)(?=$|\.)", key)
        if not key.startswith(PREFIX):
            raise RequestError(
                f"{file}: '{key}' is no key of a saved PEFT adapter, which begins with '{PREFIX}'."
            )
        if part is None:
            others.append(key)
        elif key.endswith((A_KEY, B_KEY)):
            names.add(key[len(PREFIX) : -len(A_KEY)])
        elif part[1].startswith("lora_embedding"):
            raise RequestError(
                f"{file}: '{key}' adapts an embedding, only linear layers can be lowered in rank "
                f"here; {MERGE}, or {PLAIN} without it."
            )
        elif part[1] == "lora_magnitude_vector":
            raise RequestError(f"{file}: '{key}' is of DoRA: {VARIANTS['use_dora']}.")
        elif key.endswith(".bias"):
            raise RequestError(f"{file}: '{key}': {VARIANTS['lora_bias']}.")
        else:
            raise RequestError(f"{file}: '{key}' belongs to no plain LoRA.")
    if not names:
        raise RequestError(f"{file}: it holds no factors of a LoRA.")
    return sorted(names, key=_natural), sorted(others)


def _natural(name: str) -> list[tuple[bool, int, str]]:
    """Return a key that sorts ``layers.10`` after ``layers.9``."""
    parts = re.split(r"(\d+)", name)
    return [(part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in parts]


Resolve = Callable[[str], tuple[int, float]]


def _resolver(file: Path, settings: AdapterSettings) -> Resolve:
    """Return the function that gives r and alpha of a layer, as PEFT resolves its patterns."""
    ranks, alphas = settings.rank_pattern or {}, settings.alpha_pattern or {}
    if not ranks and not alphas:
        return lambda _: (settings.r, settings.lora_alpha)
    for pattern in {**ranks, **alphas}:
        try:
            re.compile(pattern)
        except re.error as error:
            raise RequestError(
                f"{file}: the pattern '{pattern}' is no regular expression ({error})."
            ) from None
    from peft.utils.other import get_pattern_key

    def resolve(name: str) -> tuple[int, float]:
        r = ranks.get(get_pattern_key(list(ranks), name), settings.r)
        return r, alphas.get(get_pattern_key(list(alphas), name), settings.lora_alpha)

    return resolve


def _layer(
    file: Path,
    name: str,
    found: Mapping[str, tuple[tuple[int, ...], str]],
    settings: AdapterSettings,
    resolve: Resolve,
) -> PeftLayer:
    """Return a layer, its factors' shapes checked against the settings."""
    keys = {"A": PREFIX + name + A_KEY, "B": PREFIX + name + B_KEY}
    for letter, key in keys.items():
        if key not in found:
            other = keys["B" if letter == "A" else "A"]
            raise RequestError(f"{file}: '{key}' is missing beside '{other}'.")
        shape, dtype = found[key]
        if len(shape) != 2 or 0 in shape:
            kind = " (a convolution?)" if len(shape) > 2 else ""
            raise RequestError(
                f"{file}: '{key}' has shape {shape}{kind}, expected a matrix: only linear layers "
                "can be lowered in rank."
            )
        if dtype not in _FLOATS:
            raise RequestError(
                f"{file}: '{key}' is of type {dtype}, expected one of {', '.join(_FLOATS)}."
            )
    (rows, d_in), dtype = found[keys["A"]]
    (d_out, columns), _ = found[keys["B"]]
    r, alpha = resolve(name)
    if (rows, columns) != (r, r):
        raise RequestError(
            f"{file}: the factors of '{name}' have shapes {(rows, d_in)} and {(d_out, columns)}, "
            f"{SETTINGS} says r = {r}."
        )
    scale = alpha / (math.sqrt(r) if settings.use_rslora else r)
    return PeftLayer(name, r, alpha, scale, d_in, d_out, dtype)


def _check_targets(file: Path, settings: AdapterSettings, layers: Mapping[str, Any]) -> None:
    """Refuse layers that a list of targets does not name: PEFT would leave them out."""
    targets = settings.target_modules
    if not isinstance(targets, list):
        return
    left_out = [
        name for name in layers if not any(f".{name}".endswith(f".{target}") for target in targets)
    ]
    if left_out:
        raise RequestError(
            f"{file}: target_modules names no {name_first(left_out)}, which {WEIGHTS} holds."
        )
