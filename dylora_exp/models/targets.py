"""The layers that ``model.targets`` stands for in a model."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from dylora_exp.config import ALL_LINEAR, ModelConfig
from dylora_exp.core import RequestError
from dylora_exp.models.layer_names import lies_in, name_matches

# What transformers calls the head of a classifier, where the config names none.
_HEADS = ("score", "classifier")


def target_names(backbone: PreTrainedModel, model: ModelConfig) -> list[str]:
    """Return the names of the layers to adapt, each the end of a dotted name.

    They are those of ``model.targets``. ``all-linear`` means, as in PEFT, all linear layers but the
    output of a language model; of a classifier, those of its head are trained whole instead. A
    fused layer is one layer then; experts that lie in one tensor are none. They are named as
    briefly as names no other module.

    Raises:
        RequestError: When ``all-linear`` finds no layer.
    """
    if model.targets != [ALL_LINEAR]:
        return list(model.targets)
    output = backbone.get_output_embeddings()
    heads = [*model.head, *(name for name in _HEADS if hasattr(backbone, name))]
    names = [name for name, _ in backbone.named_modules() if name]
    layers = {
        name
        for name, module in backbone.named_modules()
        if isinstance(module, nn.Linear | Conv1D) and module is not output
        if not lies_in(name, heads)
    }
    if not layers:
        raise RequestError(
            f"model.targets: found {ALL_LINEAR}, but a model of type {backbone.config.model_type} "
            "has no linear layer outside its head."
        )
    return sorted({_shortest(name, names, layers) for name in layers})


def _shortest(layer: str, names: Sequence[str], layers: set[str]) -> str:
    """Return the shortest end of a layer's name that is the end of no other module's."""
    parts = layer.split(".")
    for start in reversed(range(len(parts))):
        end = ".".join(parts[start:])
        if not parts[start].isdigit() and all(
            name in layers for name in names if name_matches(name, end)
        ):
            return end
    return layer
