"""``--where``: which records, ranks and metrics a report is about."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from dylora_exp.config import is_identity, known_keys
from dylora_exp.core import RequestError, did_you_mean
from dylora_exp.records import Record
from dylora_exp.reporting.analysis.groups import default_settings, flatten

FIELDS = ("task", "method", "model", "profile", "status", "seed")
PARTS = ("rank", "metric")


@dataclass(frozen=True)
class Where:
    """What was asked for: the allowed values of each key, as texts; empty for everything."""

    allowed: Mapping[str, tuple[str, ...]]

    @classmethod
    def parse(cls, text: str) -> Where:
        """Read ``key=value,key=value``; a value without a key is another value of the key before.

        Raises:
            RequestError: For a word without a key before it, a key twice, or an unknown key.
        """
        allowed: dict[str, tuple[str, ...]] = {}
        problems = []
        key = ""
        for word in filter(None, (word.strip() for word in text.split(","))):
            name, equals, value = word.partition("=")
            if equals:
                key = name.strip()
                problems += _key_problems(key, allowed)
                allowed[key] = (value.strip(),)
            elif key:
                allowed[key] = (*allowed[key], word)
            else:
                problems.append(f"--where: found '{word}', expected key=value.")
        if problems:
            raise RequestError(problems)
        return cls(allowed)

    def select(self, records: Iterable[Record]) -> tuple[list[Record], list[str]]:
        """Return the records that are asked for, cut down to the ranks and metrics asked for.

        Returns:
            Them, and a sentence for each value that no record has.
        """
        records = list(records)
        tests = {key: values for key, values in self.allowed.items() if key not in PARTS}
        kept = [
            record for record in records if all(_keeps(record, *test) for test in tests.items())
        ]
        # A run without any score, such as a failed one, stays in to be counted.
        narrowed = [(record, self._narrowed(record)) for record in kept]
        left = [cut for whole, cut in narrowed if cut.ranks or not whole.ranks]
        return left, list(self._unmatched(records))

    def _narrowed(self, record: Record) -> Record:
        ranks, metrics = self.allowed.get("rank"), self.allowed.get("metric")
        if ranks is None and metrics is None:
            return record
        scores = [
            dataclasses.replace(
                score,
                metrics={
                    name: value
                    for name, value in score.metrics.items()
                    if metrics is None or name in metrics
                },
            )
            for score in record.ranks
            if ranks is None or any(_equal(score.rank, rank) for rank in ranks)
        ]
        return dataclasses.replace(record, ranks=[score for score in scores if score.metrics])

    def _unmatched(self, records: list[Record]) -> Iterable[str]:
        for key, values in self.allowed.items():
            found = {_text(value) for record in records for value in _values(record, key)}
            for value in values:
                if not any(_equal(one, value) for one in found):
                    hint = did_you_mean(value, sorted(found)) or "."
                    yield f"--where: no record has {key} '{value}'{hint}"


def _key_problems(key: str, before: Iterable[str]) -> list[str]:
    if key in before:
        return [f"--where: '{key}' is there twice; several values are {key}=a,b."]
    known = [*FIELDS, *PARTS, *_setting_keys()]
    if key in known:
        return []
    return [f"--where: '{key}' is no key of a record{did_you_mean(key, known) or '.'}"]


def _setting_keys() -> list[str]:
    """Return the dotted keys of a record's config that hold values, not groups of them."""
    keys = known_keys()
    groups = {key.rpartition(".")[0] for key in keys}
    return [key for key in keys if key not in groups and is_identity(key)]


def _keeps(record: Record, key: str, allowed: Iterable[str]) -> bool:
    return any(_equal(found, value) for found in _values(record, key) for value in allowed)


def _values(record: Record, key: str) -> list[Any]:
    """Return what a record has under a key; several for a rank or a metric."""
    if key in FIELDS:
        return [getattr(record, key)]
    if key == "rank":
        return [score.rank for score in record.ranks]
    if key == "metric":
        return [name for score in record.ranks for name in score.metrics]
    return [dict(flatten(record.config)).get(key, default_settings().get(key))]


def _equal(found: Any, asked: str) -> bool:
    """Whether a value is what a text says: 2e-3 is 0.002, null is none at all."""
    text = _text(found)
    if text == asked:
        return True
    try:
        return float(text) == float(asked)
    except ValueError:
        return False


def _text(value: Any) -> str:
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)
