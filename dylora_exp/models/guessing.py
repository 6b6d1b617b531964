"""What a model config leaves to be guessed: the layers to adapt, the head, the fused layers.

``model.targets``, ``model.head`` and ``model.fused`` may be ``auto``, as they are where a folder or
a name on the hub was chosen (``model=FOLDER``). They are guessed from the model's own configuration
while a config is composed, so that a run's identity and record hold what was meant.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dylora_exp.config import ALL_LINEAR, AUTO, ModelConfig
from dylora_exp.core import RequestError, expand_user
from dylora_exp.models.layer_names import fused_part, name_matches
from dylora_exp.models.layouts import layout_of, names_of_parts

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_GUESSED = ("targets", "head", "fused")
# What queries and values are called in architectures that are not in PEFT's table.
_USUAL = (
    *(("q_proj", "v_proj"), ("query", "value"), ("query_proj", "value_proj")),
    *(("q_lin", "v_lin"), ("attn.q", "attn.v"), ("qkv_proj",), ("query_key_value",), ("Wqkv",)),
    *(("q_head", "v_head"), ("q", "v")),
)


@dataclass(frozen=True)
class _Guess:
    """What was found in a model.

    Attributes:
        targets: Names of the layers to adapt.
        source: Where they are from, as the end of a sentence.
        head: The modules of a classifier that published weights lack.
        fused: The parts of all fused layers that are known.
    """

    targets: tuple[str, ...]
    source: str
    head: tuple[str, ...]
    fused: Mapping[str, Sequence[str]]


def complete_model(tree: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a composed config tree in which nothing of the model is left to be guessed.

    Args:
        tree: A whole config, not checked yet.

    Raises:
        RequestError: When the model's configuration is not here, or is of no language model.
    """
    group = tree.get("model")
    if not isinstance(group, Mapping) or AUTO not in [group.get(name) for name in _GUESSED]:
        return tree
    names = {"name_or_path": group.get("name_or_path"), "revision": group.get("revision")}
    cache = tree.get("hub_cache")
    if not isinstance(names["name_or_path"], str) or not isinstance(cache, str | None):
        return tree  # the schema says what is wrong with it
    name, folder = names["name_or_path"], expand_user(names["name_or_path"])
    name = str(folder.resolve()) if folder.is_dir() else name
    # Parts of a fused layer cannot be adapted where its weights are packed together.
    is_packed = group.get("quantization", "none") != "none"
    guess = _guess(name, names["revision"], group.get("extra"), cache, with_parts=not is_packed)
    model = dict(group)
    notes = []
    if model.get("targets") == AUTO:
        model["targets"] = list(guess.targets)
        notes.append(f"model.targets={_listed(guess.targets)} ({guess.source})")
    if model.get("head") == AUTO:
        model["head"] = list(guess.head)
        notes.append(f"model.head={_listed(guess.head)}")
    if model.get("fused") == AUTO:
        targets = model["targets"] if isinstance(model["targets"], list) else []
        parts = [fused_part(str(target), guess.fused) for target in targets]
        used = {
            layer: list(members)
            for layer, members in guess.fused.items()
            if any(part and name_matches(part.layer, layer) for part in parts)
        }
        model["fused"] = used or None
        notes += [f"model.fused.{layer}={_listed(members)}" for layer, members in used.items()]
    model["guessed"] = "; ".join(notes)
    return {**tree, "model": model}


def _listed(names: Sequence[str]) -> str:
    return f"[{', '.join(names)}]"


@functools.cache
def _guess(
    name: str, revision: str | None, extra: str | None, hub_cache: str | None, with_parts: bool
) -> _Guess:
    """Return what can be found in a model, built of shapes alone.

    Args:
        name: A folder, or a name on the hub.
        revision: That of the hub.
        extra: The optional dependency that the model comes with.
        hub_cache: A folder of fetched models.
        with_parts: Whether the parts of fused layers may be adapted, not the whole alone.
    """
    import torch
    from transformers import (
        MODEL_FOR_CAUSAL_LM_MAPPING,
        MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING,
        AutoModelForCausalLM,
        AutoModelForSequenceClassification,
    )

    from dylora_exp.models.loading import read_architecture
    from dylora_exp.models.weights import NO_CODE

    model = ModelConfig(name=name, name_or_path=name, revision=revision, extra=extra)
    config = read_architecture(model, hub_cache)
    is_classifier = type(config) in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING
    if not is_classifier and type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise RequestError(
            f"model.name_or_path: '{name}' is of type {config.model_type}, of which transformers "
            "has neither a classifier of texts nor a language model; choose another model."
        )
    kind = AutoModelForSequenceClassification if is_classifier else AutoModelForCausalLM
    with torch.device("meta"):
        built = kind.from_config(config, **NO_CODE)
    fused = _fused_layers(built) if with_parts else {}
    targets, source = _targets(built, fused)
    head = _head(built) if is_classifier else ()
    return _Guess(targets, source, head, fused)


def _targets(
    built: PreTrainedModel, fused: Mapping[str, Sequence[str]]
) -> tuple[tuple[str, ...], str]:
    """Return the layers that are usually adapted, and where that is from.

    Of a fused layer these are its queries and values, as of layers that are not fused.
    """
    from peft.utils import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING

    names = [name for name, _ in built.named_modules()]
    listed = TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING.get(built.config.model_type)
    found: Sequence[str] | None = None
    source = "as PEFT lists them"
    if isinstance(listed, list) and _are_in(listed, names):
        found = listed
    else:
        found = next((usual for usual in _USUAL if _are_in(usual, names)), None)
        source = f"PEFT lists none for type {built.config.model_type}"
    if found is None:
        return (ALL_LINEAR,), source
    targets: list[str] = []
    for name in found:
        parts = fused.get(name, ())
        targets += [f"{name}.{part}" for part in ("q", "v") if part in parts] or [name]
    return tuple(targets), source


def _are_in(ends: Sequence[str], names: Sequence[str]) -> bool:
    return all(any(name_matches(name, end) for name in names) for end in ends)


def _fused_layers(built: PreTrainedModel) -> dict[str, Sequence[str]]:
    """Return the parts of each fused layer whose outputs are known to be laid out by them."""
    from dylora_exp.models.fused import is_plain

    found: dict[str, Sequence[str]] = {}
    for name, module in built.named_modules():
        last = name.rpartition(".")[2]
        parts = names_of_parts(built.config.model_type, last)
        if parts and last not in found and is_plain(module):
            outputs = int(getattr(module, "nf", 0) or getattr(module, "out_features", 0))
            if layout_of(built.config, name, len(parts), outputs) is not None:
                found[last] = parts
    return found


def _head(built: PreTrainedModel) -> tuple[str, ...]:
    """Return the modules of a classifier that are new: its own, and the pooler of its body.

    Weights of language models have none, and BERT's pooler is a layer of the head.
    """
    body = built.base_model
    own = [
        name
        for name, module in built.named_children()
        if module is not body and any(True for _ in module.parameters())
    ]
    has_pooler = getattr(body, "pooler", None) is not None
    return tuple(dict.fromkeys(["pooler", *own] if has_pooler else own))
