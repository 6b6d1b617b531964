"""Checkpoints: which one to go on from, whether it is whole, and the seal that says so."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import torch
from peft import PeftModel, set_peft_model_state_dict
from safetensors.torch import load_file, load_model

from dylora_exp.core import file_sha256, write_atomically
from dylora_exp.methods import TrainedModel

_MARKER = "complete.json"
_NAME = re.compile(r"checkpoint-\d+")


@dataclass(frozen=True)
class CompletionMarker:
    """Written into a checkpoint when it is complete.

    Attributes:
        seconds: Of training so far.
        finished: Whether training was over.
        drawn: How often each rank was drawn so far.
        files: The sha256 of each file. Earlier versions did not note it.
    """

    seconds: float
    finished: bool
    drawn: dict[str, int] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ResumePoint:
    """Where training goes on: no checkpoint when it starts anew.

    Attributes:
        checkpoint: The folder.
        seal: Its seal.
        warnings: A sentence for each newer checkpoint that was damaged.
    """

    checkpoint: Path | None
    marker: CompletionMarker
    warnings: list[str]


def find_resume_point(folder: Path) -> ResumePoint:
    """Return the newest whole checkpoint, and remove those that a kill or a disk has spoilt."""
    warnings: list[str] = []
    found = [each for each in folder.glob("checkpoint-*") if _NAME.fullmatch(each.name)]
    for checkpoint in sorted(filter(Path.is_dir, found), key=step_of, reverse=True):
        if (checkpoint / _MARKER).is_file():
            try:
                marker = _verified_marker(checkpoint)
            except _Damaged as damage:
                shutil.rmtree(checkpoint)
                warnings.append(f"{checkpoint} is damaged ({damage})")
                continue
            return ResumePoint(
                checkpoint, marker, _ended(warnings, f"goes on from {checkpoint.name}")
            )
        shutil.rmtree(checkpoint)
    return ResumePoint(None, CompletionMarker(0.0, False), _ended(warnings, "starts anew"))


def _ended(warnings: list[str], how: str) -> list[str]:
    return [f"{warning}; training {how}." for warning in warnings]


def step_of(checkpoint: Path) -> int:
    """Return the number of optimizer steps that a checkpoint is made after."""
    return int(checkpoint.name.rpartition("-")[2])


def write_marker(checkpoint: Path, seconds: float, finished: bool, drawn: dict[str, int]) -> None:
    """Seal a checkpoint to which nothing will be added."""
    files = {file.name: file_sha256(file) for file in sorted(checkpoint.iterdir())}
    files.pop(_MARKER, None)
    marker = CompletionMarker(seconds, finished, drawn, files)
    write_atomically(checkpoint / _MARKER, json.dumps(dataclasses.asdict(marker)))


class _Damaged(Exception):
    """What is wrong with a checkpoint."""


def _verified_marker(checkpoint: Path) -> CompletionMarker:
    try:
        marker = CompletionMarker(**json.loads((checkpoint / _MARKER).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise _Damaged(f"'{_MARKER}' cannot be read") from error
    for name, digest in marker.files.items():
        try:
            same = file_sha256(checkpoint / name) == digest
        except FileNotFoundError as error:
            raise _Damaged(f"'{name}' is missing") from error
        except OSError as error:
            raise _Damaged(f"'{name}' cannot be read") from error
        if not same:
            raise _Damaged(f"'{name}' is not what was written")
    return marker


def restore(model: TrainedModel, checkpoint: Path) -> None:
    """Load the weights alone: the Trainer would add a step to a training that is finished."""
    if isinstance(model, PeftModel):
        weights = load_file(checkpoint / "adapter_model.safetensors")
        set_peft_model_state_dict(model, weights)
    else:
        load_model(model, checkpoint / "model.safetensors")
    if torch.accelerator.is_available():
        model.to(torch.accelerator.current_accelerator())
