"""The weights of a backbone: read from a folder or the hub, and checked to be all of them.

transformers fills in random values where a file lacks a weight, and ignores what it does not know.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dylora_exp.config import ModelConfig
from dylora_exp.core import RequestError, name_first
from dylora_exp.models.layer_names import lies_in, name_matches
from dylora_exp.models.quantised import (
    check_unpacking,
    compute_as_in_training,
    packed_layers,
    packing,
    scales,
    weights_type,
)

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module
    from transformers import PretrainedConfig, PreTrainedModel


# Of every call that reads a model's files: nothing beside them is run.
NO_CODE = {"trust_remote_code": False}
_PICKLES = (".bin", ".pt", ".pth", ".pkl", ".h5", ".msgpack", ".ckpt")
_CONVERSION = (
    'python -c "import torch, safetensors.torch as st; '
    "weights = torch.load('pytorch_model.bin', map_location='cpu', weights_only=True); "
    "st.save_file({name: each.clone() for name, each in weights.items()}, 'model.safetensors', "
    "{'format': 'pt'})\""
)


def no_safetensors(location: str) -> RequestError:
    """Return the error for weights that are only there as pickles."""
    return RequestError(
        f"model.name_or_path: '{location}' has no model.safetensors, and other files of weights "
        "are pickles, which can run any code when they are read; if you trust its "
        f"pytorch_model.bin, convert it in its folder with: {_CONVERSION}"
    )


def read_weights(
    kind: Any, model: ModelConfig, location: str, config: PretrainedConfig, head: list[str]
) -> PreTrainedModel:
    """Return a model with the weights of a folder or of the hub, in the precision of the config.

    Args:
        kind: The class of transformers that loads it.
        model: The model config.
        location: Where the weights are.
        config: The architecture.
        head: The modules that may be new; empty for a language model.

    Raises:
        RequestError: When weights outside the head are missing or unused, or of other sizes.
    """
    _refuse_pickles(location)
    _refuse_packed(config, model)
    backbone, found = kind.from_pretrained(
        location,
        **NO_CODE,
        use_safetensors=True,
        weights_only=True,
        config=config,
        dtype=weights_type(model),  # not rounded first, whatever the weights' own config says
        revision=model.revision,
        ignore_mismatched_sizes=True,  # so that all of them are named below
        output_loading_info=True,
        **packing(model, kind, config, head),
    )
    sizes = {name: (tuple(old), tuple(new)) for name, old, new in found["mismatched_keys"]}
    problems = []
    missing = [name for name in found["missing_keys"] - set(sizes) if not _in(name, head)]
    is_classifier = kind.__name__ == "AutoModelForSequenceClassification"
    in_body = any(_is_in_body(name, backbone) for name in missing)
    if missing and is_classifier and not head and not in_body:
        modules = sorted({name.partition(".")[0] for name in missing})
        raise RequestError(
            f"model.head: the head ({', '.join(modules)}) is neither among the weights of "
            f"'{model.name_or_path}' nor saved in an adapter (PEFT's modules_to_save), so that "
            "scores would be those of random values; train it with the adapter, or "
            f"model.head=[{','.join(modules)}] scores it untrained all the same."
        )
    if missing:
        problems.append(
            f"{name_first(missing)} of the model {_is_or_are(missing)} not among its weights, so "
            "that random values would be used; expected all but those of new modules in "
            f"model.head ({', '.join(head) or 'none'})."
        )
    if unused := [name for name in found["unexpected_keys"] if _is_in_body(name, backbone)]:
        problems.append(
            f"{name_first(unused)} among its weights {_is_or_are(unused)} of no layer of a model "
            "with its config.json; expected weights and config.json of one model."
        )
    dropped = head if model.drop_head else []
    if wrong := {name: shapes for name, shapes in sizes.items() if not _in(name, dropped)}:
        old, new = min(wrong.items())[1]
        hint = (
            "; model.drop_head=true starts with a new head instead."
            if head and all(_in(each, head) for each in wrong)
            else "."
        )
        problems.append(f"{name_first(wrong)}: found shape {old}, expected {new}{hint}")
    if broken := [name for name, weight in _values(backbone) if not _is_finite(weight)]:
        problems.append(
            f"{name_first(broken)} among its weights {_holds_or_hold(broken)} other values than "
            "finite numbers; the file is damaged, or its training diverged."
        )
    if hasattr(backbone, "peft_config"):
        problems.append("there is an adapter beside the weights; merge it or take it away.")
    if problems:
        raise RequestError([f"model.name_or_path: {problem}" for problem in problems])
    if dropped:
        _renew(backbone, kind.from_config(backbone.config), head)
    if model.quantization != "none":
        compute_as_in_training(backbone, model)
        check_unpacking(backbone, model)
    elif model.dtype == "float32":
        backbone.float()
    result: PreTrainedModel = backbone
    return result


def random_weights(
    kind: Any, model: ModelConfig, config: PretrainedConfig, head: list[str]
) -> PreTrainedModel:
    """Return a model with new weights in the precision of the config.

    Args:
        kind: The class of transformers that makes it.
        model: The model config.
        config: The architecture.
        head: As in ``read_weights``.
    """
    backbone: PreTrainedModel = kind.from_config(config, dtype=weights_type(model), **NO_CODE)
    if model.quantization == "none":
        return backbone
    with tempfile.TemporaryDirectory() as folder:  # transformers packs what it reads
        backbone.save_pretrained(folder)
        return read_weights(kind, model, folder, config, head)


def weight_users(model: Module) -> Counter[int]:
    """Return how many modules have each weight for their own, by the weight's ``id``."""
    return Counter(
        id(weight) for module in model.modules() for weight in module.parameters(recurse=False)
    )


def untie(backbone: PreTrainedModel, targets: Iterable[str]) -> None:
    """Give each target that shares its weight with another module a weight of its own, in place.

    An adapter that is merged into a shared weight would change the other module, too: a language
    model's head and its embedding.
    """
    from torch import nn

    users = weight_users(backbone)
    for name, module in backbone.named_modules():
        if not any(name_matches(name, target) for target in targets):
            continue
        for key, weight in list(module.named_parameters(recurse=False)):
            if users[id(weight)] > 1:
                users[id(weight)] -= 1
                setattr(module, key, nn.Parameter(weight.detach().clone()))
                backbone.config.tie_word_embeddings = False


def _refuse_pickles(location: str) -> None:
    """Refuse a folder whose weights are in another format than safetensors."""
    folder = Path(location)
    names = [file.name for file in folder.iterdir()] if folder.is_dir() else []
    if any(name.endswith(_PICKLES) for name in names) and not any(
        ".safetensors" in name for name in names
    ):
        raise no_safetensors(location)


def _refuse_packed(config: PretrainedConfig, model: ModelConfig) -> None:
    """Refuse weights that are quantised already."""
    found = getattr(config, "quantization_config", None)
    if found is not None:
        how = found.get("quant_method") if isinstance(found, dict) else found.quant_method
        raise RequestError(
            f"model.name_or_path: the weights of '{model.name_or_path}' are quantised already "
            f"({getattr(how, 'value', how)}); expected full ones, which model.quantization packs."
        )


def _values(backbone: PreTrainedModel) -> Iterator[tuple[str, Tensor]]:
    """Yield all weights by name, of packed ones their scales."""
    packed = {f"{name}.weight": scales(layer) for name, layer in packed_layers(backbone)}
    for name, weight in backbone.named_parameters():
        yield name, packed.get(name, weight)


def _renew(backbone: PreTrainedModel, new: PreTrainedModel, head: list[str]) -> None:
    """Copy the head of a new model into another."""
    import torch

    values = dict(new.named_parameters())
    with torch.no_grad():
        for name, parameter in backbone.named_parameters():
            if _in(name, head):
                parameter.copy_(values[name])


def _in(weight: str, modules: Iterable[str]) -> bool:
    """Return whether a weight belongs to one of some modules."""
    return lies_in(weight.rpartition(".")[0], modules)


def _is_in_body(weight: str, backbone: PreTrainedModel) -> bool:
    """Return whether a weight would belong to a part of the model itself: not to another head."""
    body = backbone.base_model
    inner = weight.removeprefix(f"{backbone.base_model_prefix}.")
    parts = dict(body.named_children()) if body is not backbone else {}
    known = dict(backbone.named_buffers())  # those that are made anew, such as positions
    return inner.split(".")[0] in parts and weight not in known


def _is_finite(weight: Tensor) -> bool:
    """Return whether a weight holds finite numbers; those of shapes alone are taken to do so."""
    return weight.is_meta or (weight.is_floating_point() and bool(weight.isfinite().all()))


def _holds_or_hold(names: Sequence[str]) -> str:
    return "holds" if len(names) == 1 else "hold"


def _is_or_are(names: Iterable[str]) -> str:
    return "is" if len(list(names)) == 1 else "are"
