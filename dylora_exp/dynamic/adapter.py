"""The LoRA of a stock PeftModel: which adapter is meant, and whether its rank can be chosen."""

from __future__ import annotations

import math
import operator
import typing
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, cast

from accelerate.utils import extract_model_from_parallel
from peft import LoraConfig, PeftModel, PeftType
from peft.tuners.lora import LoraLayer
from torch import nn

from dylora_exp import adapters
from dylora_exp.config import Scale, Truncation
from dylora_exp.core import RequestError, name_first, unknown_name
from dylora_exp.dynamic.merging import MaskedVariant

# Settings of LoraConfig by which a layer computes something else than the product of A and B.
_NO_PRODUCT = {
    "use_dora": "DoRA normalises each column of the sum",
    "lora_bias": "no rank cuts its bias",
    "target_parameters": "PEFT adds it to the weight before the layer computes",
}
# Those that need neither examples nor a budget over layers.
_TRUNCATIONS: tuple[Truncation, ...] = ("leading", "svd")
_NOT_LINEAR = (nn.Embedding, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.MultiheadAttention)


@dataclass(frozen=True)
class Adapter:
    """The active LoRA adapter of a PeftModel, all layers of which have the same rank.

    Attributes:
        model: The model, without what trainers wrap around it.
        name: The adapter's name.
        r: Its rank.
        layers: The layers that it adapts, in the model's order.
    """

    model: PeftModel
    name: str
    r: int
    layers: list[LoraLayer]

    @property
    def config(self) -> LoraConfig:
        """PEFT's settings of the adapter."""
        return cast(LoraConfig, self.model.peft_config[self.name])

    @property
    def mask(self) -> adapters.RankMask | None:
        """The mask by which its rank is chosen, None as long as it has none."""
        return adapters.find_mask(self.model, self.name)

    def install_mask(self) -> adapters.RankMask:
        """Return the mask of the adapter, put in place where it has none; PEFT merges with it."""
        mask = adapters.install_mask(self.model, self.r, self.name)
        for layer in self.layers:
            layer.lora_variant.setdefault(self.name, MaskedVariant())
        return mask

    def use_rslora(self) -> None:
        """Give the layers rsLoRA's own factor alpha/sqrt(r), and note it in PEFT's settings."""
        for layer in self.layers:
            layer.scaling[self.name] *= math.sqrt(self.r)
            layer.use_rslora[self.name] = True
        self.config.use_rslora = True
        self.remove_mask()  # a mask made before counts from the former factor

    def remove_mask(self) -> None:
        """Give the layers back to PEFT as they were; one that is merged can still be unmerged."""
        adapters.remove_mask(self.model, self.name)
        for layer in self.layers:
            if not layer.merged:
                layer.lora_variant.pop(self.name, None)


def find_adapter(model: nn.Module) -> Adapter:
    """Return the active adapter of a model.

    Raises:
        RequestError: When it is none whose rank can be chosen: not PEFT's, not a plain LoRA of
            linear layers, layers of several ranks, several adapters, or one that is merged.
    """
    model = _unwrap(model)
    name = _active_name(model)
    config = model.peft_config[name]
    if config.peft_type != PeftType.LORA:
        kind = getattr(config.peft_type, "value", config.peft_type)
        raise RequestError(
            f"model: adapter '{name}' is of type {kind}, expected LORA; "
            "peft.convert_to_lora makes one of it where PEFT can."
        )
    for setting, reason in _NO_PRODUCT.items():
        if getattr(config, setting, None):
            raise RequestError(
                f"model: adapter '{name}' has {setting}, with which it has no ranks to choose "
                f"({reason}); make the adapter without it."
            )
    layers = _linear_layers(model, name)
    ranks = sorted({layer.r[name] for layer in layers})
    if len(ranks) > 1:
        raise RequestError(
            f"model: the layers of adapter '{name}' have the ranks {', '.join(map(str, ranks))} "
            "(rank_pattern), expected one rank; make the adapter without rank_pattern."
        )
    if any(layer.merged for layer in layers):
        raise RequestError(
            f"model: adapter '{name}' is merged into the weights, where its rank cannot be "
            "chosen; call model.unmerge_adapter() first."
        )
    if any(layer.disable_adapters for layer in layers):
        raise RequestError(
            f"model: adapter '{name}' is disabled, so that its rank has no effect; enable it first "
            "(leave disable_adapter(), or call model.base_model.enable_adapter_layers())."
        )
    return Adapter(model, name, ranks[0], layers)


def check_rank(rank: Any, r: int) -> int:
    """Return a rank as a plain int.

    Raises:
        RequestError: When it is none of 1..r.
    """
    try:
        found = operator.index(rank)
    except TypeError:
        found = 0
    if isinstance(rank, bool) or not 1 <= found <= r:
        raise RequestError(f"rank: found {rank!r}, expected a rank 1..{r}.")
    return found


def check_scale(scale: Any, config: LoraConfig) -> Scale:
    """Return the scale of a truncated product.

    Raises:
        RequestError: When it is unknown, or not defined for the adapter.
    """
    _check_name("scale", scale, typing.get_args(Scale))
    if config.use_rslora and scale == "alpha/b":
        raise RequestError(
            "scale: alpha/b is not defined for rsLoRA (use_rslora), whose product has the factor "
            "alpha/sqrt(r); scale='alpha/sqrt(b)' is its own at rank b, and scale='alpha/r' keeps "
            "that of full rank at every rank."
        )
    return cast(Scale, scale)


def check_truncation(truncation: Any) -> Truncation:
    """Return the truncation.

    Raises:
        RequestError: When it is unknown.
    """
    _check_name("truncation", truncation, _TRUNCATIONS)
    return cast(Truncation, truncation)


def rslora_advice(config: LoraConfig, r: int) -> str:
    """Return what an rsLoRA sets instead, to train with the same factor at rank r."""
    return f"use_rslora=False with lora_alpha={config.lora_alpha * math.sqrt(r):g}"


def _check_name(field: str, name: Any, allowed: Iterable[str]) -> None:
    if name not in allowed:
        raise RequestError(unknown_name(field, str(name), allowed))


def _unwrap(model: Any) -> PeftModel:
    if isinstance(model, nn.Module):
        model = extract_model_from_parallel(model, keep_torch_compile=False)
    if not isinstance(model, PeftModel):
        raise RequestError(
            f"model: found {type(model).__name__}, expected a PeftModel; make one with "
            "peft.get_peft_model(model, LoraConfig(...)) or PeftModel.from_pretrained."
        )
    return model


def _active_name(model: PeftModel) -> str:
    names = list(model.active_adapters)
    if len(names) != 1:
        listed = ", ".join(f"'{name}'" for name in names) or "none"
        raise RequestError(
            f"model: its active adapters are {listed}, expected one; call model.set_adapter(NAME)."
        )
    return str(names[0])


def _linear_layers(model: PeftModel, adapter: str) -> list[LoraLayer]:
    """Return the layers that an adapter adapts, after making sure that A can be masked in each."""
    layers, others, variants = [], {}, []
    for name, layer in model.named_modules():
        if not isinstance(layer, LoraLayer):
            continue
        base = layer.get_base_layer()
        is_linear = isinstance(base, nn.Module) and not isinstance(base, _NOT_LINEAR)
        if adapter in layer.lora_embedding_A:
            others[name] = base
        elif adapter in layer.lora_A:
            down_is_linear = isinstance(layer.lora_A[adapter], nn.Linear)
            if not (is_linear and down_is_linear):
                others[name] = base
            if not isinstance(layer.lora_variant.get(adapter), MaskedVariant | None):
                variants.append(type(layer.lora_variant[adapter]).__name__)
            layers.append(layer)
    if others:
        first = min(others)
        raise RequestError(
            f"model: {name_first(others)} of adapter '{adapter}' is of type "
            f"{type(others[first]).__name__}, only linear layers can be used at every rank; leave "
            "it out of target_modules."
        )
    if variants:
        raise RequestError(
            f"model: adapter '{adapter}' is no plain LoRA but PEFT's {variants[0]}, which has no "
            "ranks to choose; make the adapter without it."
        )
    if not layers:
        raise RequestError(f"model: adapter '{adapter}' adapts no layer.")
    return layers
