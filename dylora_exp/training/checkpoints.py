"""Checkpoints: which one training resumes from, and the marker that says it is complete."""

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
from torch import nn
from transformers import TrainerState, TrainingArguments

from dylora_exp.core import file_sha256, write_atomically
from dylora_exp.methods import TrainedModel

_MARKER = "complete.json"
_NAME = re.compile(r"checkpoint-\d+")


@dataclass(frozen=True)
class CompletionMarker:
    """The content of the file that is written last into a checkpoint.

    Attributes:
        seconds: The seconds of training so far.
        finished: Whether this was the last step.
        drawn: How often each rank was drawn so far.
        files: The sha256 of each file, by name. Earlier versions did not write it.
    """

    seconds: float
    finished: bool
    drawn: dict[str, int] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ResumePoint:
    """Where training resumes.

    Attributes:
        checkpoint: The folder of the checkpoint; None when training starts from the beginning.
        marker: Its completion marker.
        warnings: A sentence for each newer checkpoint that was damaged.
    """

    checkpoint: Path | None
    marker: CompletionMarker
    warnings: list[str]


def find_resume_point(folder: Path) -> ResumePoint:
    """Return the newest complete checkpoint of a run; remove newer ones that are not complete."""
    damages: list[str] = []
    found = [each for each in folder.glob("checkpoint-*") if _NAME.fullmatch(each.name)]
    for checkpoint in sorted(filter(Path.is_dir, found), key=step_of, reverse=True):
        if (checkpoint / _MARKER).is_file():
            try:
                marker = _read_verified(checkpoint)
            except _Damaged as damage:
                damages.append(f"{checkpoint} is damaged ({damage})")
            else:
                how = f"resumes from {checkpoint.name}"
                return ResumePoint(checkpoint, marker, [f"{d}; training {how}." for d in damages])
        shutil.rmtree(checkpoint)
    warnings = [f"{damage}; training starts anew." for damage in damages]
    return ResumePoint(None, CompletionMarker(0.0, False), warnings)


def checkpoint_folder(args: TrainingArguments, state: TrainerState) -> Path:
    """Return the folder of the checkpoint that the Trainer saves at the current step."""
    return Path(str(args.output_dir)) / f"checkpoint-{state.global_step}"


def step_of(checkpoint: Path) -> int:
    """Return the number of optimizer steps before a checkpoint."""
    return int(checkpoint.name.rpartition("-")[2])


def write_marker(checkpoint: Path, seconds: float, finished: bool, drawn: dict[str, int]) -> None:
    """Write the completion marker into a checkpoint to which nothing will be added."""
    files = {file.name: file_sha256(file) for file in sorted(checkpoint.iterdir())}
    files.pop(_MARKER, None)
    marker = CompletionMarker(seconds, finished, drawn, files)
    write_atomically(checkpoint / _MARKER, json.dumps(dataclasses.asdict(marker)))


class _Damaged(Exception):
    """A checkpoint is damaged; the message says how."""


def _read_verified(checkpoint: Path) -> CompletionMarker:
    """Return the marker of a checkpoint whose files have the digests that it lists."""
    try:
        marker = CompletionMarker(**json.loads((checkpoint / _MARKER).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise _Damaged(f"'{_MARKER}' cannot be read") from error
    for name, digest in marker.files.items():
        try:
            intact = file_sha256(checkpoint / name) == digest
        except FileNotFoundError as error:
            raise _Damaged(f"'{name}' is missing") from error
        except OSError as error:
            raise _Damaged(f"'{name}' cannot be read") from error
        if not intact:
            raise _Damaged(f"'{name}' is not what was written")
    return marker


def load_weights(model: TrainedModel, checkpoint: Path) -> None:
    """Load the trained weights of a checkpoint into a model, on the accelerator if there is one.

    The Trainer itself would add a step to a training that is finished.
    """
    if isinstance(model, PeftModel):
        weights = load_file(checkpoint / "adapter_model.safetensors")
        set_peft_model_state_dict(model, weights)
    else:
        load_model(model, checkpoint / "model.safetensors")
    if (device := torch.accelerator.current_accelerator(check_available=True)) is not None:
        nn.Module.to(model, device)
