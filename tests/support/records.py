"""Records for tests, built without training anything.

``python -m tests.support.records DIR N`` writes N records of many runs into a results folder.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import random
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dylora_exp.config.composition import compose
from dylora_exp.config.run_identity import identity, recompute_run_id, run_id
from dylora_exp.config.schema import Config
from dylora_exp.records.record import RankScore, Record
from dylora_exp.records.store import RecordStore

LEADING = ("leading", "alpha/b")
LEADING_R = ("leading", "alpha/r")
SVD = ("svd", "alpha/r")
ENVIRONMENT = {"project": "0.1.0", "git_commit": "abcdef0123456789", "dirty": False}

Metrics = Mapping[str, float | None]


def make_record(config: Config | None = None, /, **changes: Any) -> Record:
    """Return a completed record.

    Args:
        config: The run's config; None for a run that no config stands behind.
        changes: Fields of the record that differ from the defaults.
    """
    fields: dict[str, Any] = {
        "run_id": "0123456789ab",
        "status": "completed",
        "config": {"seed": 1},
        "model": "m",
        "task": "t",
        "method": "dylora",
        "profile": "demo",
        "seed": 1,
        "created_at": "2026-01-01T00:00:00+00:00",
        "ranks": [RankScore(1, *LEADING, {"f1": 0.5, "pearson": None}, 0.1)],
    }
    if config is not None:
        fields |= {
            "run_id": run_id(config),
            "config": identity(config),
            "model": config.model.name,
            "task": config.task.name,
            "method": config.method.name,
            "profile": config.profile,
            "seed": config.seed,
        }
    return Record(**(fields | changes))


@functools.cache
def composed(overrides: tuple[str, ...]) -> Config:
    return compose(overrides)


class Results:
    """A results folder to which records are added under the ids of the runs they stand for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = RecordStore(folder)

    def add(
        self,
        overrides: str,
        seed: int,
        scores: Mapping[tuple[int | None, str | None, str | None], Metrics],
        **fields: Any,
    ) -> Record:
        """Write the record of the run that these overrides compose, and return it.

        Args:
            overrides: Separated by spaces.
            seed: The run's seed.
            scores: The metrics at each rank, truncation and scale.
            fields: Further fields of the record.
        """
        config = composed(tuple(overrides.split())).model_copy(
            update={"seed": seed, **{k: v for k, v in fields.items() if k == "profile"}}
        )
        ranks = [RankScore(*key, dict(metrics), 0.1) for key, metrics in scores.items()]
        record = make_record(config, ranks=ranks, **{"environment": ENVIRONMENT, **fields})
        self.store.write(record)
        return record

    def demo(self, method: str, seed: int, accuracy: float | None, **fields: Any) -> Record:
        """Write a demo run with one accuracy at every rank, for every cut."""
        cuts = [LEADING, LEADING_R, SVD] if method == "lora" else [LEADING]
        scores = {(rank, *cut): {"accuracy": accuracy} for rank in range(1, 9) for cut in cuts}
        return self.add(f"profile=demo task=demo method={method}", seed, scores, **fields)


def renamed(record: Record, **names: str) -> Record:
    """Return a record as of another model, task or method, in its config and run id too."""
    config = {**record.config}
    for group, name in names.items():
        config[group] = {**config.get(group, {}), "name": name}
    number = recompute_run_id(config) or record.run_id
    fields: dict[str, Any] = {**names, "run_id": number, "config": config}
    return dataclasses.replace(record, **fields)


def many_records(count: int) -> Iterator[Record]:
    """Yield records with random scores of many runs, with more seeds as more are asked for."""
    numbers = random.Random(0)
    tasks = ("profile=mini task=mrpc", "profile=mini task=sst2", "profile=demo task=demo")
    methods = ("lora", "dylora", "dylora-frozen", "nested-dropout", "sorted-lora")
    settings = ("", "ranks=powers", "trainer.learning_rate=0.001", "ranks.r_max=4")
    runs = [
        (*task.split(), f"method={method}", *setting.split())
        for task, method, setting in itertools.product(tasks, methods, settings)
    ][:count]
    for number in range(count):
        seed, index = divmod(number, len(runs))
        config = composed(runs[index]).model_copy(update={"seed": seed})
        scores = [
            RankScore(
                rank,
                cut.truncation,
                cut.scale,
                {metric: numbers.gauss(0.8, 0.01) for metric in config.task.metrics},
                numbers.random(),
            )
            for cut in config.method.score
            for rank in range(1, config.ranks.r_max + 1)
        ]
        timing = {"train_seconds": numbers.uniform(90, 110), "sweep_seconds": 5.0, "steps": 100}
        yield make_record(
            config,
            ranks=scores,
            environment=ENVIRONMENT,
            parameters={"trainable": 1000, "total": 100000},
            training={"drawn_ranks": {str(rank): rank for rank in range(1, 9)}},
            timing=timing,
        )


def mixed_records(count: int) -> Iterator[Record]:
    """Yield at most 42 records of 7 methods on 3 tasks with 2 seeds, as a reproduction has them."""
    numbers = random.Random(1)
    tasks = ("profile=mini task=mrpc", "profile=mini task=sst2", "profile=demo task=demo")
    methods = (
        *("lora", "dylora", "dylora-frozen", "nested-dropout", "sorted-lora", "matryoshka"),
        "finetune",
    )
    runs = itertools.product(tasks, methods, (10, 42))
    for words, method, seed in itertools.islice(runs, count):
        config = composed((*words.split(), f"method={method}")).model_copy(update={"seed": seed})
        cuts = [(cut.truncation, cut.scale) for cut in getattr(config.method, "score", ())]
        keys: list[tuple[int | None, str | None, str | None]] = [
            (rank, *cut) for cut in cuts for rank in range(1, config.ranks.r_max + 1)
        ] or [(None, None, None)]
        base, slope = (0.72, 0.02) if method == "lora" else (0.82, 0.005)
        yield make_record(
            config,
            ranks=[
                RankScore(
                    *key,
                    {
                        metric: base + slope * (key[0] or 8) + numbers.gauss(0, 0.004)
                        for metric in config.task.metrics
                    },
                    0.1,
                )
                for key in keys
            ],
            environment=ENVIRONMENT,
            parameters={"trainable": 1000, "total": 100000},
            timing={"train_seconds": numbers.uniform(90, 110), "sweep_seconds": 5.0, "steps": 100},
        )


if __name__ == "__main__":
    results = Results(Path(sys.argv[1]))
    for record in many_records(int(sys.argv[2])):
        results.store.write(record)
    print(results.folder)
