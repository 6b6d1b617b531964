"""The settings of a model's own configuration that ``model.overrides`` and ``model.config`` name.

Only what the architecture itself declares and computes with is one. A loader's arguments, what
says which code or weights are loaded, and what changes no output of a run are refused by name, also
where the config.json of a folder has them.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dylora_exp.core import RequestError, did_you_mean, first_line

if TYPE_CHECKING:
    from transformers import PretrainedConfig

# What architectures declare and a run does not depend on; each with the reason.
_OF_CACHES = "keys and values are kept or not as scoring needs"
_OF_OUTPUTS = "only logits are read"
_IDLE = {
    "use_cache": _OF_CACHES,
    "gradient_checkpointing": "it is no setting of the function that a model computes",
    "pretraining_tp": "there is no pretraining",
    "tokenizer_class": "model.tokenizer names the tokenizer",
    "router_aux_loss_coef": "the loss is that of the task",
    "auxiliary_loss": "the loss is that of the task",
}
_IDLE_BEGINNINGS = {
    "output_": _OF_OUTPUTS,
    "summary_": "only models of two heads have it",
}
_TOKEN_ID = "_token_id"
# What ``from_pretrained`` takes, or acts on when it lies in a configuration.
_OF_LOADERS = {
    *("trust_remote_code", "code_revision", "auto_map", "custom_pipelines", "revision", "token"),
    *("dtype", "torch_dtype", "attn_implementation", "experts_implementation", "device_map"),
    *("quantization_config", "gguf_file", "use_safetensors", "weights_only", "state_dict"),
    *("architectures", "name_or_path", "transformers_version", "gradient_checkpointing"),
    *("num_labels", "id2label", "label2id", "problem_type", "return_dict", "torchscript"),
}


def own_settings(config: PretrainedConfig) -> set[str]:
    """Return the names of the settings that an architecture declares, without what all have."""
    from transformers import PretrainedConfig

    general = inspect.signature(PretrainedConfig.__init__).parameters
    own = set(inspect.signature(type(config).__init__).parameters) - set(general)
    return {name for name in own if not name.startswith("_") and name != "kwargs"}


def new_architecture(settings: Mapping[str, Any]) -> PretrainedConfig:
    """Return the configuration of a model from its type and settings, those of ``model.config``.

    Raises:
        RequestError: For an argument of a loader.
    """
    from transformers import AutoConfig

    # Some architectures read settings that they do not declare, such as Qwen2's head_dim.
    if found := [name for name in settings if name.startswith("_") or name in _OF_LOADERS]:
        raise RequestError(
            f"model.config.{name}: it is an argument of a loader, expected a setting of the "
            "architecture."
            for name in found
        )
    return AutoConfig.for_model(**settings)


def override(config: PretrainedConfig, settings: Mapping[str, Any]) -> None:
    """Change settings of a model's configuration in place, those of ``model.overrides``.

    Raises:
        RequestError: For a name or a value that the architecture does not allow, and for a setting
            without effect.
    """
    known = own_settings(config)
    if unknown := [name for name in settings if name not in known]:
        raise RequestError(
            f"model.overrides.{name}: a model of type {config.model_type} has no such setting"
            f"{did_you_mean(str(name), known) or '.'}"
            for name in unknown
        )
    idle = {name: _idle(name) for name in settings}
    if problems := [
        f"model.overrides.{name}: it would change nothing, {reason}."
        for name, reason in idle.items()
        if reason is not None
    ]:
        raise RequestError(problems)
    # Not as arguments of ``from_pretrained``, which takes some names for its own.
    for name, value in settings.items():
        try:
            setattr(config, name, value)
        except Exception as error:  # transformers checks types in ways of its own
            reason = " ".join(first_line(error.__cause__ or error).split())
            raise RequestError(f"model.overrides.{name}: found {value!r} ({reason}).") from None


def _idle(name: str) -> str | None:
    """Return why a setting of an architecture changes nothing here, None where it does."""
    if name.endswith(_TOKEN_ID):
        return "the tokenizer says which tokens are special"
    for beginning, reason in _IDLE_BEGINNINGS.items():
        if name.startswith(beginning):
            return reason
    return _IDLE.get(name)
