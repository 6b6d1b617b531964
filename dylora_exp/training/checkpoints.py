"""Checkpoints: which one training resumes from, and the marker that says it is complete."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import torch
from peft import PeftModel, set_peft_model_state_dict
from pydantic import ConfigDict, Field, StrictBool, StrictInt, TypeAdapter
from safetensors.torch import load_file, load_model
from torch import nn
from transformers import TrainerState, TrainingArguments

from dylora_exp.core import RequestError, apply_umask, file_sha256, reading, write_atomically
from dylora_exp.methods import TrainedModel
from dylora_exp.training.checkpoint_contents import unusable_file, weights_file
from dylora_exp.training.checkpoint_names import MARKER, NAME, step_of

# Scored before the checkpoint of the same step is saved; a run that resumes keeps them.
_EPOCH_SCORES = "epochs/step-{}/scores.json"
_Count = Annotated[StrictInt, Field(ge=0)]


@dataclass(frozen=True)
class CompletionMarker:
    """The content of the file that is written last into a checkpoint.

    Attributes:
        seconds: The seconds of training so far.
        finished: Whether this was the last step.
        drawn: How often each rank was drawn so far.
        files: The sha256 of each file, by its path from the checkpoint, those of the scores after
            the epochs until then among them. Earlier versions did not write it, nor what follows.
        step: The number of steps before the checkpoint.
        run: The name of the run's folder.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    seconds: Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False)]
    finished: StrictBool
    drawn: dict[Annotated[str, Field(pattern=r"^\d{1,9}$")], _Count] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    step: _Count | None = None
    run: str | None = None


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


def find_resume_point(folder: Path, model: TrainedModel | None = None) -> ResumePoint:
    """Return the newest complete checkpoint, after removing incomplete and damaged ones.

    A checkpoint counts as damaged when a file is missing, is not what was written, or holds what
    training cannot go on from, never because the system cannot read it now.

    Args:
        folder: The run's folder.
        model: The model that is to be trained further, against which files are checked; None
            where that is not asked.

    Raises:
        RequestError: When a file is there and cannot be read, or what is damaged not removed.
    """
    damages: list[str] = []
    found = [each for each in folder.glob("checkpoint-*") if NAME.fullmatch(each.name)]
    for checkpoint in sorted(filter(Path.is_dir, found), key=step_of, reverse=True):
        try:
            marker = _read_verified(checkpoint)
            reason = unusable_file(checkpoint, model) if marker and model else None
            if reason is not None:
                raise _Damaged(reason)
        except _Damaged as damage:
            damages.append(f"{checkpoint} is damaged ({damage})")
        else:
            if marker is not None:
                how = f"resumes from {checkpoint.name}"
                return ResumePoint(checkpoint, marker, [f"{d}; training {how}." for d in damages])
        try:
            shutil.rmtree(checkpoint)
        except OSError as error:
            why = error.strerror or str(error)
            raise RequestError(f"{checkpoint}: cannot be removed ({why}).") from None
    warnings = [f"{damage}; training starts anew." for damage in damages]
    return ResumePoint(None, CompletionMarker(0.0, False), warnings)


def checkpoint_folder(args: TrainingArguments, state: TrainerState) -> Path:
    """Return the folder of the checkpoint that the Trainer saves at the current step."""
    return Path(str(args.output_dir)) / f"checkpoint-{state.global_step}"


def write_marker(checkpoint: Path, seconds: float, finished: bool, drawn: dict[str, int]) -> None:
    """Write the completion marker into a checkpoint to which nothing will be added.

    Args:
        checkpoint: The folder.
        seconds: The seconds of training so far.
        finished: Whether this was the last step.
        drawn: How often each rank was drawn so far.
    """
    apply_umask(checkpoint)
    files = {file.name: file_sha256(file) for file in sorted(checkpoint.iterdir())}
    files.pop(MARKER, None)
    for file in _epoch_scores(checkpoint):
        files[f"../{file}"] = file_sha256(checkpoint.parent / file)
    step, run = step_of(checkpoint), checkpoint.parent.name
    tree = dataclasses.asdict(CompletionMarker(seconds, finished, drawn, files, step, run))
    write_atomically(checkpoint / MARKER, json.dumps(tree | {"sha256": _digest(tree)}))


def epoch_scores_file(folder: Path, step: int) -> Path:
    """Return where the scores after the epoch that ended with a step are kept.

    Args:
        folder: The run's folder.
        step: The number of optimizer steps until then.
    """
    return folder / _EPOCH_SCORES.format(step)


def epoch_scores_files(folder: Path) -> dict[int, Path]:
    """Return the files of scores after epochs by the number of steps until then, ascending."""
    found = folder.glob(_EPOCH_SCORES.format("*"))
    names = {path.parent.name.removeprefix("step-"): path for path in found}
    return {int(step): names[step] for step in sorted(filter(str.isdecimal, names), key=int)}


def _epoch_scores(checkpoint: Path) -> list[str]:
    """Return the files of scores after the epochs before a checkpoint, from the run's folder."""
    files = epoch_scores_files(checkpoint.parent)
    return [
        path.relative_to(checkpoint.parent).as_posix()
        for step, path in files.items()
        if step <= step_of(checkpoint)
    ]


def _digest(tree: Any) -> str:
    return hashlib.sha256(json.dumps(tree, sort_keys=True).encode()).hexdigest()


class _Damaged(Exception):
    """A checkpoint is damaged; the message says how."""


def _read_verified(checkpoint: Path) -> CompletionMarker | None:
    """Return the marker of a checkpoint whose files have the digests that it lists.

    None stands for a checkpoint that was not completed.
    """
    try:
        with reading(checkpoint / MARKER):
            text = (checkpoint / MARKER).read_text(encoding="utf-8")
        tree = json.loads(text)
        digest = tree.pop("sha256", None)
        marker = _marker_schema().validate_python(tree)
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise _Damaged(f"'{MARKER}' cannot be read") from error
    if digest not in (None, _digest(tree)):
        raise _Damaged(f"'{MARKER}' is not what was written")
    if (marker.step, marker.run) not in (
        (None, None),
        (step_of(checkpoint), checkpoint.parent.name),
    ):
        raise _Damaged(f"it is checkpoint-{marker.step} of run {marker.run}")
    if digest is None and marker.finished and not _is_last(checkpoint):
        raise _Damaged(f"'{MARKER}' says that training was finished")
    for name in _epoch_scores(checkpoint):
        if f"../{name}" not in marker.files:
            raise _Damaged(f"'{name}' has no digest")
    for name, digest in marker.files.items():
        try:
            with reading(checkpoint / name):
                intact = file_sha256(checkpoint / name) == digest
        except FileNotFoundError as error:
            raise _Damaged(f"'{name.removeprefix('../')}' is missing") from error
        if not intact:
            raise _Damaged(f"'{name.removeprefix('../')}' is not what was written")
    return marker


@functools.cache
def _marker_schema() -> TypeAdapter[CompletionMarker]:
    return TypeAdapter(CompletionMarker)


def _is_last(checkpoint: Path) -> bool:
    """Return whether the Trainer's own state says that its last step was done."""
    try:
        state = TrainerState.load_from_json(str(checkpoint / "trainer_state.json"))
    except (OSError, ValueError, TypeError):
        return False
    return step_of(checkpoint) == state.global_step >= state.max_steps


def load_weights(model: TrainedModel, checkpoint: Path) -> None:
    """Load the trained weights of a checkpoint into a model, on the accelerator if there is one.

    The Trainer itself would add a step to a training that is finished.
    """
    if isinstance(model, PeftModel):
        set_peft_model_state_dict(model, load_file(checkpoint / weights_file(model)))
    else:
        load_model(model, checkpoint / weights_file(model))
    if (device := torch.accelerator.current_accelerator(check_available=True)) is not None:
        nn.Module.to(model, device)
