"""Lower ranks of any saved LoRA, from its two files alone.

Each layer's product is cut to its largest singular values, which is the closest product of that
rank (Eckart-Young). The scale is multiplied into the factors and alpha is the rank of each layer,
so that PEFT's scale is 1 whatever the ranks.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dylora_exp.adapters.peft_folder import (
    A_KEY,
    B_KEY,
    PREFIX,
    SETTINGS,
    WEIGHTS,
    PeftFolder,
    read_peft_folder,
)
from dylora_exp.adapters.rank_choice import (
    Array,
    Spectra,
    budget_ranks,
    energies,
    energy_ranks,
)
from dylora_exp.adapters.rank_patterns import settings_of_ranks
from dylora_exp.adapters.resize_card import resize_card
from dylora_exp.adapters.resize_request import (
    RULES,
    check_apart,
    check_run,
    check_value,
    only_rule,
)
from dylora_exp.adapters.resized import Resized, ResizedLayer
from dylora_exp.core import RequestError, apply_umask, expand_user, export_folder, unknown_name

if TYPE_CHECKING:
    from torch import Tensor

DTYPES = ("float32", "float16", "bfloat16", "float64")


def resize(
    adapter: str | Path,
    rank: int | None = None,
    energy: float | None = None,
    parameters: int | None = None,
    mean_rank: float | None = None,
    *,
    to: str | Path,
    uniform: bool = False,
    dtype: str | None = None,
    force: bool = False,
) -> Resized:
    """Write a LoRA lowered in rank, as a standard PEFT adapter, by one of four rules.

    Args:
        adapter: A folder in which PEFT saved a LoRA.
        rank: The rank of every layer; a layer that has no more keeps its own.
        energy: The share of each layer's squared singular values to keep, by its smallest rank
            that does, as PEFT's ``convert_to_lora`` reads a fraction.
        parameters: The most parameters that all factors may have; they go where they keep most of
            all squared singular values, and a layer that gets none is left out.
        mean_rank: The same, given as the rank that would cost as much if all layers had it.
        to: The folder to write.
        uniform: Whether to pad all layers with zeros to the largest rank kept, for servers that
            ignore ranks per layer, such as vLLM.
        dtype: The type of the factors; by default that of the adapter. Computed in float64.
        force: Whether to replace an earlier export in that folder.

    Returns:
        What was kept of each layer. A narrower type than float64 rounds in addition.

    Raises:
        RequestError: When the adapter is no plain LoRA or damaged, or the request is wrong;
            nothing is written then.
    """
    values = dict(zip(RULES, (rank, energy, parameters, mean_rank), strict=True))
    name, value = only_rule(values)
    if dtype not in (None, *DTYPES):
        raise RequestError(unknown_name("dtype", str(dtype), DTYPES))
    source = read_peft_folder(expand_user(adapter))
    check_run(source)
    check_value(source, name, value)
    target = expand_user(to)
    check_apart(source.path, target)
    export_folder.check_target(target, force)
    if name == "rank":
        ranks = {key: min(value, each.full_rank) for key, each in source.layers.items()}
        spectra, tensors = _cut(source, ranks, dtype)
    else:
        spectra, tensors = _cut(source, None, dtype)
        ranks = _choose(source, spectra, name, value)
    kept = {key: each for key, each in ranks.items() if each}
    r = max(kept.values())
    tensors = _shorten(tensors, ranks, r if uniform else None)
    tensors |= {key: source.tensor(key) for key in source.others}
    tree = settings_of_ranks(source.tree, source.layers, kept, uniform)
    layers = tuple(_layer(source, key, ranks[key], spectra[key]) for key in source.layers)
    choice = f"{name.replace('_', ' ')} {value:,}"
    resized = Resized(target, source, layers, r, uniform, dtype, choice)
    _write(resized, tree, tensors)
    return resized


def spectra_of(source: PeftFolder) -> dict[str, Array]:
    """Return the singular values of each layer's product, scale included, descending.

    Raises:
        RequestError: When a value of the adapter is not finite.
    """
    from dylora_exp.adapters.truncation import decompose

    found = {}
    for name, layer in source.layers.items():
        _, values, _ = decompose(*source.factors(name), vectors=0)
        found[name] = abs(layer.scale) * values.numpy()
    return found


def _cut(
    source: PeftFolder, ranks: dict[str, int] | None, dtype: str | None
) -> tuple[dict[str, Array], dict[str, Tensor]]:
    """Return the singular values and the factors of all layers, one read after the other.

    Args:
        source: The adapter.
        ranks: The ranks to keep; None for all, since they depend on all singular values.
        dtype: The type of the factors, None for that of the adapter.
    """
    import torch

    from dylora_exp.adapters.truncation import decompose

    spectra, tensors = {}, {}
    for name, layer in source.layers.items():
        a, b = source.factors(name)
        u, values, vh = decompose(a, b, ranks[name] if ranks else None)
        values = values * abs(layer.scale)
        spectra[name] = values.numpy()
        root = values[: len(vh)].sqrt()
        sign = math.copysign(1, layer.scale)
        new = {A_KEY: root[:, None] * vh, B_KEY: u * (sign * root)}
        for key, old in ((A_KEY, a), (B_KEY, b)):
            kind = getattr(torch, dtype) if dtype else old.dtype
            tensors[PREFIX + name + key] = rounded = new[key].to(kind).contiguous()
            if not rounded.isfinite().all():
                raise RequestError(
                    f"{source.weights}: the factors of '{name}' are beyond {kind}; "
                    "write them with --dtype float32."
                )
    return spectra, tensors


def _choose(source: PeftFolder, spectra: Spectra, name: str, value: float) -> dict[str, int]:
    """Return the ranks that depend on the singular values."""
    if name == "energy":
        return energy_ranks(spectra, value)
    costs = {key: layer.rank_parameters for key, layer in source.layers.items()}
    # A mean rank such as 4.1 is no binary number.
    budget = value if name == "parameters" else value * sum(costs.values()) * (1 + 1e-12)
    ranks = budget_ranks(spectra, costs, int(budget))
    if not any(ranks.values()):
        raise RequestError(
            f"{name}: found {value:g}, which leaves no layer a rank, since those that it could pay "
            "for are zero; choose more, or --rank."
        )
    return ranks


def _shorten(
    tensors: dict[str, Tensor], ranks: dict[str, int], padded: int | None
) -> dict[str, Tensor]:
    """Return the first rows of A and columns of B, padded with zeros to a rank where asked for.

    The tensors are taken out of the dict as they are replaced, to hold each once.
    """
    from torch.nn.functional import pad

    found = {}
    for name, rank in ranks.items():
        a, b = tensors.pop(PREFIX + name + A_KEY), tensors.pop(PREFIX + name + B_KEY)
        if rank:
            more = (padded or rank) - rank
            found[PREFIX + name + A_KEY] = pad(a[:rank], (0, 0, 0, more)).contiguous()
            found[PREFIX + name + B_KEY] = pad(b[:, :rank], (0, more)).contiguous()
    return found


def _layer(source: PeftFolder, name: str, rank: int, values: Array) -> ResizedLayer:
    layer, squares = source.layers[name], energies(values)
    return ResizedLayer(
        name,
        layer.r,
        rank,
        rank * layer.rank_parameters,
        float(squares.sum()),
        float(squares[rank:].sum()),
    )


def _write(resized: Resized, tree: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    """Put settings, tensors and card in the place of the folder, all or nothing."""
    from safetensors.torch import save_file

    target = resized.folder
    export_folder.clean_up(target.parent)
    with export_folder.work_folder(target) as work:
        written = work / "adapter"
        written.mkdir()
        text = json.dumps(tree, indent=2, sort_keys=True)
        (written / SETTINGS).write_text(text, encoding="utf-8")
        save_file(tensors, written / WEIGHTS, metadata={"format": "pt"})
        (written / "README.md").write_text(resize_card(resized), encoding="utf-8")
        apply_umask(written)
        export_folder.replace(target, written)
