"""Records to groups of runs that differ in nothing but the seed, and groups to series of scores."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dylora_exp.config import default_tree, distinguishing_settings
from dylora_exp.records import Record
from dylora_exp.reporting.specs.select import metric_sign

_SAME_SCORES = ("seed", "trainer.score_every")

Names = tuple[str, str, str, str]
Settings = Mapping[str, Any]


@dataclass(frozen=True)
class Group:
    """Completed runs of the same settings.

    Attributes:
        names: Profile, model, task and method.
        variant: Of the settings in which groups of the same names differ, those that are not at
            their default here; empty for the defaults, and where there is no other group.
        settings: Every setting but the seed that is not at its default, by dotted key.
        records: One a seed, the seeds ascending.
    """

    names: Names
    variant: str
    settings: Settings
    records: tuple[Record, ...]

    @property
    def method(self) -> str:
        """The method with the settings that tell it from others of its name."""
        return f"{self.names[3]} [{self.variant}]" if self.variant else self.names[3]

    @property
    def place(self) -> tuple[str, str, str]:
        """Profile, model and task."""
        return self.names[:3]

    def seeds(self) -> list[int]:
        """Return the seeds, ascending."""
        return [record.seed for record in self.records]


@dataclass(frozen=True)
class Series:
    """A group's values of one metric, of ranks made in one way, by rank and seed."""

    group: Group
    truncation: str | None
    scale: str | None
    metric: str
    values: Mapping[int | None, Mapping[int, float]]

    @property
    def cut(self) -> str:
        """How its ranks were made; empty without ranks."""
        return " ".join(word for word in (self.truncation, self.scale) if word)

    @property
    def label(self) -> str:
        """The method with its way."""
        return f"{self.group.method} ({self.cut})" if self.cut else self.group.method

    @property
    def sign(self) -> int:
        """1 where a higher value is better, -1 where a lower one is."""
        return metric_sign(self.metric)

    def ranked(self) -> dict[int, Mapping[int, float]]:
        """Return the values of the ranks, ascending; none without ranks."""
        return {rank: self.values[rank] for rank in sorted(r for r in self.values if r is not None)}


def flatten(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every setting of a config by its dotted key; an empty group is a setting."""
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


@functools.cache
def default_settings() -> Settings:
    """Return the schema's defaults by dotted key."""
    return dict(flatten(default_tree()))


def settings_of(record: Record) -> Settings:
    """Return a record's settings but for the seed, paths, logging, hardware and all defaults.

    So a record made before an option existed is of one group with those that have its default.
    Scoring after every epoch leaves the scores at the end as they are and does not count either.
    """
    return dict(sorted(distinguishing_settings(record.config, _SAME_SCORES).items()))


def groups_of(records: Iterable[Record]) -> tuple[list[Group], list[str]]:
    """Group completed records by everything but the seed.

    Returns:
        The groups by their names and settings, and a sentence for each seed that a group has more
        than once; of such records the last made counts.
    """
    runs: dict[tuple[Names, str], dict[int, Record]] = {}
    settings: dict[tuple[Names, str], Settings] = {}
    warnings = []
    for record in sorted(records, key=lambda record: (record.created_at, record.run_id)):
        names = (record.profile, record.model, record.task, record.method)
        found = settings_of(record)
        key = (names, json.dumps(found, sort_keys=True))
        settings[key] = found
        before = runs.setdefault(key, {}).get(record.seed)
        if before is not None:
            warnings.append(
                f"runs {before.run_id} and {record.run_id} differ in no setting; "
                f"the later one, {record.run_id}, counts."
            )
        runs[key][record.seed] = record
    siblings: dict[Names, list[Settings]] = {}
    for key in sorted(runs):
        siblings.setdefault(key[0], []).append(settings[key])
    groups = [
        Group(
            key[0],
            _variant(settings[key], siblings[key[0]]),
            settings[key],
            tuple(runs[key][seed] for seed in sorted(runs[key])),
        )
        for key in sorted(runs)
    ]
    return groups, warnings


def group_warnings(groups: Sequence[Group]) -> list[str]:
    """Return a sentence for each set of groups of the same names, and one for few seeds."""
    by_names: dict[Names, list[Group]] = {}
    for group in groups:
        by_names.setdefault(group.names, []).append(group)
    warnings = [
        f"{' '.join(names)}: {len(same)} sets of runs differ in more than the seed and are kept "
        f"apart: {'; '.join(group.variant or 'the defaults' for group in same)}."
        for names, same in by_names.items()
        if len(same) > 1
    ]
    few = [group for group in groups if len(group.records) < 3]
    if few:
        smallest = min(len(group.records) for group in few)
        warnings.append(
            f"{len(few)} of {len(groups)} groups have fewer than 3 seeds (the smallest {smallest}):"
            " their deviations and intervals say little."
        )
    return warnings


def series_of(group: Group) -> list[Series]:
    """Return a group's finite values, a series for each way and metric in the records' order."""
    values: dict[tuple[str | None, str | None, str], dict[int | None, dict[int, float]]] = {}
    for record in group.records:
        for score in record.ranks:
            for metric, value in score.metrics.items():
                if value is not None and math.isfinite(value):
                    of_way = values.setdefault((score.truncation, score.scale, metric), {})
                    of_way.setdefault(score.rank, {})[record.seed] = float(value)
    return [Series(group, *key, of_way) for key, of_way in values.items()]


def headline(group: Group) -> str:
    """Return the metric that decides: the task's, or the first that was scored without it."""
    named = group.records[0].config.get("task", {}).get("headline")
    scored = {
        metric: None
        for record in group.records
        for score in record.ranks
        for metric in score.metrics
    }
    return named if named in scored or not scored else next(iter(scored))


def undefined_notes(groups: Iterable[Group]) -> list[str]:
    """Return a sentence for each run and metric with scores that are no finite number."""
    notes = []
    for group in groups:
        for record in group.records:
            counts: dict[str, int] = {}
            for score in record.ranks:
                for metric, value in score.metrics.items():
                    if value is None or not math.isfinite(value):
                        counts[metric] = counts.get(metric, 0) + 1
            notes += [
                f"run {record.run_id} ({' '.join(group.names)}, seed {record.seed}): {count} of "
                f"its scores of {metric} undefined, skipped."
                for metric, count in sorted(counts.items())
            ]
    return notes


def _variant(own: Settings, all_of_them: Sequence[Settings]) -> str:
    """Return the settings that are not the same in all groups, as far as ``own`` has them."""
    differing = [
        key for key in own if len({_shown(_value(settings, key)) for settings in all_of_them}) > 1
    ]
    return ", ".join(f"{key}={_shown(own[key])}" for key in sorted(differing))


def _value(settings: Settings, key: str) -> Any:
    return settings.get(key, default_settings().get(key))


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)
