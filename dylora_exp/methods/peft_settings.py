"""The settings of a run that follow from an adapter that PEFT saved, so that nobody types them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dylora_exp import adapters, models
from dylora_exp.config import CALIBRATED, OF_SCORING
from dylora_exp.core import Repository, RequestError, expand_user, locate

if TYPE_CHECKING:
    from dylora_exp.adapters import PeftFolder

# How lower ranks are made unless the user says. The adapter's own scale is what it was trained at.
CUTS = (
    {"truncation": "svd", "scale": "alpha/r"},
    {"truncation": "leading", "scale": "alpha/r"},
    {"truncation": "leading", "scale": "alpha/b"},
)


def locate_adapter(tree: Mapping[str, Any]) -> Path | None:
    """Return the folder of ``method.adapter``, fetched from the hub where it is a name there.

    Args:
        tree: A whole config.

    Returns:
        None where it is a file, is not there, or is not given.

    Raises:
        RequestError: When the hub does not have it, or cannot be asked.
    """
    name = tree["method"].get("adapter")
    if not isinstance(name, str) or name in ("", "???"):
        return None
    path = expand_user(name)
    if path.exists():
        return path if path.is_dir() else None
    plain, _, revision = name.partition("@")
    if "/" not in plain or not models.is_hub_name(plain):
        return None
    command = f"dylora models fetch {name}"
    repository = Repository("model", plain, revision or None, "method.adapter", command)
    return locate(repository, tree.get("hub_cache"))


def completed(
    tree: Mapping[str, Any], source: PeftFolder, overridden: Collection[str]
) -> dict[str, Any]:
    """Return a config tree with what an adapter says in the place of what files said.

    Args:
        tree: A whole config, not checked yet.
        source: The adapter.
        overridden: The keys that the user gave, which stay as they are.

    Raises:
        RequestError: When one of them contradicts the adapter, or its base cannot be found.
    """
    r_max = max(layer.r for layer in source.layers.values())
    own = {
        "ranks.r_max": r_max,
        "method.alpha": source.settings.lora_alpha,
        "model.targets": targets(source),
        "model.head": adapters.saved_modules(source),
    }
    problems = [
        f"{key}: found {_shown(found)}, the adapter in '{source.path}' says "
        f"{_shown(value)}; leave it out{_other_way(key)}."
        for key, value in own.items()
        if key in overridden
        and not (key == "model.head" and not value)  # the base has the head, or it is new
        and not _is_equal(found := _get(tree, key), value)
    ]
    if source.settings.lora_alpha <= 0:
        problems.append(
            f"method.adapter: the adapter in '{source.path}' has lora_alpha "
            f"{source.settings.lora_alpha:g}, expected a number above 0."
        )
    model = _model(tree, source, overridden)
    if model is None:
        noted = source.settings.base_model_name_or_path
        found_base = f"names '{noted}' as its base, which is not here" if noted else "names no base"
        problems.append(
            f"model: the adapter in '{source.path}' {found_base}; choose it by model=NAME or "
            "model.name_or_path=FOLDER."
        )
    if problems:
        raise RequestError(problems)
    assert model is not None
    head = own["model.head"] if "model.head" not in overridden else model.get("head")
    score = _typed(tree, "method.score", overridden, list(map(dict, CUTS)))
    method = {
        "name": tree["method"].get("name") or "imported",
        "kind": "imported",
        "adapter": str(source.path),
        "alpha": own["method.alpha"],
        "score": score,
    }
    kept = set(OF_SCORING["trainer"])
    if "method.calibration_batches" in overridden:
        method["calibration_batches"] = _get(tree, "method.calibration_batches")
    if "trainer.batch_size" in overridden and _is_calibrated(score):
        kept.add("batch_size")
    return {
        **tree,
        "model": {**model, "targets": own["model.targets"], "head": head},
        "method": method,
        "ranks": _ranks(tree, r_max, overridden),
        # Nothing is trained: what a profile says of training would only be noise.
        "trainer": {k: v for k, v in _group(tree, "trainer").items() if k in kept},
    }


def _is_calibrated(score: Any) -> bool:
    """Return whether a list of cuts, not checked yet, has one that is measured on examples."""
    cuts = score if isinstance(score, list) else []
    return any(isinstance(cut, Mapping) and cut.get("truncation") in CALIBRATED for cut in cuts)


def targets(source: PeftFolder) -> list[str]:
    """Return the names of the adapted modules: as the adapter lists them where it does."""
    settings = source.settings
    listed = settings.target_modules
    chosen = settings.layers_to_transform is not None or settings.exclude_modules
    if isinstance(listed, list) and not chosen:
        return sorted(set(listed))
    return list(source.layers)


def _model(
    tree: Mapping[str, Any], source: PeftFolder, overridden: Collection[str]
) -> dict[str, Any] | None:
    """Return the model that the user chose, else the adapter's base; None where it is not here."""
    given = _group(tree, "model")
    if "model" in overridden:
        return given
    names = {key.split(".")[1] for key in overridden if key.startswith("model.")}
    typed = {name: given[name] for name in names & set(given)}
    path = typed.get("name_or_path")
    if path is None:
        noted = source.settings.base_model_name_or_path
        base = models.find_base(noted, source.settings.revision)
    else:
        base = models.find_base(str(path)) or {"name": Path(str(path)).name}
    return None if base is None else {**base, **typed}


def _ranks(tree: Mapping[str, Any], r_max: int, overridden: Collection[str]) -> dict[str, Any]:
    """Return the ranks to score: up to the adapter's, all of them unless the user says."""
    given = _group(tree, "ranks")
    chosen = "ranks" in overridden
    kept = {
        name: value
        for name, value in given.items()
        if chosen or f"ranks.{name}" in overridden or name == "tolerance"
    }
    for name in ("values", "score"):  # of a file that was written for another r_max
        if isinstance(kept.get(name), list) and f"ranks.{name}" not in overridden:
            kept[name] = sorted({*(rank for rank in kept[name] if rank < r_max), r_max})
    return {**kept, "r_max": r_max}


def _typed(tree: Mapping[str, Any], key: str, overridden: Collection[str], default: Any) -> Any:
    return _get(tree, key) if key in overridden else default


def _group(tree: Mapping[str, Any], name: str) -> dict[str, Any]:
    found = tree.get(name)
    return dict(found) if isinstance(found, Mapping) else {}


def _get(tree: Mapping[str, Any], key: str) -> Any:
    group, _, name = key.partition(".")
    return _group(tree, group).get(name)


def _is_equal(found: Any, value: Any) -> bool:
    if isinstance(value, list) and isinstance(found, list):
        return sorted(map(str, found)) == sorted(value)
    return bool(found == value)


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(str, value[:6]))}{', ...' if len(value) > 6 else ''}]"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _other_way(key: str) -> str:
    return ", ranks.score says which ranks are scored" if key == "ranks.r_max" else ""
