"""Bases in other precisions: the type of the weights, and linear layers packed by bitsandbytes.

A packed layer computes with the values that its eight or four bits stand for. For scoring on a CPU
bitsandbytes has kernels that compute something else than in training: layers in eight bits round
their inputs to eight bits as well, and layers in four bits, on processors with AVX512-BF16, compute
in bfloat16 whatever they are told, in a packing that no gradient passes. Both are turned off, so
that a model is trained and scored as one function. On a GPU the inputs of layers in eight bits are
rounded in training, too (LLM.int8()).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from dylora_exp.config import ModelConfig
from dylora_exp.core import RequestError
from dylora_exp.models.layer_names import lies_in

if TYPE_CHECKING:
    import torch
    from torch import nn
    from transformers import BitsAndBytesConfig, PreTrainedModel


# How many rows of a layer are compared with what they stand for.
_LOOKED_AT = 256


def weights_type(model: ModelConfig) -> torch.dtype:
    """Return the type of the weights that are not packed, in which packed layers compute.

    Raises:
        RequestError: For half precision without a GPU, since small gradients would vanish.
    """
    import torch

    if model.dtype == "float16" and not torch.accelerator.is_available():
        raise RequestError(
            "model.dtype: found float16, which is trained with scaled losses and needs a GPU; "
            "expected bfloat16 or float32."
        )
    found: torch.dtype = getattr(torch, model.dtype)
    return found


def packing(model: ModelConfig, kind: Any, config: Any, head: list[str]) -> dict[str, Any]:
    """Return the arguments by which ``from_pretrained`` packs linear layers; none for no packing.

    The head of a language model and that of a classifier stay as they are.

    Args:
        model: The model config.
        kind: The class of transformers that loads it.
        config: The architecture.
        head: The modules that are new in a classifier.
    """
    if model.quantization == "none":
        return {}
    # For language models transformers itself leaves out the head and what is tied to it.
    is_classifier = kind.__name__ == "AutoModelForSequenceClassification"
    skipped = _head_layers(kind, config, head) if is_classifier else None
    return {"quantization_config": _packing_config(model, skipped)}


def _packing_config(model: ModelConfig, skipped: list[str] | None) -> BitsAndBytesConfig:
    from transformers import BitsAndBytesConfig

    if model.quantization == "int8":
        return BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=skipped)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_compute_dtype=weights_type(model),
        llm_int8_skip_modules=skipped,
    )


def _head_layers(kind: Any, config: Any, head: list[str]) -> list[str]:
    """Return the names of all modules of a classifier's head: those named, and beside the body."""
    import torch

    with torch.device("meta"):
        model = kind.from_config(config, trust_remote_code=False)
    body = {id(module) for module in model.base_model.modules()}
    return [
        name
        for name, module in model.named_modules()
        if name and (id(module) not in body or lies_in(name, head))
    ]


def packed_layers(model: nn.Module) -> Iterator[tuple[str, Any]]:
    """Yield the layers whose weights are packed, with their names."""
    if not getattr(model, "is_quantized", False):
        return
    import bitsandbytes

    kinds = (bitsandbytes.nn.Linear4bit, bitsandbytes.nn.Linear8bitLt)
    for name, module in model.named_modules():
        if isinstance(module, kinds):
            yield name, module


def check_unpacking(backbone: nn.Module, model: ModelConfig) -> None:
    """Refuse layers in four bits that are computed with other values than their bits stand for.

    bitsandbytes 0.50.2 unpacks some widths on a CPU with the scales of other blocks, so that a base
    would be another one than on a GPU. The first rows of one layer of each shape are looked at.

    Raises:
        RequestError: With such a layer and its width.
    """
    import torch

    of_shapes = {
        (layer.weight.quant_state.shape, layer.weight.device.type): (name, layer)
        for name, layer in packed_layers(backbone)
        if hasattr(layer.weight, "quant_state")
    }
    for (shape, device), (name, layer) in of_shapes.items():
        blocks = layer.weight.quant_state.absmax.float()
        expected = _first_rows_by_hand(layer)
        difference = (unpacked(layer, torch.float32)[: len(expected)] - expected).abs().max()
        # Half precision rounds by 0.004 of a value; two values of four bits are 0.08 apart.
        if not difference <= 0.01 * blocks.max():
            elsewhere = "" if device != "cpu" else ", or a GPU"
            raise RequestError(
                f"model.quantization: found {model.quantization}, but the installed bitsandbytes "
                f"unpacks the layer '{name}' of width {shape[-1]} to other values than its bits "
                f"stand for ({device}); expected int8 or none{elsewhere}."
            )


def _first_rows_by_hand(layer: Any) -> torch.Tensor:
    """Return rows of a layer in four bits: the values of a table, each block times its scale."""
    import torch

    state = layer.weight.quant_state
    rows, width = min(state.shape[0], _LOOKED_AT), state.shape[1]
    pairs = layer.weight.data.view(torch.uint8).flatten()[: math.ceil(rows * width / 2)]
    indices = torch.stack([pairs >> 4, pairs & 15], dim=1).flatten()[: rows * width].int()
    scale = state.absmax.float()[torch.arange(rows * width, device=pairs.device) // state.blocksize]
    values: torch.Tensor = state.code.float()[indices] * scale
    return values.reshape(rows, width)


def compute_as_in_training(backbone: PreTrainedModel, model: ModelConfig) -> None:
    """Let packed layers compute the same in evaluation as in training, in place.

    Raises:
        RequestError: When no layer is packed.
    """
    layers = list(packed_layers(backbone))
    if not layers:
        raise RequestError(
            f"model.quantization: found {model.quantization}, but a model of type "
            f"{backbone.config.model_type} has no linear layers that could be packed; expected "
            "none, or another model."
        )
    for _, layer in layers:
        if hasattr(layer, "support_avx512bf16_for_cpu"):
            layer.support_avx512bf16_for_cpu = False
        elif layer.weight.device.type == "cpu":
            layer.register_forward_pre_hook(_set_training)


def _set_training(layer: nn.Module, _: Any) -> None:
    """Set the mode of a layer in which it does not round its inputs; it has no dropout."""
    layer.training = True


def scales(layer: Any) -> torch.Tensor:
    """Return what the packed values of a layer are multiplied by, which is finite if they were."""
    weight = layer.weight
    found: torch.Tensor = (
        weight.quant_state.absmax
        if hasattr(weight, "quant_state")
        else (layer.state.SCB if weight.SCB is None else weight.SCB)
    )
    return found


def weight_size(weight: torch.Tensor) -> int:
    """Return the number of values of a weight; two of a packed one may share a byte."""
    state = getattr(weight, "quant_state", None)
    return weight.numel() if state is None else math.prod(state.shape)


def unpacked(layer: Any, dtype: torch.dtype) -> torch.Tensor:
    """Return the weight of a packed layer, (d_out, d_in), as it computes with it."""
    from bitsandbytes import functional

    weight = layer.weight
    if hasattr(weight, "quant_state"):
        found: torch.Tensor = functional.dequantize_4bit(weight.data, weight.quant_state)
        return found.to(dtype)
    # As bitsandbytes' own matrix product does it.
    values: torch.Tensor = weight.data.to(dtype) * (scales(layer).to(dtype)[:, None] / 127)
    return values


# By which share results of the same computation may differ in single precision.
SINGLE_ROUNDING = 1e-4


def rounding(model: nn.Module) -> float:
    """Return by which share results of the same computation may differ in a model's precision.

    Batches of other shapes are rounded differently, in single precision by far less than this.
    """
    import torch

    types = {each.dtype for each in model.parameters() if each.is_floating_point()}
    share = max([SINGLE_ROUNDING, *(8 * torch.finfo(each).eps for each in types - {torch.float32})])
    rounds_inputs = any(
        hasattr(layer, "state") and layer.weight.device.type != "cpu"
        for _, layer in packed_layers(model)
    )
    return max(share, 0.05) if rounds_inputs else share
