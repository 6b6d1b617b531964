"""The record of a run: its schema (version 1).

Tables and reports are derived from records and nothing else; this room therefore imports neither
torch nor transformers.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dylora_exp.records.parts import check_parts

SCHEMA_VERSION = 1
# Version 1 did not have these from the beginning.
_LATER_FIELDS: dict[str, Any] = {"summary": [], "training": {}, "scoring": {}, "epochs": []}
STATUSES = ("running", "completed", "failed")


@dataclass(frozen=True)
class RankScore:
    """One rank, made and scored in one way; ``rank`` is None for a method without ranks."""

    rank: int | None
    truncation: str | None
    scale: str | None
    metrics: dict[str, float | None]
    seconds: float


@dataclass(frozen=True)
class EpochScores:
    """All ranks as they were scored after an epoch, which ended with this optimizer step."""

    epoch: int
    step: int
    ranks: list[RankScore]


@dataclass(frozen=True)
class Record:
    """What a run leaves behind. Times are in seconds, memory in bytes, metrics as fractions.

    ``ranks`` are the scores at the end, ``epochs`` those after the epochs before it, where asked
    for.
    """

    run_id: str
    status: str
    config: dict[str, Any]
    model: str
    task: str
    method: str
    profile: str
    seed: int
    created_at: str
    error: str | None = None
    ranks: list[RankScore] = field(default_factory=list)
    epochs: list[EpochScores] = field(default_factory=list)
    summary: list[dict[str, Any]] = field(default_factory=list)
    parameters: dict[str, int] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    scoring: dict[str, Any] = field(default_factory=dict)
    timing: dict[str, Any] = field(default_factory=dict)
    memory: dict[str, Any] = field(default_factory=dict)
    data: list[dict[str, Any]] = field(default_factory=list)
    environment: dict[str, Any] = field(default_factory=dict)
    schema_version: int = SCHEMA_VERSION

    @classmethod
    def from_dict(cls, tree: Any) -> Record:
        """Build a record from parsed JSON.

        Raises:
            ValueError: With the first thing that does not fit the schema.
        """
        if not isinstance(tree, Mapping):
            raise ValueError("expected an object")
        version = tree.get("schema_version")
        if version != SCHEMA_VERSION:
            raise ValueError(f"schema_version is {version!r}, expected {SCHEMA_VERSION}")
        fields = {item.name: item for item in dataclasses.fields(cls)}
        tree = {**_LATER_FIELDS, **tree}
        for name in fields:
            if name not in tree:
                raise ValueError(f"'{name}' is missing")
        if unknown_keys := sorted(set(tree) - set(fields)):
            raise ValueError(f"'{unknown_keys[0]}' is not a key of a record")
        if tree["status"] not in STATUSES:
            raise ValueError(f"status is {tree['status']!r}, expected one of {STATUSES}")
        for name in ("run_id", "model", "task", "method", "profile", "created_at"):
            if not isinstance(tree[name], str):
                raise ValueError(f"'{name}' is {tree[name]!r}, expected a text")
        if type(tree["seed"]) is not int:
            raise ValueError(f"'seed' is {tree['seed']!r}, expected a whole number")
        objects = ("config", "parameters", "training", "scoring", "timing", "memory", "environment")
        for name in objects:
            if not isinstance(tree[name], Mapping):
                raise ValueError(f"'{name}' is {tree[name]!r}, expected an object")
        for name in ("ranks", "epochs", "data", "summary"):
            if not isinstance(tree[name], list):
                raise ValueError(f"'{name}' is {tree[name]!r}, expected a list")
        for name in ("data", "summary"):
            if not all(isinstance(entry, Mapping) for entry in tree[name]):
                raise ValueError(f"an entry of '{name}' must be an object")
        for name in ("method", "model", "ranks", "task"):
            if not isinstance(tree["config"].get(name, {}), Mapping):
                raise ValueError(f"'config.{name}' is {tree['config'][name]!r}, expected an object")
        check_parts(tree)
        if tree["status"] == "completed" and not tree["ranks"]:
            raise ValueError("'ranks' is empty, though the run is completed")
        if not isinstance(tree["error"], str | None):
            raise ValueError(f"'error' is {tree['error']!r}, expected a text or null")
        ranks = [_rank_score(item) for item in tree["ranks"]]
        epochs = [_epoch_scores(item) for item in tree["epochs"]]
        return cls(**{**tree, "ranks": ranks, "epochs": epochs})

    def to_json(self) -> str:
        """Return the record as JSON with sorted keys and a final newline."""
        return (
            json.dumps(dataclasses.asdict(self), sort_keys=True, indent=2, allow_nan=False) + "\n"
        )


def _epoch_scores(tree: Any) -> EpochScores:
    names = {item.name for item in dataclasses.fields(EpochScores)}
    if not isinstance(tree, Mapping) or set(tree) != names:
        raise ValueError(f"an entry of 'epochs' must have exactly {', '.join(sorted(names))}")
    for name in ("epoch", "step"):
        if type(tree[name]) is not int:
            raise ValueError(f"{name} is {tree[name]!r}, expected a whole number")
    if not isinstance(tree["ranks"], list):
        raise ValueError(f"'epochs.ranks' is {tree['ranks']!r}, expected a list")
    ranks = [_rank_score(item) for item in tree["ranks"]]
    return EpochScores(tree["epoch"], tree["step"], ranks)


def _rank_score(tree: Any) -> RankScore:
    names = {item.name for item in dataclasses.fields(RankScore)}
    if not isinstance(tree, Mapping) or set(tree) != names:
        raise ValueError(f"an entry of 'ranks' must have exactly {', '.join(sorted(names))}")
    if tree["rank"] is not None and type(tree["rank"]) is not int:
        raise ValueError(f"rank is {tree['rank']!r}, expected a whole number or null")
    if tree["rank"] is not None and tree["rank"] < 1:
        raise ValueError(f"rank is {tree['rank']}, expected at least 1")
    for name in ("truncation", "scale"):
        if tree[name] is not None and not isinstance(tree[name], str):
            raise ValueError(f"{name} is {tree[name]!r}, expected a text or null")
    if not isinstance(tree["metrics"], Mapping):
        raise ValueError(f"metrics is {tree['metrics']!r}, expected an object")
    for name, value in tree["metrics"].items():
        if value is not None and type(value) not in (int, float):
            raise ValueError(f"metric '{name}' is {value!r}, expected a number or null")
    return RankScore(**tree)
