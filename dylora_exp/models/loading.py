"""A backbone and its tokenizer from a model config."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dylora_exp.config import ModelConfig
from dylora_exp.core import (
    RequestError,
    commit_of,
    describe_unfetched,
    is_unreachable,
    unknown_name,
)
from dylora_exp.models.architecture import hub_repositories, locations
from dylora_exp.models.layer_names import fused_part, name_matches
from dylora_exp.models.settings import new_architecture, override
from dylora_exp.models.tokenizer_checks import (
    agree_on_padding,
    check_tokenizer,
    positions_after_padding,
)
from dylora_exp.models.weights import NO_CODE, no_safetensors, random_weights, read_weights, untie

if TYPE_CHECKING:
    from torch.nn import Module
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase


def revision(model: Module) -> dict[str, str]:
    """Return the commit of the hub that a model was loaded at, nothing where it is not from it."""
    found = getattr(getattr(model, "config", None), "_commit_hash", None)
    return {"model_revision": found} if isinstance(found, str) else {}


def load_tokenizer(
    model: ModelConfig, hub_cache: str | None = None, ask_hub: bool = True
) -> PreTrainedTokenizerBase:
    """Load a tokenizer alone; it pads with its own token, without one with its end token.

    Args:
        model: The model config.
        hub_cache: As for ``load``.
        ask_hub: Whether to fetch what is not on this machine.

    Raises:
        RequestError: When it cannot be loaded.
    """
    from transformers import AutoTokenizer

    _, location = locations(model, hub_cache)
    with _loading(model):
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            location, revision=model.revision, local_files_only=not ask_hub, **NO_CODE
        )
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def load(
    model: ModelConfig, labels: int | None, hub_cache: str | None = None
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load a sequence classifier or a language model, and its tokenizer.

    Args:
        model: The model config.
        labels: Number of outputs of a classifier, 1 for a number; None for a language model.
        hub_cache: A folder of fetched models to read instead of asking the hub.

    Raises:
        RequestError: When it cannot be loaded, is an encoder where texts are to be generated, or
            has no module that is named as a target or head.
    """
    from transformers import (
        AutoModelForCausalLM,
        AutoModelForSequenceClassification,
        AutoTokenizer,
    )

    location, of_tokenizer = locations(model, hub_cache)
    settings = {} if labels is None else {"num_labels": labels}
    heads = [] if labels is None else model.head
    kind = AutoModelForCausalLM if labels is None else AutoModelForSequenceClassification
    with _loading(model), _quiet_about_the_new_head():
        tokenizer = AutoTokenizer.from_pretrained(of_tokenizer, revision=model.revision, **NO_CODE)
        config = _architecture(model, location, settings)
        config.return_dict = True
        if labels is None:
            _refuse_encoders(config, model)
        _check_kind(config, texts=labels is None)
        if model.pretrained:
            backbone = read_weights(kind, model, location, config, heads)
        else:
            backbone = random_weights(kind, model, config, heads)
    if (found := commit_of(location)) is not None:  # as a model that the hub itself was asked for
        backbone.config._commit_hash = found
    if labels is None:
        _forget_generation_settings(backbone)
    # Lazily: it needs torch.
    from dylora_exp.models.targets import target_names

    targets = target_names(backbone, model)
    _check_modules(backbone, "model.targets", targets, model.fused)
    _check_modules(backbone, "model.head", heads, None)
    untie(backbone, targets)
    check_tokenizer(tokenizer, backbone, texts=labels is None)
    agree_on_padding(tokenizer, backbone)
    _probe(model, backbone, tokenizer, labels)
    return backbone, tokenizer


def read_architecture(model: ModelConfig, hub_cache: str | None = None) -> PretrainedConfig:
    """Return the configuration that lies with a model, fetched alone where it is on the hub.

    Args:
        model: The model config.
        hub_cache: As for ``load``.

    Raises:
        RequestError: When it cannot be had.
    """
    location, _ = locations(model, hub_cache)
    with _loading(model):
        return _architecture(model, location, {})


def check_checkpointing(backbone: PreTrainedModel) -> None:
    """Refuse a model whose activations cannot be computed a second time.

    Raises:
        RequestError: When its layers do not support it.
    """
    marked = any(hasattr(module, "gradient_checkpointing") for module in backbone.modules())
    if not (backbone.supports_gradient_checkpointing and marked):
        raise RequestError(
            "trainer.gradient_checkpointing: a model of type "
            f"{backbone.config.model_type} does not support it; expected false, or another model."
        )


def skeleton(
    model: ModelConfig, labels: int | None, hub_cache: str | None = None
) -> PreTrainedModel | None:
    """Return a model without its weights; None where its configuration is not on this machine.

    Args:
        model: The model config.
        labels: As for ``load``.
        hub_cache: As for ``load``.

    Raises:
        RequestError: When the configuration is no model's.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

    location, _ = locations(model, hub_cache)
    if model.pretrained and not Path(location).is_dir():
        return None
    settings = {} if labels is None else {"num_labels": labels}
    kind = AutoModelForCausalLM if labels is None else AutoModelForSequenceClassification
    with _loading(model):
        config = _architecture(model, location, settings)
        with torch.device("meta"):
            built: PreTrainedModel = kind.from_config(config, **NO_CODE)
    return built


def _probe(
    model: ModelConfig,
    backbone: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    labels: int | None,
) -> None:
    """Refuse a model that computes something else than is expected of it."""
    from dylora_exp.models import probes

    if not probes.is_probed(backbone):
        return
    parts = [part.layer for name in model.targets if (part := fused_part(name, model.fused))]
    fused = {
        name: members
        for name, members in (model.fused or {}).items()
        if any(name_matches(layer, name) for layer in parts)
    }
    with _loading(model):
        probes.check_training_pass(backbone)
        probes.check_fused_parts(backbone, fused)
        if labels is None:
            probes.check_padding_of_prompts(backbone, tokenizer.eos_token_id)
        else:
            probes.pad_so_that_batches_do_not_matter(backbone, tokenizer)


def _architecture(model: ModelConfig, location: str, settings: dict[str, Any]) -> PretrainedConfig:
    """Return the configuration of a model, with the settings of ``model.overrides``."""
    from transformers import AutoConfig

    if model.config is None or model.pretrained:
        config = AutoConfig.from_pretrained(
            location, revision=model.revision, **NO_CODE, **settings
        )
    else:
        config = new_architecture(model.config)
        for name, value in settings.items():
            setattr(config, name, value)
    override(config, model.overrides or {})
    return config


def _refuse_encoders(config: PretrainedConfig, model: ModelConfig) -> None:
    """Refuse encoders, which transformers would load, alone or in part, as language models."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES

    is_decoder = getattr(config, "is_decoder", False)
    if config.is_encoder_decoder:
        what = f"an encoder with a decoder ({config.model_type}), whose decoder alone"
    elif config.model_type in MODEL_FOR_MASKED_LM_MAPPING_NAMES and not is_decoder:
        what = f"an encoder ({config.model_type}), which"
    else:
        return
    raise RequestError(
        f"model: '{model.name}' is {what} cannot generate texts; choose a language model such as "
        "gpt2."
    )


def _check_kind(config: PretrainedConfig, texts: bool) -> None:
    """Refuse an architecture that transformers has without a language model or a classifier."""
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING

    known = MODEL_FOR_CAUSAL_LM_MAPPING if texts else MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING
    if type(config) not in known:
        what = "language model that generates texts" if texts else "classifier of texts"
        raise RequestError(
            f"model.name_or_path: transformers has no {what} of type {config.model_type}; choose "
            "another model."
        )


def _forget_generation_settings(backbone: PreTrainedModel) -> None:
    """Keep the ids of special tokens alone: ``task.decode`` says how texts are generated."""
    from transformers import GenerationConfig

    found = backbone.generation_config
    names = ("bos_token_id", "eos_token_id", "pad_token_id")
    backbone.generation_config = GenerationConfig(**{name: getattr(found, name) for name in names})


def longest_input(backbone: PreTrainedModel) -> int:
    """Return how many tokens the model's positions allow, unlimited where they are relative."""
    counted = positions_after_padding(backbone)
    if counted is not None:
        return len(counted.weight) - counted.padding_idx - 1
    positions = getattr(backbone.config, "max_position_embeddings", None) or 0
    return positions if positions > 0 else sys.maxsize  # XLNet's are -1


def _check_modules(
    backbone: PreTrainedModel, field: str, names: list[str], fused: dict[str, list[str]] | None
) -> None:
    """Refuse names that match no module and no part of a fused one."""
    modules = [name for name, _ in backbone.named_modules() if name]
    parts = {
        f"{name}.{part}": f"{layer}.{part}"
        for layer, members in (fused or {}).items()
        for name in modules
        if name_matches(name, layer)
        for part in members
    }
    unmatched = [
        name
        for name in names
        if name.isdigit() or not any(name_matches(module, name) for module in [*modules, *parts])
    ]
    if unmatched:
        last = {name.rpartition(".")[2] for name in modules}
        allowed = {name for name in last if not name.isdigit()} | set(parts.values())
        raise RequestError([unknown_name(field, name, allowed) for name in unmatched])


# How torch says that numbers of two types do not go together, as in code that makes its own.
_OF_TYPES = re.compile("dtype|scalar type|BFloat16|Half")


@contextmanager
def _loading(model: ModelConfig) -> Iterator[None]:
    try:
        yield
    except RequestError:
        raise
    except Exception as error:  # transformers and what it reads may raise anything
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        if "trust_remote_code" in str(error):
            raise RequestError(
                f"model.name_or_path: '{model.name_or_path}' needs Python code of its own "
                "(auto_map), which is never run; expected a model type of transformers."
            ) from None
        if "use_safetensors" in str(error):
            raise no_safetensors(model.name_or_path) from None
        if model.dtype != "float32" and _OF_TYPES.search(str(error)):
            raise RequestError(
                f"model.dtype: found {model.dtype}, in which transformers' own code cannot compute "
                f"'{model.name_or_path}' ({reason}); expected float32."
            ) from error
        repositories = hub_repositories(model)
        if repositories and is_unreachable(error):
            raise RequestError(describe_unfetched(repositories[0])) from error
        raise RequestError(
            f"model.name_or_path: '{model.name_or_path}' could not be loaded: {reason}"
        ) from error


@contextmanager
def _quiet_about_the_new_head() -> Iterator[None]:
    """Suppress the warning about a new classification head, which is intended."""
    logger = logging.getLogger("transformers")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
