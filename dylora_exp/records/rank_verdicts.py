"""One answer to "which rank?": the smallest of all scored cuts that is good enough.

The answer follows from a record's scores alone, so that records older than it have one too. One
rule holds for each situation: a single run may lose ``ranks.tolerance`` of the best score (a run
has no standard error), the mean of several seeds one standard error of the best.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from dylora_exp.config import cut_name
from dylora_exp.metrics import display_factor, metric_sign, title
from dylora_exp.records.record import RankScore, Record
from dylora_exp.records.summary import DEFAULT_SHARE, allowed_loss

# The truncation and the scale by which a lower rank is made.
CutName = tuple[str | None, str | None]


@dataclass(frozen=True)
class ScoredCut:
    """A rank that was scored, and how it is cut.

    Attributes:
        rank: The rank.
        name: Its truncation and scale.
        values: The metric that decides, one value a seed; empty where one is undefined.
        size: The adapter's parameters, in any unit that all cuts share; None where not known.
    """

    rank: int
    name: CutName
    values: tuple[float, ...]
    size: float | None

    @property
    def mean(self) -> float:
        """The mean over seeds, rounded: the last bits of a sum of floats must not decide a tie."""
        return round(statistics.fmean(self.values), 12)


@dataclass(frozen=True)
class RankVerdict:
    """Which rank to deploy.

    Attributes:
        metric: The metric that decides.
        protocol: The reader of the task, which decides how the metric is computed.
        cuts: Every scored cut.
        chosen: The smallest rank that is good enough; None where no cut has a score everywhere.
        best: The one with the best score.
        allowed: What ``chosen`` may lose, in the unit of the metric.
    """

    metric: str
    protocol: str | None
    cuts: tuple[ScoredCut, ...]
    chosen: ScoredCut | None
    best: ScoredCut | None
    allowed: float

    @property
    def share(self) -> float | None:
        """The chosen adapter's parameters as a part of those of the best; None if not known."""
        if self.chosen is None or self.best is None or not self.best.size:
            return None
        return None if self.chosen.size is None else self.chosen.size / self.best.size

    @property
    def sentence(self) -> str:
        """The verdict as a sentence for a person to act on, without a full stop."""
        if self.chosen is None or self.best is None:
            return f"no rank to deploy: {title(self.metric)} is undefined at {self._undefined()}"
        factor = display_factor(self.metric, self.protocol)
        value = f"{title(self.metric)} {factor * self.chosen.mean:.2f}"
        parts = [f"deploy rank {self.chosen.rank} ({self._label(self.chosen)}): {value}"]
        if self.chosen is self.best:
            parts.append("the best of all ranks" if len(self.cuts) > 1 else "the only rank scored")
        else:
            difference = factor * (self.chosen.mean - self.best.mean)
            side = "below" if difference < 0 else "above"
            shown = f"{abs(difference):.2f}"
            if float(shown) == 0:
                shown = f"{abs(difference):.1g}"
            parts.append(f"{shown} {side} rank {self.best.rank}{self._other_cut()}")
            if self.share is not None:
                parts.append(f"{100 * self.share:.3g} % of its adapter parameters")
        seeds = len(self.chosen.values)
        counted = "one seed" if seeds == 1 else f"mean of {seeds} seeds"
        left_out = [name for name in _names(self.cuts) if name not in _whole(self.cuts)]
        notes = [counted, *(f"{self._cut_label(name)} left out, undefined" for name in left_out)]
        return "; ".join([", ".join(parts), *notes])

    def as_dict(self) -> dict[str, Any]:
        """Return the verdict as plain data for a record."""
        shown: dict[str, Any] = {"sentence": self.sentence, "metric": self.metric}
        for key, cut in (("chosen", self.chosen), ("best", self.best)):
            if cut is not None:
                truncation, scale = cut.name
                place = {"rank": cut.rank, "truncation": truncation, "scale": scale}
                shown[key] = {**place, "value": cut.mean}
        return {**shown, "share": self.share, "allowed_loss": self.allowed}

    def _label(self, cut: ScoredCut) -> str:
        return self._cut_label(cut.name)

    def _cut_label(self, name: CutName) -> str:
        """Return a cut's truncation, with its scale where the truncation was scored at several."""
        truncation, scale = name
        several = sum(other == truncation for other, _ in _names(self.cuts)) > 1
        return cut_name(truncation, scale if several else None) or "whole"

    def _other_cut(self) -> str:
        assert self.chosen is not None and self.best is not None
        return "" if self.best.name == self.chosen.name else f" ({self._label(self.best)})"

    def _undefined(self) -> str:
        """Return where scores are undefined, cut by cut."""
        found = []
        for name in _names(self.cuts):
            of_cut = [cut for cut in self.cuts if cut.name == name]
            ranks = [str(cut.rank) for cut in of_cut if not cut.values]
            where = f"rank{'s' * (len(ranks) > 1)} {', '.join(ranks)}"
            if len(ranks) == len(of_cut):
                where = "every rank"
            found.append(f"{where} ({self._cut_label(name)})")
        return "; ".join(found)


def cut_text(truncation: str | None, scale: str | None) -> str:
    """Return a cut in the words of the command line, without what it does not have."""
    return " ".join(filter(None, (truncation, scale))) or "whole"


def rank_verdict(
    records: Sequence[Record],
    tolerance: float | None = None,
    cuts: Collection[CutName] | None = None,
) -> RankVerdict | None:
    """Return which rank of a run, or of runs that differ in their seeds alone, to deploy.

    That is the smallest rank whose score, or mean over seeds, is good enough beside the best of
    all cuts. Of equal ranks the one with fewer adapter parameters, then the one with the better
    score, then the one scored last: configs list the plain cut before those that work for it.
    Cuts with an undefined score are left out: their best may lie in the gap.

    Args:
        records: Completed, at least one; each counts as a seed.
        tolerance: What may be lost, as a part of the best; None for the rule of the situation: one
            standard error over seeds, with one seed the run's ``ranks.tolerance``.
        cuts: The cuts to look at; None for all.

    Returns:
        None for a method without ranks.
    """
    metric = deciding_metric(records)
    found = [each for each in _scored_cuts(records, metric) if cuts is None or each.name in cuts]
    if not found:
        return None
    reader = (records[0].config.get("task") or {}).get("reader")
    protocol = reader if isinstance(reader, str) else None
    # The first of equals is taken.
    whole = _whole(found)
    usable = [each for each in reversed(found) if each.name in whole]
    if not usable:
        return RankVerdict(metric, protocol, tuple(found), None, None, 0.0)
    sign = metric_sign(metric)
    best = min(usable, key=lambda each: (-sign * each.mean, each.rank, _size(each)))
    if tolerance is None and len(records) == 1:
        tolerance = run_tolerance(records[0])
    allowed = allowed_loss(best.values, tolerance)
    # Slightly more, so that a difference of exactly the tolerance counts as within it.
    enough = sign * best.mean - allowed - 1e-12 * max(1.0, abs(best.mean))
    good = [each for each in usable if sign * each.mean >= enough]
    chosen = min(good, key=lambda each: (each.rank, _size(each), -sign * each.mean))
    return RankVerdict(metric, protocol, tuple(found), chosen, best, allowed)


def deciding_metric(records: Sequence[Record]) -> str:
    """Return the metric that decides: the task's, or the first that was scored without it."""
    named = (records[0].config.get("task") or {}).get("headline") or ""
    scored = (name for record in records for score in record.ranks for name in score.metrics)
    first = next(scored, named)
    return named if named == first or named in scored else first


def run_tolerance(record: Record) -> float:
    """Return the ``ranks.tolerance`` of a run, which its summary keeps."""
    noted = [cut.get("tolerance") for cut in record.summary]
    known = [value for value in noted if isinstance(value, float | int) and 0 <= value < 1]
    return float(known[0]) if known else DEFAULT_SHARE


def adapter_size(record: Record, score: RankScore) -> float | None:
    """Return the adapter parameters of a scored cut; None where the record does not say.

    All layers have the rank, so that it is the share of r_max, unless an imported adapter's layers
    differ in rank.
    """
    if score.rank is None or (record.training.get("imported") or {}).get("ranks"):
        return None
    r_max = (record.config.get("ranks") or {}).get("r_max")
    whole = record.parameters.get("adapter")
    return whole * score.rank / r_max if whole and r_max else float(score.rank)


def _scored_cuts(records: Sequence[Record], metric: str) -> list[ScoredCut]:
    """Return every cut with ranks, in the order of the records."""
    values: dict[tuple[int, CutName], list[float | None]] = {}
    sizes: dict[tuple[int, CutName], float | None] = {}
    for record in records:
        for score in record.ranks:
            if score.rank is None:
                continue
            key = (score.rank, (score.truncation, score.scale))
            value = score.metrics.get(metric)
            is_finite = value is not None and math.isfinite(value)
            values.setdefault(key, []).append(value if is_finite else None)
            if key not in sizes:
                sizes[key] = adapter_size(record, score)
    found = []
    for key, of_seeds in values.items():
        known = [float(value) for value in of_seeds if value is not None]
        whole = tuple(known) if len(known) == len(records) else ()
        found.append(ScoredCut(*key, whole, sizes[key]))
    return found


def _names(cuts: Sequence[ScoredCut]) -> list[CutName]:
    return list(dict.fromkeys(cut.name for cut in cuts))


def _whole(cuts: Sequence[ScoredCut]) -> set[CutName]:
    """Return the names of the cuts that have a value at each of their ranks."""
    return set(_names(cuts)) - {cut.name for cut in cuts if not cut.values}


def _size(cut: ScoredCut) -> float:
    return math.inf if cut.size is None else cut.size
