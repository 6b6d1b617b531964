"""Many made-up records; ``python tests/reports/synthetic_records.py DIR N`` writes N of them."""

from __future__ import annotations

import itertools
import random
import sys
from collections.abc import Iterator
from pathlib import Path

from dylora_exp.config.composition import compose
from dylora_exp.config.run_identity import identity, run_id
from dylora_exp.config.schema import Config
from dylora_exp.records.record import RankScore, Record
from dylora_exp.records.store import RecordStore

METHODS = ("lora", "dylora", "dylora-frozen", "nested-dropout", "sorted-lora")
PLACES = ("profile=mini task=mrpc", "profile=mini task=sst2", "profile=demo task=demo")
SETS = ("", "ranks=powers", "trainer.learning_rate=0.001", "ranks.r_max=4")


def synthetic_records(count: int) -> Iterator[Record]:
    """Yield records of all combinations, with more seeds as more are asked for."""
    random.seed(0)
    words = [
        " ".join(parts)
        for parts in itertools.product(PLACES, map("method={}".format, METHODS), SETS)
    ]
    configs = [compose(text.split()) for text in words[:count]]
    for number in range(count):
        config = configs[number % len(configs)]
        yield _record(config.model_copy(update={"seed": number // len(configs)}))


def _record(config: Config) -> Record:
    scores = [
        RankScore(
            rank,
            cut.truncation,
            cut.scale,
            {metric: random.gauss(0.8, 0.01) for metric in config.task.metrics},
            random.random(),
        )
        for cut in config.method.score
        for rank in range(1, config.ranks.r_max + 1)
    ]
    return Record(
        run_id=run_id(config),
        status="completed",
        config=identity(config),
        model=config.model.name,
        task=config.task.name,
        method=config.method.name,
        profile=config.profile,
        seed=config.seed,
        created_at="2026-01-01T00:00:00+00:00",
        ranks=scores,
        parameters={"trainable": 1000, "total": 100000},
        training={"drawn_ranks": {str(rank): rank for rank in range(1, 9)}},
        timing={"train_seconds": random.uniform(90, 110), "sweep_seconds": 5.0, "steps": 100},
        environment={"project": "0.1.0", "git_commit": "abcdef0", "dirty": False},
    )


if __name__ == "__main__":
    store = RecordStore(sys.argv[1])
    for record in synthetic_records(int(sys.argv[2])):
        store.write(record)
    print(Path(sys.argv[1]))
