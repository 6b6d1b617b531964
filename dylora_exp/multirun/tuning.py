"""``dylora reproduce TABLE --tune``: what the trials of a table say, written to its file."""

from __future__ import annotations

from collections.abc import Mapping

from dylora_exp.core import RequestError, counted, echo, print_warning
from dylora_exp.multirun.reproduction_plan import Plan, ReproduceRequest
from dylora_exp.records import RecordStore
from dylora_exp.reporting import (
    TunedSpec,
    choose_table_values,
    edges,
    table_trainings,
    tuned_path,
    value_overrides,
    write_tuned,
)


def write_choices(request: ReproduceRequest, plan: Plan) -> None:
    """Choose values for the trainings of each table from its trials, and write its file.

    A training of which a trial is missing keeps what was chosen for it before.

    Args:
        request: The request that the trials were run for.
        plan: Its plan, with the tables that ask for tuning.

    Raises:
        RequestError: When no trial of a training has a finite score; what was chosen for others is
            written.
    """
    records = {each.run_id: each for each in RecordStore(request.results).read_all()[0]}
    problems = []
    for name in plan.tables:
        trainings = table_trainings(name, request.profile)
        found, without = choose_table_values(name, request.profile, trainings, records)
        problems += without
        if found.trainings:
            path = tuned_path(name, request.profile)
            write_tuned(path, found)
            _print(found, {each.setup.settings_digest: each.label for each in trainings})
            of_all = f"{len(found.trainings)} of {counted(len(trainings), 'training')}"
            print(f"{path}: what was chosen for {of_all}")
    if problems:
        raise RequestError(problems)


def _print(found: TunedSpec, labels: Mapping[str, str]) -> None:
    """Print what was chosen, with the scores of all values, and warn where it is an edge."""
    for each in found.trainings:
        name = f"{labels[each.training]} on {each.task}"
        scores = ", ".join(
            f"{'none' if trial.score is None else f'{trial.score:.4f}'} at "
            + ", ".join(f"{value:g}" for value in trial.values.values())
            for trial in each.trials
        )
        chosen = ", ".join(value_overrides(each.chosen))
        echo(f"{name}: {chosen} ({each.metric} {scores})")
        for key, end in edges(found.tuning.values, each.chosen).items():
            print_warning(f"{name}: the best {key} is the {end} tried.")
