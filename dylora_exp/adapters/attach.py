"""PEFT's LoRA on a backbone: put on its targets, and saved."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.utils import ModulesToSaveWrapper
from torch import nn
from transformers import PreTrainedModel

from dylora_exp.adapters.layers import ADAPTER
from dylora_exp.config import Config
from dylora_exp.core import RequestError, first_line
from dylora_exp.models import has_transposed_weights, name_matches, split_fused, target_names

_HALF = (torch.bfloat16, torch.float16)


def attach_lora(backbone: PreTrainedModel, config: Config, init: str) -> PeftModel:
    """Add PEFT's LoRA at rank r_max (Eq. 4) to the targets.

    The head of a classifier is trained in full, that of a language model stays as it is.

    Raises:
        RequestError: When a target can be neither adapted nor split.
    """
    targets = target_names(backbone, config.model)
    split_fused(backbone, config.model)
    _check_linear(backbone, targets)
    lora = LoraConfig(
        task_type=config.task.peft_task_type,
        r=config.ranks.r_max,
        lora_alpha=config.method.alpha,  # type: ignore[arg-type]  # a fraction is as good
        use_rslora=config.method.rslora,
        lora_dropout=config.method.dropout,
        init_lora_weights="gaussian" if init == "gaussian" else True,
        target_modules=targets,
        # PEFT adds to it in place.
        modules_to_save=list(config.model.head) if config.task.trains_head else None,
        fan_in_fan_out=has_transposed_weights(backbone, targets),
    )
    try:
        model = get_peft_model(backbone, lora)
    except ValueError as error:
        raise RequestError(f"model.targets: PEFT refuses them: {first_line(error)}") from error
    train_head_in_single_precision(model)
    return cast(PeftModel, model)


def train_head_in_single_precision(model: nn.Module) -> None:
    """Turn the trained head of a model in half precision, and its inputs, to single, in place.

    PEFT itself does so for the factors of adapters alone.
    """
    for wrapper in model.modules():
        if isinstance(wrapper, ModulesToSaveWrapper):
            head = wrapper.modules_to_save[ADAPTER]
            if any(each.dtype in _HALF for each in head.parameters()):
                head.float().register_forward_pre_hook(_cast_inputs, with_kwargs=True)


def _cast_inputs(_: nn.Module, inputs: Any, named: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    def cast_one(value: Any) -> Any:
        is_half = isinstance(value, torch.Tensor) and value.dtype in _HALF
        return value.float() if is_half else value

    return tuple(map(cast_one, inputs)), {name: cast_one(each) for name, each in named.items()}


def _check_linear(backbone: PreTrainedModel, targets: Sequence[str]) -> None:
    """Refuse layers whose adapters do not send their input through an A that can be masked."""
    others = (nn.Embedding, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.MultiheadAttention)
    for name, module in backbone.named_modules():
        if isinstance(module, others) and any(name_matches(name, target) for target in targets):
            raise RequestError(
                f"model.targets: '{name}' is of type {type(module).__name__}, only linear layers "
                "can be shown at every rank."
            )


def save_adapter(model: PeftModel, folder: Path, base: str) -> None:
    """Save the adapter and the trained head, naming its base so that it means the same anywhere.

    Args:
        model: A model with adapters.
        folder: Where to.
        base: The base's name; PEFT would note where it lies on this machine.
    """
    settings = cast(LoraConfig, model.peft_config[ADAPTER])
    settings.base_model_name_or_path = base
    if not isinstance(settings.target_modules, str):  # a pattern
        # A set has another order each time.
        settings.target_modules = sorted(settings.target_modules or [])
    # Otherwise PEFT asks the hub whether the vocabulary was changed.
    model.save_pretrained(str(folder), save_embedding_layers=False)
    (folder / "README.md").unlink(missing_ok=True)  # an empty form; an export has its own card
