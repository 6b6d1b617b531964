"""The values of a table's rows, seed by seed: scores, parameters, seconds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from dylora_exp.records import Record
from dylora_exp.reporting.analysis.plan import Base, Used, setups_by_rank
from dylora_exp.reporting.specs.layout import ColumnSpec, RowSpec

BySeed = dict[int, float]
CutKey = tuple[int | None, str | None, str | None]


@dataclass(frozen=True)
class UndefinedValue:
    """A completed run without a finite value where the table shows one."""

    label: str
    task: str
    metric: str
    rank: int | None
    seed: int


class Values:
    """The values of a table's rows, and the undefined ones met while reading them."""

    def __init__(self, base: Base, used: Used) -> None:
        self.base = base
        self.used = used
        self.undefined: dict[UndefinedValue, None] = {}
        self._metrics: dict[str, dict[CutKey, Mapping[str, float | None]]] = {
            record.run_id: {(s.rank, s.truncation, s.scale): s.metrics for s in record.ranks}
            for record in self.records()
        }

    def scores(self, row: RowSpec, rank: int | None, column: ColumnSpec) -> BySeed:
        """Return a column's metric at a rank, as the records have it."""
        values = {}
        for seed, record in self._records(row, rank, column.task).items():
            metrics = self._metrics[record.run_id].get((rank, row.truncation, row.scale), {})
            value = metrics.get(column.metric)
            if value is None or not math.isfinite(value):
                missing = UndefinedValue(row.label, column.task, column.metric, rank, seed)
                self.undefined[missing] = None
            else:
                values[seed] = float(value)
        return values

    def curve(self, row: RowSpec, column: ColumnSpec) -> dict[int, BySeed]:
        """Return a column's metric at each of a row's ranks; none without ranks."""
        ranks = setups_by_rank(row, self.base, column.task)
        return {rank: self.scores(row, rank, column) for rank in ranks if rank is not None}

    def parameters(self, row: RowSpec, rank: int | None, task: str) -> list[int]:
        """Return the trained parameters at a rank, of each record that has them."""
        counts = [_parameters(record, rank) for record in self._records(row, rank, task).values()]
        return [count for count in counts if count is not None]

    def seconds(self, row: RowSpec, task: str) -> BySeed:
        """Return the training time of a row's runs together, of each seed that has them all."""
        setups = set(setups_by_rank(row, self.base, task).values())
        times = [
            {
                seed: float(record.timing["train_seconds"])
                for seed, record in self.used.get(setup, {}).items()
                if record.timing.get("train_seconds") is not None
            }
            for setup in setups
        ]
        seeds = set.intersection(*map(set, times))
        return {seed: math.fsum(time[seed] for time in times) for seed in sorted(seeds)}

    def runs(self, row: RowSpec, task: str) -> int:
        """Return how many runs a row takes for one seed."""
        return len(set(setups_by_rank(row, self.base, task).values()))

    def records(self) -> list[Record]:
        """Return all records of the rows."""
        return [record for by_seed in self.used.values() for record in by_seed.values()]

    def _records(self, row: RowSpec, rank: int | None, task: str) -> Mapping[int, Record]:
        """Return the records behind a rank; none where the row does not have it."""
        setup = setups_by_rank(row, self.base, task).get(rank)
        return {} if setup is None else self.used.get(setup, {})


def _parameters(record: Record, rank: int | None) -> int | None:
    """Return what a run trains, as far as a rank takes part in it.

    A compacted model counts what remained. Adapters have the same number for every rank.
    """
    trainable = record.parameters.get("trainable")
    remaining = record.training.get("remaining_parameters")
    if rank is None:
        return trainable if remaining is None else int(remaining)
    r_max = record.config.get("ranks", {}).get("r_max")
    if rank == r_max or trainable is None:
        return trainable
    adapter = record.parameters.get("adapter")
    if adapter is None or r_max is None:
        return None
    return trainable - adapter + adapter * rank // r_max
