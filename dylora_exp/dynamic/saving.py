"""One rank of a PEFT LoRA as a plain PEFT adapter."""

from __future__ import annotations

import copy
import math
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from peft import LoraConfig, get_peft_model_state_dict
from peft.utils import SAFETENSORS_WEIGHTS_NAME
from safetensors.torch import save_file
from torch import Tensor, nn

from dylora_exp import adapters
from dylora_exp.config import Scale, Truncation, plain_alpha
from dylora_exp.core import RequestError, apply_umask, check_writable, expand_user, is_main_process
from dylora_exp.dynamic.adapter import Adapter, check_rank, check_truncation, find_adapter
from dylora_exp.dynamic.inference import scale_of

_A_KEY, _B_KEY = ".lora_A.weight", ".lora_B.weight"
# Starts that change the base's weights as well (the first part of init_lora_weights).
_CHANGES_BASE = {"pissa", "olora", "corda", "loftq", "lora_ga"}


def save_rank(
    model: nn.Module,
    rank: int,
    folder: str | os.PathLike[str],
    truncation: Truncation = "leading",
    scale: Scale | None = None,
) -> Path:
    """Write one rank of the LoRA of a PeftModel as a plain PEFT adapter, and return its folder.

    ``PeftModel.from_pretrained(base, folder)`` computes what ``set_rank(model, rank)`` does,
    without this project. Modules that were trained beside the adapter are kept::

        save_rank(model, 2, "adapter-r2")

    Args:
        model: A PeftModel with one active LoRA adapter on linear layers, of one rank r.
        rank: 1..r.
        folder: A folder that is empty or not there yet; it appears complete or not at all.
        truncation: As in ``at_rank``.
        scale: As in ``at_rank``.

    Raises:
        RequestError: When the model's adapter has no ranks to choose or belongs to changed weights
            of the base, an argument is wrong, or the folder is in use or cannot be written.
    """
    adapter = find_adapter(model)
    rank, truncation = check_rank(rank, adapter.r), check_truncation(truncation)
    scale = scale_of(adapter, scale, truncation)
    start = str(adapter.config.init_lora_weights).partition("_niter_")[0]
    if start in _CHANGES_BASE:
        raise RequestError(
            f"model: adapter '{adapter.name}' began with init_lora_weights='{start}', which "
            "changed the base's weights as well; a lower rank of it belongs to no base that can be "
            "loaded."
        )
    target = expand_user(folder).resolve()
    _check_target(target)
    if is_main_process():
        tensors = _cut_tensors(adapter, rank, truncation)
        settings = _settings(adapter, rank, scale)
        with _complete_or_absent(target) as unfinished:
            settings.save_pretrained(str(unfinished), auto_mapping_dict=_auto_mapping(adapter))
            file = unfinished / SAFETENSORS_WEIGHTS_NAME
            save_file(tensors, file, metadata={"format": "pt"})
    return target


def _cut_tensors(adapter: Adapter, rank: int, truncation: Truncation) -> dict[str, Tensor]:
    """Return the tensors of the adapter's file, the factors cut, others as they are.

    One factor serves all layers; where theirs differ, it is in B.
    """
    state = get_peft_model_state_dict(adapter.model, adapter_name=adapter.name)
    tensors = {name: value.detach().cpu() for name, value in state.items()}
    largest = _largest_factor(adapter)
    factors = {layer: layer.scaling[adapter.name] for layer in adapter.layers}
    names = {module: name for name, module in adapter.model.named_modules()}
    for layer, factor in factors.items():
        a_key, b_key = names[layer] + _A_KEY, names[layer] + _B_KEY
        a, b = adapters.truncate(tensors[a_key], tensors[b_key], rank, truncation)
        tensors[a_key], tensors[b_key] = a, b if factor == largest else b * (factor / largest)
    return {name: value.clone().contiguous() for name, value in tensors.items()}


def _settings(adapter: Adapter, rank: int, scale: Scale) -> LoraConfig:
    """Return PEFT's settings of a plain LoRA of a rank, with the factor of the product."""
    settings, numerator = copy.deepcopy(adapter.config), _largest_factor(adapter) * adapter.r
    alpha = plain_alpha(numerator, scale, rank, adapter.r, bool(settings.use_rslora))
    settings.r = rank
    whole = math.isclose(alpha, round(alpha), rel_tol=1e-12)
    settings.lora_alpha = round(alpha) if whole else alpha  # type: ignore[assignment]
    settings.rank_pattern, settings.alpha_pattern = {}, {}
    settings.use_rslora, settings.init_lora_weights = False, True
    settings.inference_mode = True
    if not settings.base_model_name_or_path:
        name = getattr(adapter.model.get_base_model(), "name_or_path", None)
        settings.base_model_name_or_path = name or None
    return settings


def _largest_factor(adapter: Adapter) -> float:
    """Return the largest factor of a layer's product, alpha/r where PEFT's settings say no more."""
    return float(max((layer.scaling[adapter.name] for layer in adapter.layers), key=abs))


def _auto_mapping(adapter: Adapter) -> dict[str, Any] | None:
    """Return which class loads the base, where the adapter has no task type, as PEFT notes it."""
    if adapter.config.task_type is not None:
        return None
    base = type(adapter.model.get_base_model())
    return {"base_model_class": base.__name__, "parent_library": base.__module__}


def _check_target(target: Path) -> None:
    if target.exists() and not target.is_dir():
        raise RequestError(f"folder: '{target}' is a file, expected a folder.")
    if target.exists() and (any(target.iterdir()) or target.samefile(Path.cwd())):
        raise RequestError(f"folder: '{target}' is in use; choose another.")


@contextmanager
def _complete_or_absent(target: Path) -> Iterator[Path]:
    """Yield an empty folder that becomes the target, unless something goes wrong."""
    check_writable(target.parent)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        written = unfinished / "adapter"
        written.mkdir()
        yield written
        apply_umask(written)
        written.replace(target)
    except OSError as error:
        reason = error.strerror or str(error)
        raise RequestError(f"folder: '{target}' cannot be written ({reason}).") from None
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
