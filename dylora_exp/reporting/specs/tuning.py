"""What a table's file may say about tuning, and the choices that followed: ``conf/tuned``.

A table asks for the values of some settings, such as the learning rate, to be chosen for each of
its trainings by the same trials on held-out training examples. ``conf/tuned/TABLE-PROFILE.yaml``
keeps the choices, so that the runs of a table are known without reading records.
``dylora reproduce TABLE --profile PROFILE --tune`` writes it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import AfterValidator, Field, field_validator, model_validator

from dylora_exp.config import CONF_DIR, OpenShare, is_identity, known_keys, option_files
from dylora_exp.core import RequestError, config_folders, did_you_mean, write_atomically
from dylora_exp.metrics import metric_sign
from dylora_exp.reporting.analysis.tuning_rule import choose, combinations
from dylora_exp.reporting.specs.files import Spec, read_yaml

# What is tuned is how a method is trained.
_TUNABLE = ("trainer.", "method.")
_OWN = {"seed": "seed", "task.held_out": "held_out"}


def _ascending(tried: list[float]) -> list[float]:
    if len(tried) < 2 or sorted(set(tried)) != tried:
        raise ValueError(f"found {tried}, expected at least two numbers in ascending order")
    return tried


class TuningSpec(Spec):
    """How the values of some settings are chosen for each training of a table.

    Attributes:
        values: The values to try for each setting, ascending; of several settings every
            combination.
        seed: That of the trials, none of the table's.
        held_out: The share of the training examples that is held out and scored.
        set: Further overrides of the trials.
    """

    values: dict[str, Annotated[list[float], AfterValidator(_ascending)]]
    seed: Annotated[int, Field(ge=0, lt=2**32)]
    held_out: OpenShare
    set: list[str] = Field(default_factory=list)

    @field_validator("values")
    @classmethod
    def _settings_can_be_tuned(cls, values: dict[str, list[float]]) -> dict[str, list[float]]:
        if not values:
            raise ValueError("found none, expected at least one setting with its values")
        known = [key for key in known_keys() if key.startswith(_TUNABLE) and is_identity(key)]
        for key in values:
            if key not in known:
                hint = did_you_mean(key, known) or "."
                raise ValueError(f"'{key}' is no setting of trainer or method to tune{hint}")
        return values

    @model_validator(mode="after")
    def _set_leaves_the_rest(self) -> TuningSpec:
        own = {**_OWN, **dict.fromkeys(self.values, "values")}
        for override in self.set:
            key = override.lstrip("+~").partition("=")[0]
            if key in own:
                raise ValueError(f"set: found '{override}', which '{own[key]}' says")
        return self

    def combinations(self) -> list[dict[str, float]]:
        """Return what is tried, one trial each."""
        return combinations(self.values)


class TriedSpec(Spec):
    """A trial: its values, its run, and its score in the unit of the metric.

    ``score`` is None where training diverged or no cut has a finite value at each rank; ``cut`` is
    the one with the best mean.
    """

    values: dict[str, float]
    run: str
    score: float | None
    cut: str | None = None


class ChosenSpec(Spec):
    """What was chosen for a training.

    Attributes:
        task: The task.
        method: The method.
        set: The overrides of its row.
        training: The digest of its settings before anything was chosen.
        metric: The metric of the scores, the task's headline.
        examples: How many held-out examples were scored.
        chosen: The value of each setting.
        trials: The trials that decided.
    """

    task: str
    method: str
    set: list[str]
    training: str
    metric: str
    examples: int | None
    chosen: dict[str, float]
    trials: list[TriedSpec]

    def overrides(self) -> tuple[str, ...]:
        """Return the chosen values as overrides."""
        return value_overrides(self.chosen)


class TunedSpec(Spec):
    """A file of ``conf/tuned``: what was chosen for each training of a table in one profile."""

    table: str
    profile: str
    tuning: TuningSpec
    trainings: list[ChosenSpec]


def tuned_name(table: str, profile: str) -> str:
    """Return the name of the file with a table's choices in ``conf/tuned``."""
    return f"{table}-{profile}"


def tune_command(table: str, profile: str) -> str:
    """Return the command that finds a table's choices."""
    return f"dylora reproduce {table} --profile {profile} --tune"


def load_tuned(table: str, profile: str, tuning: TuningSpec) -> TunedSpec | None:
    """Return the choices for a table.

    Args:
        table: The table.
        profile: Its profile.
        tuning: What the table asks for.

    Returns:
        The choices; None where there are none, or where they are of other values, another seed,
        share or ``set`` than the table asks for now.

    Raises:
        RequestError: When the file is malformed, of another table, or does not say what its trials
            say.
    """
    path = option_files("tuned").get(tuned_name(table, profile))
    if path is None:
        return None
    found = read_yaml(TunedSpec, path)
    if problems := list(_problems(found, table, profile)):
        again = f"find it again by: {tune_command(table, profile)}"
        raise RequestError(f"{path}: {problem}; {again}" for problem in problems)
    return found if found.tuning == tuning else None


def tuned_path(table: str, profile: str) -> Path:
    """Return the file that a table's choices are written to.

    It is in the first folder of the user's own (``--config-dir``), or in the checkout's ``conf``.

    Raises:
        RequestError: When the project is installed, and there is no folder of the user's own.
    """
    own = [each.removeprefix("file://") for each in config_folders() if "pkg://" not in each]
    if not own and not (CONF_DIR.parent / "pyproject.toml").exists():
        raise RequestError(
            "--tune: found no folder of your own to write the choices to, expected "
            "--config-dir DIR."
        )
    folder = Path(own[0]) if own else CONF_DIR
    return folder / "tuned" / f"{tuned_name(table, profile)}.yaml"


def write_tuned(path: Path, found: TunedSpec) -> None:
    """Write the choices for a table, all or nothing.

    Raises:
        RequestError: When the folder cannot be written to.
    """
    head = (
        f"# The values chosen for each training of table {found.table}, by the trials below each.\n"
        f"# Written by: {tune_command(found.table, found.profile)}\n"
    )
    text = yaml.safe_dump(
        found.model_dump(), sort_keys=False, default_flow_style=None, allow_unicode=True, width=100
    )
    write_atomically(path, head + text)


def value_overrides(values: Mapping[str, float]) -> tuple[str, ...]:
    """Return values as overrides, whole numbers without a decimal point."""
    return tuple(f"{key}={_number(value)}" for key, value in values.items())


def _number(value: float) -> str:
    return f"{value:.0f}" if value.is_integer() and abs(value) < 1e15 else repr(value)


def _problems(found: TunedSpec, table: str, profile: str) -> Iterator[str]:
    """Yield what a file says that its trials do not say."""
    for key, value, expected in (
        ("table", found.table, table),
        ("profile", found.profile, profile),
    ):
        if value != expected:
            yield f"{key}: found '{value}', expected '{expected}' by the file's name"
    tried = found.tuning.combinations()
    for index, training in enumerate(found.trainings):
        key = f"trainings[{index}]"
        if [trial.values for trial in training.trials] != tried:
            yield f"{key}.trials: found other values than those of 'tuning'"
            continue
        scores = [trial.score for trial in training.trials]
        choice = choose(found.tuning.values, scores, metric_sign(training.metric))
        if choice is None or choice[1] != training.chosen:
            says = "none" if choice is None else _shown(choice[1])
            yield f"{key}.chosen: found {_shown(training.chosen)}, the trials say {says}"


def _shown(values: Mapping[str, float]) -> str:
    return ", ".join(value_overrides(values))


def chosen_overrides(trainings: Iterable[ChosenSpec]) -> dict[str, tuple[str, ...]]:
    """Return the overrides chosen for each training, by the digest of its settings."""
    return {each.training: each.overrides() for each in trainings}
