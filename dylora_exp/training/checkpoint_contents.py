"""Whether training can go on from what a checkpoint's files hold, found out before it does.

Files may be just what was written, digests and all, and yet be refused by what reads them: by torch
where they hold objects instead of tensors, by the model where names or shapes differ. A training
that began to load such a checkpoint would fail at every retry.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import PeftModel, get_peft_model_state_dict
from safetensors import safe_open
from safetensors.torch import load_file
from transformers import TrainerState
from transformers.trainer_pt_utils import safe_globals

from dylora_exp.core import RequestError, reading
from dylora_exp.methods import TrainedModel

EPOCH_RANDOM_STATE = "epoch_rng.safetensors"
_ADAPTER, _MODEL = "adapter_model.safetensors", "model.safetensors"
_PROGRESS, _OPTIMIZER, _SCHEDULER = "trainer_state.json", "optimizer.pt", "scheduler.pt"
_RANDOM_STATES = "rng_state*.pth"
_OF_ADAMW = {"params", "lr", "betas", "eps", "weight_decay"}
# What the Trainer would load as well, or instead, if it lay in a checkpoint.
_LOADED = (".safetensors", ".bin", ".pt", ".pth", ".index.json")
_BESIDE = {"training_args.bin"}  # written by the Trainer, never read


def weights_file(model: TrainedModel) -> str:
    """Return the name of the file in which a checkpoint keeps the trained weights of a model."""
    return _ADAPTER if isinstance(model, PeftModel) else _MODEL


def unusable_file(checkpoint: Path, model: TrainedModel) -> str | None:
    """Return which file of a checkpoint training cannot go on from, as the end of a sentence.

    Nothing is loaded into the model, and no random state is changed.

    Args:
        checkpoint: The folder.
        model: The model that is to be trained further.

    Raises:
        RequestError: When a file is there and cannot be read now, which says nothing about it.
    """
    random_states = sorted(path.name for path in checkpoint.glob(_RANDOM_STATES))
    checks: list[tuple[str, Callable[[Path], None]]] = [
        (weights_file(model), lambda file: _check_weights(file, model)),
        (_PROGRESS, _check_progress),
        (_OPTIMIZER, lambda file: _check_optimizer(file, model)),
        (_SCHEDULER, _check_scheduler),
        *((name, _check_random_state) for name in random_states or ["rng_state.pth"]),
    ]
    if (checkpoint / EPOCH_RANDOM_STATE).exists():  # earlier versions did not write it
        checks.append((EPOCH_RANDOM_STATE, _check_epoch_state))
    known = {name for name, _ in checks} | _BESIDE
    for entry in sorted(checkpoint.iterdir()):
        if entry.name not in known and (entry.is_dir() or entry.name.endswith(_LOADED)):
            return f"'{entry.name}' is not one of its files"
    for name, check in checks:
        try:
            with reading(checkpoint / name):
                check(checkpoint / name)
        except FileNotFoundError:
            return f"'{name}' is missing"
        except (RequestError, MemoryError, torch.OutOfMemoryError):
            raise
        except Exception as error:  # a file may hold anything
            # Without the words of torch, which advise to run the code in it.
            return f"'{name}' cannot be used ({type(error).__name__})"
    return None


def _check_weights(file: Path, model: TrainedModel) -> None:
    own = get_peft_model_state_dict(model) if isinstance(model, PeftModel) else model.state_dict()
    with safe_open(file, framework="pt") as saved:
        names = saved.keys()
        shapes = {name: tuple(saved.get_slice(name).get_shape()) for name in names}
    if wrong := [name for name in shapes if name not in own or shapes[name] != own[name].shape]:
        raise ValueError(wrong)
    # Of several names of one tensor, safetensors keeps one.
    kept = {own[name].data_ptr() for name in shapes}
    if missing := [name for name in own if name not in shapes and own[name].data_ptr() not in kept]:
        raise ValueError(missing)


def _check_progress(file: Path) -> None:
    state = TrainerState.load_from_json(str(file))
    numbers = (state.global_step, state.max_steps, state.epoch)
    if not all(type(number) in (int, float) for number in numbers):
        raise TypeError(numbers)
    if f"checkpoint-{state.global_step}" != file.parent.name or not isinstance(
        state.log_history, list
    ):
        raise ValueError(state.global_step)


def _check_optimizer(file: Path, model: TrainedModel) -> None:
    saved = _load(file)
    trained = sum(each.numel() for each in model.parameters() if each.requires_grad)
    indices = [index for group in saved["param_groups"] for index in group["params"]]
    if any(not group.keys() >= _OF_ADAMW for group in saved["param_groups"]) or not indices:
        raise ValueError(_OPTIMIZER)
    # The moments of a parameter that had no gradient yet are not there.
    moments = [(state["exp_avg"], state["exp_avg_sq"]) for state in saved["state"].values()]
    if not set(saved["state"]) <= set(indices) or any(a.shape != b.shape for a, b in moments):
        raise ValueError(_OPTIMIZER)
    if sum(average.numel() for average, _ in moments) > trained:
        raise ValueError(_OPTIMIZER)


def _check_scheduler(file: Path) -> None:
    saved = _load(file)
    if not isinstance(saved["last_epoch"], int) or not saved["base_lrs"]:
        raise ValueError(_SCHEDULER)


def _check_random_state(file: Path) -> None:
    with safe_globals():
        saved = _load(file)
    random.Random().setstate(saved["python"])
    np.random.RandomState().set_state(saved["numpy"])
    torch.Generator().set_state(saved["cpu"])


def _check_epoch_state(file: Path) -> None:
    torch.Generator().set_state(load_file(file)["state"])


def _load(file: Path) -> Any:
    return torch.load(file, map_location="cpu", weights_only=True)
