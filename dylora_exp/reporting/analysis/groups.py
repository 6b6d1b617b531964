"""Records to groups of runs that differ in nothing but the seed, and groups to series of scores."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dylora_exp.config import default_tree
from dylora_exp.metrics import metric_sign
from dylora_exp.records import Record, deciding_metric

# Runs of one setup may differ in these: scoring after every epoch does not change the last scores.
SAME_SETUP = ("seed", "trainer.score_every")
# Records with it, such as the trials of tuning, are reported where it is asked for.
HELD_OUT = "task.held_out"

Names = tuple[str, str, str, str]
Settings = Mapping[str, Any]
# Profile, task, method and settings: equal where runs differ in nothing but the seed.
SetupKey = tuple[str, str, str, Hashable]


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
        """The method with the settings in which it differs from others of its name."""
        return f"{self.names[3]} [{self.variant}]" if self.variant else self.names[3]

    @property
    def key(self) -> SetupKey:
        """The key of its runs' setup."""
        profile, _, task, method = self.names
        return setup_key(profile, task, method, self.settings)

    @property
    def subject(self) -> tuple[str, str, str]:
        """Profile, model and task."""
        return self.names[:3]

    def seeds(self) -> list[int]:
        """Return the seeds, ascending."""
        return [record.seed for record in self.records]


@dataclass(frozen=True)
class Series:
    """A group's values of one metric and one cut, by rank and seed."""

    group: Group
    truncation: str | None
    scale: str | None
    metric: str
    values: Mapping[int | None, Mapping[int, float]]

    @property
    def cut(self) -> str:
        """Truncation and scale; empty without ranks."""
        return " ".join(filter(None, (self.truncation, self.scale)))

    @property
    def label(self) -> str:
        """The method with its cut."""
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
    """Return the settings of a record that are not at their default, the seed left out."""
    return {key: record.settings[key] for key in sorted(record.settings) if key not in SAME_SETUP}


def is_on_held_out(record: Record) -> bool:
    """Return whether a record's scores are those of a part of the training data."""
    return record.settings.get(HELD_OUT) is not None


def setup_key(profile: str, task: str, method: str, settings: Settings) -> SetupKey:
    """Return the key by which records and planned runs of the same setup find each other."""
    return profile, task, method, _hashable(settings)


def _hashable(value: Any) -> Hashable:
    """Return plain data as tuples, so that equal data are equal keys."""
    if isinstance(value, Mapping):
        return frozenset((key, _hashable(item)) for key, item in value.items())
    return tuple(map(_hashable, value)) if isinstance(value, list | tuple) else value


def groups_of(records: Iterable[Record]) -> tuple[list[Group], list[str]]:
    """Group completed records by everything but the seed.

    Returns:
        The groups by their names and settings, and a sentence for each seed that a group has more
        than once; of such records the latest counts.
    """
    runs: dict[tuple[Names, Hashable], dict[int, Record]] = {}
    warnings = []
    for record in sorted(records, key=lambda record: (record.created_at, record.run_id)):
        names = (record.profile, record.model, record.task, record.method)
        of_setup = runs.setdefault((names, _hashable(settings_of(record))), {})
        before = of_setup.get(record.seed)
        if before is not None:
            warnings.append(
                f"runs {before.run_id} and {record.run_id} differ in no setting; "
                f"the later one, {record.run_id}, counts."
            )
        of_setup[record.seed] = record
    siblings: dict[Names, list[tuple[Settings, dict[int, Record]]]] = {}
    for (names, _), by_seed in runs.items():
        settings = settings_of(next(iter(by_seed.values())))
        siblings.setdefault(names, []).append((settings, by_seed))
    groups = []
    for names, same in sorted(siblings.items()):
        everyone = [settings for settings, _ in same]
        for settings, by_seed in sorted(same, key=lambda pair: json.dumps(pair[0])):
            records_by_seed = tuple(by_seed[seed] for seed in sorted(by_seed))
            groups.append(Group(names, _variant(settings, everyone), settings, records_by_seed))
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
    """Return a group's finite values, a series for each cut and metric in the records' order."""
    values: dict[tuple[str | None, str | None, str], dict[int | None, dict[int, float]]] = {}
    for record in group.records:
        for score in record.ranks:
            for metric, value in score.metrics.items():
                if value is not None and math.isfinite(value):
                    of_cut = values.setdefault((score.truncation, score.scale, metric), {})
                    of_cut.setdefault(score.rank, {})[record.seed] = float(value)
    return [Series(group, *key, of_cut) for key, of_cut in values.items()]


def headline(group: Group) -> str:
    """Return the metric that decides: the task's, or the first that was scored without it."""
    return deciding_metric(group.records)


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
