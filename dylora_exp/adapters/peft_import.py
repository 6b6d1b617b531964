"""A LoRA that PEFT saved, put on its base: as PEFT would load it, with every mismatch named.

The layers keep the ranks and the scales that the adapter gives them; its values are read in single
precision, as PEFT reads them on a base in single precision.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from dylora_exp.adapters.peft_folder import PREFIX, PeftFolder
from dylora_exp.config import Config
from dylora_exp.core import RequestError, name_first
from dylora_exp.models import name_matches

if TYPE_CHECKING:
    from peft import PeftModel
    from torch import nn
    from transformers import PreTrainedModel

_SAVED = ".modules_to_save.default"


def saved_modules(source: PeftFolder) -> list[str]:
    """Return which of ``modules_to_save`` the adapter holds, sorted.

    Raises:
        RequestError: When it holds tensors of other modules: embeddings of a changed vocabulary.
    """
    found, others = set(), []
    for key in source.others:
        module = _module_of(key, source.settings.modules_to_save or [])
        if module is None:
            others.append(key)
        else:
            found.add(module)
    if others:
        raise RequestError(
            f"{source.weights}: {name_first(others)} belongs to no module of modules_to_save, as "
            "embeddings do whose vocabulary was changed; merge the adapter into its base instead "
            "(PEFT's merge_and_unload)."
        )
    return sorted(found)


def check_peft_folder(source: PeftFolder, config: Config) -> None:
    """Refuse an adapter that is damaged, or for another kind of task or another base.

    The base is not loaded for it; one that is not on this machine is left to when it is.

    Raises:
        RequestError: With all problems.
    """
    from dylora_exp.models import skeleton

    kind, needed = source.settings.task_type, config.task.peft_task_type
    if kind is not None and kind != needed:
        raise RequestError(
            f"{source.path}: it was trained for {kind}, task '{config.task.name}' is {needed}; "
            "choose another task."
        )
    if source.settings.layer_replication:
        raise RequestError(
            f"{source.path}: layer_replication: found {source.settings.layer_replication}, "
            "expected none, since it is of a base with more layers; merge it into that "
            "(PEFT's merge_and_unload)."
        )
    source.check_values()
    backbone = skeleton(config.model, config.task.number_of_outputs, config.hub_cache)
    if backbone is not None:
        _check_layers(backbone, source, config.model.name)
        weights = backbone.state_dict(keep_vars=True)
        modules = saved_modules(source)
        saved = {PREFIX + name: each for name, each in weights.items() if _module_of(name, modules)}
        _check_saved(source, saved, config)
        _check_labels(backbone, config)


def attach_peft_folder(backbone: PreTrainedModel, source: PeftFolder, config: Config) -> PeftModel:
    """Add the adapters of a folder to a backbone, without their values yet.

    Raises:
        RequestError: When the adapter's layers are not those of the backbone, with all problems.
    """
    from peft import LoraConfig, get_peft_model

    from dylora_exp.adapters.attach import train_head_in_single_precision
    from dylora_exp.adapters.layers import lora_layers
    from dylora_exp.core import first_line
    from dylora_exp.models import has_transposed_weights

    _check_layers(backbone, source, config.model.name)
    lora = LoraConfig.from_pretrained(str(source.path))
    assert isinstance(lora, LoraConfig)
    lora.inference_mode = False
    lora.init_lora_weights = True  # values of its own are about to come
    lora.fan_in_fan_out = has_transposed_weights(backbone, list(source.layers))
    try:
        model = get_peft_model(backbone, lora)
    except ValueError as error:
        raise RequestError(f"method.adapter: PEFT refuses it: {first_line(error)}") from error
    names = {module: name for name, module in model.named_modules()}
    adapted = {names[layer].removeprefix(PREFIX) for layer in lora_layers(model)}
    if more := adapted - set(source.layers):
        raise RequestError(
            f"method.adapter: target_modules names {name_first(more)} of model "
            f"'{config.model.name}', too, for which '{source.weights}' has no factors."
        )
    if less := set(source.layers) - adapted:
        raise RequestError(
            f"method.adapter: target_modules does not name {name_first(less)}, for which "
            f"'{source.weights}' has factors."
        )
    train_head_in_single_precision(model)
    return model


def import_peft_folder(model: PeftModel, source: PeftFolder, config: Config) -> list[str]:
    """Copy the values of a folder into a model and return warnings.

    Args:
        model: What ``attach_peft_folder`` returned.
        source: The adapter.
        config: The run's.

    Raises:
        RequestError: When a saved module does not fit, or the labels are in another order.
    """
    import torch

    from dylora_exp.adapters.layers import factors, lora_layers

    names = {module: name for name, module in model.named_modules()}
    saved = {
        name.replace(_SAVED, ""): parameter
        for name, parameter in model.state_dict(keep_vars=True).items()
        if _SAVED in name
    }
    _check_saved(source, saved, config)
    _check_labels(model, config)
    with torch.no_grad():
        for layer in lora_layers(model):
            values = source.factors(names[layer].removeprefix(PREFIX))
            for parameter, value in zip(factors(layer), values, strict=True):
                parameter.copy_(value)
        for key in source.others:
            saved[key].copy_(source.tensor(key))
    # Training would have moved it there.
    if torch.accelerator.is_available():
        model.to(torch.accelerator.current_accelerator())
    return _warnings(source, saved, config)


def _check_layers(backbone: PreTrainedModel, source: PeftFolder, base: str) -> None:
    """Refuse layers that the base does not have, or that have other sizes or types there."""
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    modules = dict(backbone.named_modules())
    missing, others, sizes = [], [], []
    for name, layer in source.layers.items():
        module = modules.get(name)
        if module is None:
            missing.append(name)
        elif not isinstance(module, nn.Linear | Conv1D):
            others.append(f"'{name}' is of type {type(module).__name__} there")
        elif (found := _size(module)) != (layer.d_in, layer.d_out):
            sizes.append(
                f"'{name}' maps {layer.d_in} to {layer.d_out} in the adapter and "
                f"{found[0]} to {found[1]} in the model"
            )
    problems = []
    if missing:
        problems.append(f"the model has no {name_first(missing)}")
    if others:
        problems.append(f"{_first(others)}, only linear layers can be shown at every rank")
    if sizes:
        problems.append(_first(sizes))
    if problems:
        raise RequestError(
            f"method.adapter: it was trained on another base than model '{base}': {problem}."
            for problem in problems
        )


def _size(module: Any) -> tuple[int, int]:
    """Return the numbers of inputs and outputs of a Linear or a Conv1D."""
    if hasattr(module, "nx"):
        return module.nx, module.nf
    return module.in_features, module.out_features


def _first(sentences: list[str]) -> str:
    more = f" (and {len(sentences) - 1} more)" if len(sentences) > 1 else ""
    return sentences[0] + more


def _check_saved(source: PeftFolder, saved: dict[str, nn.Parameter], config: Config) -> None:
    """Refuse saved modules that the model does not have, in whole or in part, or of other sizes."""
    problems = []
    if missing := set(source.others) - set(saved):
        problems.append(
            f"its saved {name_first(_short(missing))} is of no module of model "
            f"'{config.model.name}' for task '{config.task.name}'."
        )
    modules = saved_modules(source)
    parts = {key for key in saved if _module_of(key, modules)}
    if absent := parts - set(source.others):
        problems.append(f"{name_first(_short(absent))} is missing among its saved modules.")
    outputs = config.task.number_of_outputs
    for key in sorted(set(source.others) & set(saved)):
        found, expected = tuple(source.tensor(key).shape), tuple(saved[key].shape)
        if found != expected:
            labels = "" if outputs is None else f", task '{config.task.name}' has {outputs} outputs"
            problems.append(
                f"its saved '{key.removeprefix(PREFIX)}' has shape {found}, expected "
                f"{expected}{labels}."
            )
            break
    if problems:
        raise RequestError(f"method.adapter: {problem}" for problem in problems)


def _short(keys: Iterable[str]) -> list[str]:
    return [key.removeprefix(PREFIX) for key in keys]


def _module_of(key: str, modules: list[str]) -> str | None:
    parts = key.removeprefix(PREFIX).split(".")
    paths = [".".join(parts[:end]) for end in range(1, len(parts))]
    return next((n for n in modules if any(name_matches(p, n) for p in paths)), None)


def _check_labels(model: PreTrainedModel | PeftModel, config: Config) -> None:
    """Refuse a base that names the task's labels in another order: every score would be wrong."""
    labels = config.task.labels
    named = getattr(model.config, "id2label", None) or {}
    found = [str(named.get(index, named.get(str(index), ""))) for index in range(len(labels))]
    lower, expected = [name.lower() for name in found], [name.lower() for name in labels]
    if labels and lower != expected and sorted(lower) == sorted(expected):
        raise RequestError(
            f"method.adapter: its base has the labels in the order {', '.join(found)}, task "
            f"'{config.task.name}' has {', '.join(labels)}; give "
            f"task.labels=[{','.join(found)}]."
        )


def _warnings(source: PeftFolder, saved: dict[str, nn.Parameter], config: Config) -> list[str]:
    """Return what one has to know about the scores."""
    found = []
    missing = set(config.model.head) - set(saved_modules(source))
    if missing and config.task.trains_head:
        found.append(
            f"method.adapter: {name_first(missing)} is not in '{source.path}' and stays as its "
            "base has it, untrained where that has none."
        )
    noted = source.settings.base_model_name_or_path
    names = [config.model.name, config.model.name_or_path]
    ends = {name.rstrip("/").rpartition("/")[2].lower() for name in names}
    if noted and noted.rstrip("/").rpartition("/")[2].lower() not in ends:
        found.append(
            f"method.adapter: it names '{noted}' as its base, the model is '{config.model.name}'."
        )
    return found
