"""The story of a run: load data, model and method; train; score every rank; make the record.

This module imports the heavy libraries; ``run.py`` imports it only when there is something to do.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from transformers import TrainerCallback, set_seed

from dylora_exp.adapters import layer_sizes
from dylora_exp.config import Config, has_ranks, identity, run_id, without_targets
from dylora_exp.core import apply_umask, start_workers
from dylora_exp.methods import Method, TrainedModel, count_parameters, make_method
from dylora_exp.models import (
    check_checkpointing,
    fused_layouts,
    load,
    longest_input,
    revision,
)
from dylora_exp.objectives import Objective, ObjectiveContext, make_objective
from dylora_exp.records import RankScore, Record, rank_verdict, saved_files, summarise
from dylora_exp.runner.environment import (
    environment,
    peak_memory,
    quiet_libraries,
    reset_peak_memory,
    use_threads,
)
from dylora_exp.runner.folder import prepare_folder, run_folder
from dylora_exp.runner.preflight import check
from dylora_exp.runner.trackers.base import tracking, warn_only
from dylora_exp.tasks import TaskData
from dylora_exp.training import (
    EpochSweep,
    TrainingResult,
    epoch_scores,
    optimizer_steps,
    score_all_ranks,
    train,
)


@dataclass(frozen=True)
class LoadedRun:
    """A run that is ready to be trained; ``model`` is what the method attached to the backbone."""

    config: Config
    data: TaskData
    method: Method
    model: TrainedModel
    objective: Objective
    warnings: list[str]


def load_run(config: Config, data: TaskData) -> LoadedRun:
    """Return the run with its model, method and objective.

    Raises:
        RequestError: When the model cannot be loaded, or model, method and data do not match.
    """
    quiet_libraries()
    use_threads(config.trainer.threads)
    reset_peak_memory()
    set_seed(config.seed)
    needed = config.model if has_ranks(config.method) else without_targets(config.model)
    backbone, tokenizer = load(needed, config.task.number_of_outputs, config.hub_cache)
    if config.trainer.gradient_checkpointing:
        check_checkpointing(backbone)
    objective = make_objective(ObjectiveContext(config, tokenizer, longest_input(backbone), data))
    method = make_method(config)
    if not method.is_trained_elsewhere:
        method.check_steps(optimizer_steps(method, len(objective.train_set)))
    model = method.attach(backbone)
    guessed = [f"guessed {config.model.guessed}"] if config.model.guessed else []
    warnings = [*guessed, *data.warnings, *method.load_adapter(model)]
    return LoadedRun(config, data, method, model, objective, warnings)


def train_and_record(run: LoadedRun) -> tuple[Record, list[str]]:
    """Train, score and save a run in the main process.

    Returns:
        The record of the completed run, not written yet, and the warnings of training.
    """
    config, method, folder = run.config, run.method, run_folder(run.config)
    quantiser = ["bitsandbytes"] if config.model.quantization != "none" else []
    software = environment(*quantiser) | revision(run.model)  # as they are at the start
    prepare_folder(folder, config, run.data.sources)
    imported = {"imported": method.source()} if method.is_trained_elsewhere else {}
    start_workers()
    with contextlib.closing(run.objective), tracking(config, folder) as tracker:
        model, training, scores = train_and_score(run, tracker.callbacks())
        each_epoch = config.trainer.score_every == "epoch"
        epochs = epoch_scores(folder, training.steps) if each_epoch else []
        sweeps = [scores, *(epoch.ranks for epoch in epochs)]
        method.save(model, folder / "model")
        apply_umask(folder / "model")
        record = new_record(
            config,
            "completed",
            data=run.data.sources,
            files=saved_files(folder / "model"),
            language=config.task.language,
            ranks=scores,
            epochs=epochs,
            summary=summarise(scores, config.task.headline, config.ranks.tolerance),
            parameters=count_parameters(model),
            training=method.training_stats(model) | imported | _of_model(model, config),
            scoring=run.objective.scoring(),
            timing={
                "sweep_seconds": sum(entry.seconds for ranks in sweeps for entry in ranks),
                **({} if method.is_untimed else training.timing()),
                **method.timing,
            },
            memory=peak_memory() | {"model_bytes": model.get_memory_footprint()},
            environment=software,
            layers=layer_sizes(model) if _have_layer_ranks(sweeps) else {},
        )
        if verdict := rank_verdict([record]):
            record = dataclasses.replace(record, verdict=verdict.as_dict())
        with warn_only():
            tracker.log(record, folder / "model")
    return record, training.warnings


def _of_model(model: TrainedModel, config: Config) -> dict[str, Any]:
    """Return what was guessed, and where the outputs of the parts of fused layers are."""
    guessed = {"guessed": config.model.guessed} if config.model.guessed else {}
    found = fused_layouts(model, config.model.fused)
    layouts = {
        name: {"groups": layout.groups, "widths": list(layout.widths)}
        for name, layout in found.items()
    }
    return guessed | ({"fused_layouts": layouts} if layouts else {})


def _have_layer_ranks(sweeps: Sequence[Sequence[RankScore]]) -> bool:
    return any(entry.layer_ranks is not None for scores in sweeps for entry in scores)


def train_and_score(
    run: LoadedRun, callbacks: Sequence[TrainerCallback] = ()
) -> tuple[TrainedModel, TrainingResult, list[RankScore]]:
    """Train a run's model and score it at every rank, in each process of the run.

    Args:
        run: The run.
        callbacks: Further callbacks of training.

    Returns:
        The trained model, how training went, and one score for each cut.
    """
    objective, method, folder = run.objective, run.method, run_folder(run.config)
    training = TrainingResult()
    if not method.is_trained_elsewhere:
        each_epoch = run.config.trainer.score_every == "epoch"
        sweep = EpochSweep(run.model, objective, method, folder) if each_epoch else None
        training = train(run.model, objective, method, folder, sweep, callbacks)
    model = method.finish(run.model)
    return model, training, score_all_ranks(model, objective, method, folder)


def run_in_worker(config: Config) -> None:
    """Train and score in another process than the main one."""
    data = check(config)
    assert data is not None
    run = load_run(config, data)
    with contextlib.closing(run.objective):
        train_and_score(run)


def new_record(
    config: Config, status: Literal["running", "completed", "failed"], **fields: Any
) -> Record:
    """Return a record of a run with its config, the status and the other fields given."""
    return Record(
        run_id=run_id(config),
        status=status,
        config=identity(config),
        model=config.model.name,
        task=config.task.name,
        method=config.method.name,
        profile=config.profile,
        seed=config.seed,
        created_at=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        **fields,
    )
