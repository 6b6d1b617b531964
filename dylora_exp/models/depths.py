"""Models of the same shape without weights, and with fewer layers.

The layers of a transformer are alike, so that what one of n layers takes follows from two models of
fewer: embeddings and head are in both, and what the others differ by is the layers between.
"""

from __future__ import annotations

from dataclasses import dataclass

from dylora_exp.config import ModelConfig
from dylora_exp.core import RequestError
from dylora_exp.models.architecture import BYTE_LEVEL_TOKENIZER, hub_repositories
from dylora_exp.models.loading import read_architecture


@dataclass(frozen=True)
class Depth:
    """How deep and how wide a model is.

    Attributes:
        setting: The setting of its own configuration that holds the number of layers.
        layers: That number.
        width: Of its hidden states.
    """

    setting: str
    layers: int
    width: int


def without_weights(model: ModelConfig, hub_cache: str | None = None) -> ModelConfig:
    """Return the config of the same model with random weights and the byte-level tokenizer.

    Args:
        model: The model config.
        hub_cache: The folder of fetched models.

    Raises:
        RequestError: When its configuration would have to be fetched.
    """
    if model.config is None and hub_cache is None and hub_repositories(model):
        raise RequestError(
            f"model.config: model '{model.name}' has none, and the one of "
            f"'{model.name_or_path}' is on the hub, expected the architecture's settings."
        )
    changes = {"pretrained": False, "tokenizer": BYTE_LEVEL_TOKENIZER, "drop_head": False}
    return model.model_copy(update=changes)


def depth_of(model: ModelConfig, hub_cache: str | None = None) -> Depth:
    """Return how deep and wide a model of ``without_weights`` is.

    Raises:
        RequestError: When its configuration cannot be read, or does not say it.
    """
    config = read_architecture(model, hub_cache)
    name = type(config).attribute_map.get("num_hidden_layers", "num_hidden_layers")
    layers, width = getattr(config, name, None), getattr(config, "hidden_size", None)
    if not isinstance(layers, int) or not isinstance(width, int):
        raise RequestError(
            f"model: the configuration of '{model.name}' does not say how many layers it has and "
            "how wide they are."
        )
    return Depth(name, layers, width)


def with_layers(model: ModelConfig, depth: Depth, layers: int) -> ModelConfig:
    """Return a model config with another number of layers."""
    if layers == depth.layers:
        return model
    return model.model_copy(
        update={"overrides": {**(model.overrides or {}), depth.setting: layers}}
    )
