"""The trials that a table's tuning asks for, and what is chosen from their records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from dylora_exp.config import option_files, run_id
from dylora_exp.core import RequestError, counted
from dylora_exp.metrics import metric_sign
from dylora_exp.records import Record
from dylora_exp.reporting.analysis.plan import (
    Base,
    PlannedRun,
    Setup,
    base_of,
    base_overrides,
    compose_setup,
    planned_runs,
    records_of,
    setups_by_rank,
)
from dylora_exp.reporting.analysis.tuning_rule import TrialScore, choose, score_trial
from dylora_exp.reporting.specs.layout import ProfileSpec, TableSpec
from dylora_exp.reporting.specs.tables import load_spec, shows_settings
from dylora_exp.reporting.specs.tuning import (
    ChosenSpec,
    TriedSpec,
    TunedSpec,
    TuningSpec,
    load_tuned,
    tune_command,
    tuned_name,
    value_overrides,
)

# The beginning of a failed record's error, where a training had no finite loss or weights.
_DIVERGED = "TrainingDiverged"


@dataclass(frozen=True)
class TunedTraining:
    """A training whose values are tuned.

    Attributes:
        setup: Its settings without the values.
        label: What a reader calls it.
        optional: Whether the table is complete without it.
        trials: The runs that decide, in the order of ``TuningSpec.combinations``.
    """

    setup: Setup
    label: str
    optional: bool
    trials: tuple[PlannedRun, ...]


def tuned_trainings(spec: TableSpec, part: ProfileSpec, profile: str) -> list[TunedTraining]:
    """Return the trainings of a table, each once, with their trials; none where nothing is tuned.

    A row that trains at each of several ranks has a training for each, whose trials score that rank
    alone, unless another row shows it at all its ranks.

    Raises:
        RequestError: When a run cannot be composed, or a value changes nothing in it.
    """
    tuning = part.tuning
    if tuning is None:
        return []
    base = base_overrides(part, profile)
    return [
        TunedTraining(setup, shown.label(), shown.optional, _trials(setup, shown, base, tuning))
        for setup, shown in _shown_trainings(spec, part, profile).items()
    ]


def choose_values(
    name: str,
    profile: str,
    trainings: Sequence[TunedTraining],
    tuning: TuningSpec,
    records: Mapping[str, Record],
) -> tuple[TunedSpec, list[str]]:
    """Return what the rule chooses for each training of a table whose trials all ended.

    What was chosen before for another training of the table stays.

    Args:
        name: The table.
        profile: The profile.
        trainings: As ``tuned_trainings`` returns them.
        tuning: What the table asks for.
        records: All records by run id.

    Returns:
        The choices, and a sentence for each training that has no trial with a finite score.
    """
    earlier = load_tuned(name, profile, tuning)
    before = {each.training: each for each in earlier.trainings} if earlier else {}
    used = records_of([trial for each in trainings for trial in each.trials], records)
    chosen: list[ChosenSpec] = []
    problems = []
    for training in trainings:
        ended = [_record(trial, used[trial.setup], records) for trial in training.trials]
        if None in ended:
            kept = before.get(training.setup.settings_digest)
            chosen += [kept] if kept else []
            continue
        choice = _chosen(training, tuning, [record for record in ended if record is not None])
        if choice is None:
            problems.append(
                f"{training.setup.name()} on {training.setup.task}: none of its "
                f"{counted(len(training.trials), 'trial')} has a finite score, try other values."
            )
        else:
            chosen.append(choice)
    return TunedSpec(table=name, profile=profile, tuning=tuning, trainings=chosen), problems


def untuned(name: str, profile: str, optional: bool = False) -> list[str]:
    """Return the sentence for a table that nothing was chosen for yet; none where it has all.

    Args:
        name: The table.
        profile: The profile.
        optional: Whether trainings count that the table is complete without.

    Raises:
        RequestError: For an unknown table or profile, or a malformed file.
    """
    if shows_settings(name):
        return []
    spec, part = load_spec(name, profile)
    if part.tuning is None:
        return []
    keys = ", ".join(part.tuning.values)
    found_by = f"; this finds it: {tune_command(name, profile)}"
    if load_tuned(name, profile, part.tuning) is None:
        there = tuned_name(name, profile) in option_files("tuned")
        why = ", only by other values, another seed, share or set" if there else ""
        return [f"table {name}: {keys} was not chosen yet for profile '{profile}'{why}{found_by}"]
    runs = planned_runs(spec, part, profile, base_of(name, part, profile))
    all_of_them = {run.setup for run in runs if optional or not run.optional}
    left = [setup for setup in all_of_them if setup.is_open]
    if not left:
        return []
    first = f"{left[0].name()} on {left[0].task}"
    return [
        f"table {name}: {keys} was not chosen yet for {len(left)} of its {len(all_of_them)} "
        f"trainings in profile '{profile}', such as {first}{found_by}"
    ]


def has_diverged(record: Record | None) -> bool:
    """Return whether a run ended in a loss or weights that are not finite."""
    error = "" if record is None or record.status != "failed" else record.error
    return (error or "").startswith(_DIVERGED)


def choices_of(
    name: str, spec: TableSpec, part: ProfileSpec, profile: str
) -> list[tuple[str, ChosenSpec]]:
    """Return what was chosen for the trainings of a table, each with what a reader calls it."""
    found = None if part.tuning is None else load_tuned(name, profile, part.tuning)
    if found is None:
        return []
    chosen = {each.training: each for each in found.trainings}
    return [
        (shown.label(), chosen[setup.settings_digest])
        for setup, shown in _shown_trainings(spec, part, profile).items()
        if setup.settings_digest in chosen
    ]


@dataclass
class _Shown:
    """Which rows show a training.

    Attributes:
        labels: Of the rows that show it at all its ranks; of a row that trains one for each rank,
            where there is no other.
        rank: The only rank that is shown; None for all.
        optional: Whether the table is complete without it.
    """

    labels: list[str]
    rank: int | None
    optional: bool

    def label(self) -> str:
        if self.rank is not None:
            return f"{self.labels[0]}, rank {self.rank}"
        # Rows of one training differ in the cut, which stands in parentheses.
        names = {label.partition(" (")[0] for label in self.labels}
        return self.labels[0] if len(self.labels) == 1 or len(names) > 1 else names.pop()


def _shown_trainings(spec: TableSpec, part: ProfileSpec, profile: str) -> dict[Setup, _Shown]:
    """Return the trainings of a table before anything is chosen, and which rows show them."""
    base = Base(base_overrides(part, profile))
    rows = [row for block in spec.blocks_in(profile) for row in block.rows]
    found: dict[Setup, _Shown] = {}
    for task in part.tasks():
        for row in rows:
            optional = profile in row.optional
            for rank, setup in setups_by_rank(row, base, task).items():
                own = rank if row.search else None
                shown = found.setdefault(setup, _Shown([], own, optional))
                shown.optional = shown.optional and optional
                if own is None and shown.rank is not None:
                    shown.rank, shown.labels = None, []
                if own == shown.rank and row.label not in shown.labels:
                    shown.labels.append(row.label)
    return found


def _trials(
    setup: Setup, shown: _Shown, base: tuple[str, ...], tuning: TuningSpec
) -> tuple[PlannedRun, ...]:
    """Return the trials of a training, in the order of the combinations of values."""
    own = [] if shown.rank is None else [f"ranks.score=[{shown.rank}]"]
    shared = (*own, *tuning.set, f"task.held_out={tuning.held_out}")
    runs = []
    of_row = (setup.task, setup.method, setup.row_overrides)
    for values in map(value_overrides, tuning.combinations()):
        try:
            trial = compose_setup(base, *of_row, (*shared, *values), shared)
        except RequestError as error:
            label = f"tuning of '{shown.label()}'"
            raise RequestError(f"{label}: {problem}" for problem in error.problems) from None
        # The values are what one trial differs from the next by.
        trial = replace(trial, row_overrides=(*setup.row_overrides, *values))
        name = run_id(trial.config.model_copy(update={"seed": tuning.seed}))
        runs.append(PlannedRun(name, trial, tuning.seed, optional=False, is_trial=True))
    if len({run.run_id for run in runs}) < len(runs):
        keys = ", ".join(tuning.values)
        raise RequestError(f"{shown.label()}: {keys}: two of the values make the same run.")
    return tuple(runs)


def _record(
    trial: PlannedRun, used: Mapping[int, Record], records: Mapping[str, Record]
) -> Record | None:
    """Return the record of a trial that ended, completed or diverged; None without one."""
    found = used.get(trial.seed)
    if found is None and has_diverged(records.get(trial.run_id)):
        return records[trial.run_id]
    return found


def _chosen(
    training: TunedTraining, tuning: TuningSpec, records: Sequence[Record]
) -> ChosenSpec | None:
    """Return what the rule chooses for a training; None where no trial has a finite score."""
    metric = training.setup.config.task.headline
    scores = [None if has_diverged(record) else score_trial(record) for record in records]
    means = [None if score is None else score.mean for score in scores]
    choice = choose(tuning.values, means, metric_sign(metric))
    if choice is None:
        return None
    return ChosenSpec(
        task=training.setup.task,
        method=training.setup.method,
        set=list(training.setup.row_overrides),
        training=training.setup.settings_digest,
        metric=metric,
        examples=_scored_examples(records[choice[0]]),
        chosen=choice[1],
        trials=[
            TriedSpec(
                values=values,
                run=trial.run_id,
                score=None if score is None else score.mean,
                cut=_cut(score),
            )
            for values, trial, score in zip(
                tuning.combinations(), training.trials, scores, strict=True
            )
        ],
    )


def _cut(score: TrialScore | None) -> str | None:
    found = [] if score is None else [score.truncation, score.scale]
    return " ".join(filter(None, found)) or None


def _scored_examples(record: Record) -> int | None:
    """Return how many held-out examples a trial scored, as its record says."""
    found = record.data[1].get("used") if len(record.data) > 1 else None
    return found if isinstance(found, int) else None
