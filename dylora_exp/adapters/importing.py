"""Import of adapters saved by the released LoRA and DyLoRA code, to be scored and exported.

Their state dicts hold a layer's factors as ``<layer>.lora_A`` (r, d_in) and ``<layer>.lora_B``
(d_out, r). Where one layer computes several projections (loralib's ``MergedLinear``, on GPT-2's
``c_attn``), the factors of those that are adapted follow one another: (n r, d_in), (n d_out, r).
The base's own weights are not read: loralib adds the product to them when it saves after scoring.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Mapping, Sequence

import torch
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from safetensors.torch import load_file
from torch import Tensor, nn

from dylora_exp.adapters.layers import factors, lora_layers
from dylora_exp.adapters.peft_folder import SETTINGS
from dylora_exp.config import Config
from dylora_exp.core import RequestError, expand_user, name_first
from dylora_exp.models import fused_part, name_matches

_A, _B = ".lora_A", ".lora_B"
# Under these names training scripts save a state dict beside other things.
_WRAPPERS = ("model_state_dict", "state_dict")


def import_problems(file: str) -> list[str]:
    """Return what is wrong with the file itself."""
    try:
        _read(file)
    except RequestError as error:
        return error.problems
    return []


@torch.no_grad()
def import_adapter(model: PeftModel, config: Config, file: str) -> list[str]:
    """Copy the factors of a file, and its head where it has one, into a model.

    Args:
        model: With adapters at rank r_max.
        config: The run's.
        file: A released state dict.

    Returns:
        Warnings: that the file has no head.

    Raises:
        RequestError: When the file and the adapted layers do not match, with all problems.
    """
    tensors = _read(file)
    layers = _layers(model, config)
    prefix = _prefix(tensors, layers)
    head = {prefix + name: parameter for name, parameter in _head(model).items()}
    in_file = {name: parameter for name, parameter in head.items() if name in tensors}
    if found := _mismatches(tensors, _shapes(layers, prefix), head if in_file else {}):
        raise RequestError(found)
    for name, members in layers.items():
        rows = tensors[prefix + name + _A].chunk(len(members))
        # Parts may differ in their outputs.
        columns = tensors[prefix + name + _B].split([len(factors(each)[1]) for each in members])
        for layer, new_a, new_b in zip(members, rows, columns, strict=True):
            a, b = factors(layer)
            a.copy_(new_a)
            b.copy_(new_b)
    for name, parameter in in_file.items():
        parameter.copy_(tensors[name])
    # Training would have moved it there.
    if torch.accelerator.is_available():
        model.to(torch.accelerator.current_accelerator())
    if in_file or not head:
        return []
    return [f"method.adapter: the head is not in '{file}' and stays untrained."]


def _read(name: str) -> dict[str, Tensor]:
    """Return the tensors of a file by name."""
    file = expand_user(name)
    if file.is_dir() and (file / SETTINGS).exists():
        raise RequestError(
            f"method.adapter: PEFT saved '{name}', which method=imported scores and exports."
        )
    if not name or file.is_dir():
        raise RequestError(f"method.adapter: found '{name}', expected a file.")
    if not file.is_file():
        raise RequestError(f"method.adapter: there is no file '{file}'.")
    try:
        if file.suffix == ".safetensors":
            tree: object = load_file(file)
        else:
            with warnings.catch_warnings(action="ignore"):  # a remark on the file's age
                tree = torch.load(file, map_location="cpu", weights_only=True)
    except Exception:  # whatever the bytes lead the readers to
        raise RequestError(
            f"method.adapter: '{file}' is damaged or holds more than tensors (it would need "
            "pickle), expected a state dict saved by torch.save or safetensors."
        ) from None
    if isinstance(tree, Mapping):
        tree = next((tree[key] for key in _WRAPPERS if isinstance(tree.get(key), Mapping)), tree)
        tensors = {str(key): value for key, value in tree.items() if isinstance(value, Tensor)}
        broken = [key for key, value in tensors.items() if not value.isfinite().all()]
        if broken:
            raise RequestError(
                f"method.adapter: '{broken[0]}' in '{file}' holds other values than finite "
                "numbers; was its training stable? Save it from a training that was."
            )
        if tensors:
            return tensors
    raise RequestError(f"method.adapter: '{file}' is not a state dict.")


def _layers(model: PeftModel, config: Config) -> dict[str, list[LoraLayer]]:
    """Return the adapted layers by their names in the stock model, several where it has one."""
    adapted = set(lora_layers(model))
    layers: dict[str, list[LoraLayer]] = {}
    for name, module in model.named_modules():
        if module in adapted:
            stock = name.removeprefix("base_model.model.")
            part = fused_part(stock, config.model.fused)
            layers.setdefault(part.layer if part else stock, []).append(module)
    return layers


def _head(model: PeftModel) -> dict[str, nn.Parameter]:
    """Return the parameters of the trained head by their names in the stock model."""
    trained = ".modules_to_save.default"
    return {
        name.removeprefix("base_model.model.").replace(trained, ""): parameter
        for name, parameter in model.named_parameters()
        if trained in name
    }


def _prefix(tensors: Mapping[str, Tensor], layers: Mapping[str, Sequence[LoraLayer]]) -> str:
    """Return the prefix of the layers' names in a file, such as a wrapper's ``module.``."""
    found = Counter(
        key.removesuffix(_A).removesuffix(layer)
        for key in tensors
        for layer in layers
        if key.endswith(_A) and name_matches(key.removesuffix(_A), layer)
    )
    return max(found, key=lambda prefix: found[prefix], default="")


def _shapes(layers: Mapping[str, Sequence[LoraLayer]], prefix: str) -> dict[str, tuple[int, int]]:
    """Return the shapes of the factors that a file must hold."""
    shapes = {}
    for name, members in layers.items():
        a, b = factors(members[0])
        outputs = sum(len(factors(each)[1]) for each in members)
        shapes[prefix + name + _A] = (len(members) * a.shape[0], a.shape[1])
        shapes[prefix + name + _B] = (outputs, b.shape[1])
    return shapes


def _mismatches(
    tensors: Mapping[str, Tensor],
    shapes: Mapping[str, tuple[int, int]],
    head: Mapping[str, nn.Parameter],
) -> list[str]:
    """Return sentences for tensors that are missing, belong nowhere, or have another shape."""
    found = []
    if missing := set(shapes) - set(tensors):
        found.append(f"{name_first(missing)} is missing in the file.")
    if extra := {key for key in tensors if "lora_" in key} - set(shapes):
        found.append(f"{name_first(extra)} belongs to no layer of model.targets.")
    if missing := set(head) - set(tensors):
        found.append(f"{name_first(missing)} of the head is missing in the file.")
    ranks = {
        (tensors[name].shape[1], r_max)
        for name, (_, r_max) in shapes.items()
        if name.endswith(_B) and name in tensors and tensors[name].dim() == 2
    }
    if wrong := [pair for pair in sorted(ranks) if pair[0] != pair[1]]:
        found += [f"found r={r}, ranks.r_max is {r_max}." for r, r_max in wrong]
    else:
        expected = {**shapes} | {name: tuple(value.shape) for name, value in head.items()}
        found += [
            f"'{name}' has shape {tuple(tensors[name].shape)}, expected {shape}."
            for name, shape in expected.items()
            if name in tensors and tuple(tensors[name].shape) != shape
        ]
    return [f"method.adapter: {sentence}" for sentence in found]
