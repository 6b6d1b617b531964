"""What a model config says about a model, without loading it: its files and its architecture.

Neither torch nor transformers is imported, so that a wrong choice is answered at once.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from dylora_exp.config import Config, ModelConfig, has_ranks, options
from dylora_exp.core import (
    NotInstalled,
    Repository,
    RequestError,
    expand_user,
    find_fetched,
    in_package,
    install_command,
    package_folder,
)
from dylora_exp.models.layer_names import fused_part
from dylora_exp.models.packed import check_packed, is_packed, unpack
from dylora_exp.models.precision import precision_problems

# A model without pretrained weights has no vocabulary to honour; bytes cover every text.
BYTE_LEVEL_TOKENIZER = "package://dylora_exp/models/tiny-roberta"


def model_problems(config: Config) -> list[str]:
    """Return the problems of a model config that show without loading the model.

    A hub name is only looked at when it is loaded, but for what lies in ``hub_cache``.
    """
    if found := _fused_problems(config.model):
        return found
    return precision_problems(config) + _architecture_problems(config)


def _architecture_problems(config: Config) -> list[str]:
    """Return the problems of a model's files and of its width."""
    try:
        architecture = _architecture(config.model, _location(config))
    except RequestError as error:
        return error.problems
    widths = [_width(config.model.config or {}), _width(architecture)]
    if wrong := [width for width in widths if width is not None and type(width) is not int]:
        return [f"model.config: found hidden size {wrong[0]!r}, expected a whole number."]
    width = widths[-1]
    if not config.method.trains:
        return []  # the rank is that of the adapter
    if has_ranks(config.method) and width is not None and config.ranks.r_max > width:
        return [
            f"ranks.r_max: found {config.ranks.r_max}, expected at most {width}, "
            f"the hidden width of model '{config.model.name}'."
        ]
    return []


def _location(config: Config) -> str:
    """Return where a model is, and look for its tokenizer; nothing is unpacked."""
    model = config.model
    names = [model.name_or_path, model.tokenizer or ""]
    if not any(map(is_packed, names)):
        return locations(model, config.hub_cache)[0]
    for name in filter(is_packed, names):
        if name == model.tokenizer or _is_needed(model):
            check_packed(model, name)
    return ""


def resolve(model: ModelConfig, name: str | None = None, hub_cache: str | None = None) -> str:
    """Return the hub name or folder behind ``name_or_path``.

    Args:
        model: The model config.
        name: Another name than ``name_or_path``.
        hub_cache: Where hub names lie; None leaves them to the hub.

    Raises:
        RequestError: When a package or a folder that is named is not there.
    """
    name = name or model.name_or_path
    if is_packed(name):
        return str(unpack(model, name))
    if in_package(name):
        return str(_model_folder(model, name))
    folder = expand_user(name)
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise RequestError(f"model.name_or_path: there is no config.json in folder '{folder}'.")
        return str(folder)
    if name.startswith((".", "/", "~")) or name.count("/") > 1 or not name:
        raise RequestError(f"model.name_or_path: there is no folder '{name}'.")
    return name if hub_cache is None else str(find_fetched(_repository(model, name), hub_cache))


def _repository(model: ModelConfig, name: str) -> Repository:
    """Return where on the hub a model or tokenizer lies; ``dylora models fetch`` takes its name."""
    field = "tokenizer" if name == model.tokenizer else "name_or_path"
    version = f"@{model.revision}" if model.revision else ""
    plain = "" if "/" in name or name in options("model") else " --hub"
    command = f"dylora models fetch {name}{version}{plain}"
    return Repository("model", name, model.revision, f"model.{field}", command)


def hub_repositories(model: ModelConfig) -> list[Repository]:
    """Return the repositories of the hub that hold a model and its tokenizer.

    Raises:
        RequestError: As ``resolve``.
    """
    names = dict.fromkeys([model.name_or_path, model.tokenizer or model.name_or_path])
    return [
        _repository(model, name)
        for name in names
        if not is_packed(name) and not Path(resolve(model, name)).is_dir()
    ]


def local_folders(model: ModelConfig, hub_cache: str | None = None) -> dict[str, str]:
    """Return the local folders that a model is read from, by setting."""
    names = {"name_or_path": model.name_or_path, "tokenizer": model.tokenizer}
    folders = {field: expand_user(name) for field, name in names.items() if name}
    if hub_cache is not None:
        folders["hub_cache"] = expand_user(hub_cache)
    return {field: str(folder.resolve()) for field, folder in folders.items() if folder.is_dir()}


def locations(model: ModelConfig, hub_cache: str | None) -> tuple[str, str]:
    """Return the hub names or folders of the model and of its tokenizer.

    Raises:
        RequestError: As ``resolve``.
    """
    needed = _is_needed(model)
    if is_packed(model.name_or_path) and not needed:
        location = model.name_or_path
    else:
        location = resolve(model, None, hub_cache if needed else None)
    if model.tokenizer is not None:
        return location, resolve(model, model.tokenizer, hub_cache)
    return location, location if needed else resolve(model, BYTE_LEVEL_TOKENIZER)


def _is_needed(model: ModelConfig) -> bool:
    """Return whether a model's own files are read, its configuration at the least."""
    return model.pretrained or model.config is None


def _model_folder(model: ModelConfig, name: str) -> Path:
    """Return the folder of a model that comes with a package."""
    try:
        folder = package_folder(name)
    except NotInstalled as package:
        extra = f"; install it with: {install_command(model.extra)}" if model.extra else ""
        raise RequestError(
            f"model.name_or_path: the Python package '{package}' is not installed{extra or '.'}"
        ) from None
    if not (folder / "config.json").is_file():
        raise RequestError(f"model.name_or_path: there is no model in folder '{folder}'.")
    return folder


def _width(architecture: dict[str, Any]) -> Any:
    return architecture.get("hidden_size") or architecture.get("n_embd")


def _architecture(model: ModelConfig, location: str) -> dict[str, Any]:
    named = model.config or {}
    file = Path(location) / "config.json"
    if not location or not file.is_file() or not model.pretrained:
        return named
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except ValueError:
        raise RequestError(f"{file}: not valid JSON.") from None
    if not isinstance(found, dict):
        raise RequestError(f"{file}: expected an object.")
    return found


def _fused_problems(model: ModelConfig) -> list[str]:
    """Return the problems of the parts of fused layers, and of their choice as targets."""
    found = [
        f"model.fused.{layer}: found {parts!r}, expected several names such as [q, k, v]."
        for layer, parts in (model.fused or {}).items()
        if not isinstance(parts, list)
        or len(set(map(str, parts))) < max(2, len(parts))
        or not all(isinstance(part, str) and part.isidentifier() for part in parts)
    ]
    if found:
        return found
    layers = {target: fused_part(target, model.fused) for target in model.targets}
    return [
        f"model.targets: '{part.layer}' and its part '{target}' cannot both be adapted."
        for target, part in layers.items()
        if part is not None and part.layer in layers
    ]
