"""What trackers send of a record: curves over rank, and the numbers that stand for the run."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from dylora_exp.config import Config
from dylora_exp.records import RankScore, Record, deciding_metric, rank_verdict


def cut_label(entry: RankScore) -> str:
    """Return the name of a score's cut without a slash, which trackers take for a folder."""
    scale = (entry.scale or "").replace("/", "-over-").replace("(", "-").replace(")", "")
    return f"{entry.truncation}-{scale}"


def curves(record: Record) -> Iterator[tuple[int, dict[str, float | None]]]:
    """Yield each rank of each cut with its scores, named ``cut/metric``."""
    names = sorted({name for entry in record.ranks for name in entry.metrics})
    for entry in record.ranks:
        if entry.rank is not None:
            cut = cut_label(entry)
            yield entry.rank, {f"{cut}/{name}": entry.metrics.get(name) for name in names}


def summary(record: Record) -> dict[str, Any]:
    """Return the numbers that stand for a run: those of its verdict and of each cut's curve.

    Of a method without ranks that is its score. Scores are fractions, as in the record.
    """
    metric = deciding_metric([record])
    found: dict[str, Any] = {"metric": metric}
    verdict = rank_verdict([record])
    if verdict is None:
        values = [entry.metrics.get(metric) for entry in record.ranks]
        found["best"] = values[0] if values else None
    else:
        found["verdict"] = verdict.sentence
        if verdict.chosen is not None and verdict.best is not None:
            found["recommended_rank"] = verdict.chosen.rank
            found["recommended"] = verdict.chosen.mean
            found["best_rank"] = verdict.best.rank
            found["best"] = verdict.best.mean
    for cut in record.summary:
        label = cut_label(RankScore(None, cut["truncation"], cut["scale"], {}, 0.0))
        for key in ("aurac", "aurac_log2", "best_rank", "recommended_rank"):
            found[f"{label}/{key}"] = cut[key]
        if verdict and verdict.chosen and verdict.chosen.name == (cut["truncation"], cut["scale"]):
            found["aurac"] = cut["aurac"]
    return {key: value for key, value in found.items() if _is_sent(value)}


def tags(config: Config) -> list[str]:
    """Return the names by which a run is looked for: model, task, method and profile."""
    names = (config.model.name, config.task.name, config.method.name, config.profile)
    return list(dict.fromkeys(filter(None, names)))


def _is_sent(value: Any) -> bool:
    return value is not None and not (isinstance(value, float) and not math.isfinite(value))
