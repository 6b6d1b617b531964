"""The story of a run: config in, record out.

Heavy libraries are imported where the work starts, so that a run that is already done, or a wrong
request, is answered at once.
"""

from __future__ import annotations

import datetime
import json
import shutil
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dylora_exp.config import Config
from dylora_exp.errors import RequestError
from dylora_exp.identity import identity, run_id
from dylora_exp.records import Record, RecordStore, check_writable, write_atomically

if TYPE_CHECKING:
    from dylora_exp.tasks.base import TaskData


class RunFailed(Exception):
    """The work of a run failed; its record says so. The message is one sentence."""


@dataclass(frozen=True)
class Outcome:
    """A run's record, where it lies, whether it was made just now, and what to tell the user."""

    record: Record
    path: Path
    fresh: bool
    warnings: list[str]


def execute(config: Config) -> Outcome:
    """Train once, score every rank, leave a record; do nothing where the record is complete.

    Raises:
        RequestError: When the request is wrong; nothing is written then.
        RunFailed: When the work fails; a record with status ``failed`` is left.
    """
    name = run_id(config)
    store = RecordStore(config.results_dir)
    done = store.read(name)
    if done is not None and done.status == "completed":
        _check_same_data(config, done, store.path(name))
        return Outcome(done, store.path(name), False, [])

    data = preflight(config)
    folder = Path(config.outputs_dir) / name
    try:
        record = _work(config, data, folder)
    except RequestError:
        raise
    except Exception as error:
        write_atomically(folder / "error.log", traceback.format_exc())
        sentence = _sentence(error)
        store.write(_record(config, "failed", error=sentence, data=data.sources))
        raise RunFailed(f"{sentence} (traceback: {folder / 'error.log'})") from error
    path = store.write(record)
    _remove_checkpoints(folder)
    return Outcome(record, path, True, data.warnings)


def preflight(config: Config) -> TaskData:
    """Check everything that can be checked before training, and read the data.

    Raises:
        RequestError: With all problems at once.
    """
    problems = []
    for folder in (RecordStore(config.results_dir).folder, Path(config.outputs_dir)):
        try:
            check_writable(folder)
        except RequestError as error:
            problems += error.problems
    try:
        data = check(config)
    except RequestError as error:
        problems += error.problems
    if problems:
        raise RequestError(problems)
    assert data is not None
    return data


def check(config: Config, fetch: bool = True) -> TaskData | None:
    """Check the model, the tracker and the data without writing anything.

    Args:
        config: A config that passed the schema.
        fetch: Whether data may be fetched from the hub for it.

    Returns:
        The data, unless they would have to be fetched and must not be.

    Raises:
        RequestError: With all problems at once.
    """
    from dylora_exp import tracking
    from dylora_exp.models import backbone
    from dylora_exp.tasks import base as tasks

    data = None
    problems = backbone.problems(config) + tracking.problems(config)
    try:
        if fetch or not tasks.needs_hub(config.task):
            data = tasks.read(config.task)
    except RequestError as error:
        problems += error.problems
    if problems:
        raise RequestError(problems)
    return data


def _work(config: Config, data: TaskData, folder: Path) -> Record:
    import torch
    from transformers import set_seed

    from dylora_exp.batches import Collator, tokenize
    from dylora_exp.environment import (
        environment,
        peak_memory,
        quiet_libraries,
        reset_peak_memory,
    )
    from dylora_exp.methods.base import count_parameters, make_method
    from dylora_exp.models.backbone import load, longest_input
    from dylora_exp.sweep import sweep
    from dylora_exp.tracking import tracking
    from dylora_exp.training import train

    quiet_libraries()
    reset_peak_memory()
    made_with = environment()
    if config.trainer.threads is not None:
        torch.set_num_threads(config.trainer.threads)

    set_seed(config.seed)
    backbone, tokenizer = load(config.model, labels=len(config.task.labels) or 1)
    method = make_method(config)
    model = method.attach(backbone)
    max_length = min(config.task.max_length, longest_input(backbone))
    collator = Collator(tokenizer, regression=not config.task.labels)

    _prepare_folder(folder, config, data)
    with tracking(config, folder) as tracker:
        examples = tokenize(data.train, tokenizer, max_length)
        trained = train(model, examples, collator, method, folder)
        scores = sweep(model, tokenize(data.eval, tokenizer, max_length), collator, method)
        model.save_pretrained(folder / "model")
        record = _record(
            config,
            "completed",
            data=data.sources,
            ranks=scores,
            parameters=count_parameters(model),
            timing={
                "train_seconds": trained.seconds,
                "sweep_seconds": sum(entry.seconds for entry in scores),
                "steps": trained.steps,
            },
            memory=peak_memory(),
            environment=made_with,
        )
        tracker.log(record)
    return record


def _record(config: Config, status: str, **parts: Any) -> Record:
    return Record(
        run_id=run_id(config),
        status=status,
        config=identity(config),
        model=config.model.name,
        task=config.task.name,
        method=config.method.name,
        profile=config.profile,
        seed=config.seed,
        created_at=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        **parts,
    )


def _check_same_data(config: Config, record: Record, path: Path) -> None:
    """A record made from other files is not this run's, though their configs are the same."""
    if config.task.data_dir is None or config.task.reader != "glue":
        return
    from dylora_exp.tasks.glue import checksums

    before = {source.get("file"): source.get("sha256") for source in record.data}
    for file, digest in checksums(config.task).items():
        if file in before and before[file] != digest:
            raise RequestError(
                f"task.data_dir: '{file}' in '{config.task.data_dir}' is not the file that "
                f"{path} was made from; choose another results_dir or remove that record."
            )


def _prepare_folder(folder: Path, config: Config, data: TaskData) -> None:
    """Note what the folder's checkpoints are made from, dropping those made from other data."""
    note = folder / "run.json"
    text = json.dumps({"config": identity(config), "data": data.sources}, indent=2, sort_keys=True)
    if note.exists() and note.read_text(encoding="utf-8") != text:
        _remove_checkpoints(folder)
    write_atomically(note, text)


def _remove_checkpoints(folder: Path) -> None:
    for checkpoint in folder.glob("checkpoint-*"):
        shutil.rmtree(checkpoint)


def _sentence(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else 'no message'}"
