"""Which of a run's scores an export is of: the ranks, and the cut by which they are made."""

from __future__ import annotations

from dylora_exp.core import RequestError, did_you_mean, unknown_name
from dylora_exp.records import CutName, RankScore, Record, cut_text, rank_verdict

# What --rank takes besides the number of a rank.
NAMED = ("recommended", "best", "all")


def choose_scores(
    record: Record, rank: str, truncation: str | None = None, scale: str | None = None
) -> list[RankScore]:
    """Return the scores of the ranks that are asked for, all of one cut.

    Args:
        record: The run's.
        rank: A scored rank, ``recommended`` (which the verdict names), ``best`` or ``all``.
        truncation: How ranks are cut; None for the cut that the verdict names.
        scale: Their scale; None for the first that was scored with the truncation.

    Raises:
        RequestError: When the run has not completed or has no ranks, or none like these was scored.
    """
    if record.status != "completed":
        raise RequestError(f"run {record.run_id} is {record.status}, not completed.")
    scores = [score for score in record.ranks if score.rank is not None]
    if not scores:
        raise RequestError(f"run {record.run_id} is of method {record.method}, without ranks.")
    cuts = _cuts(scores, truncation, scale)
    verdict = rank_verdict([record], cuts=cuts)
    assert verdict is not None
    named = verdict.best if rank == "best" else verdict.chosen
    if rank in ("recommended", "best") and named is None:
        raise RequestError(f"--rank: found {rank}, but there is {verdict.sentence}.")
    cut = named.name if named else cuts[0]
    by_rank = {str(score.rank): score for score in scores if _cut(score) == cut}
    if rank == "all":
        return list(by_rank.values())
    wanted = str(named.rank) if named and rank in ("recommended", "best") else rank
    if wanted not in by_rank:
        ranks = ", ".join(by_rank)
        if rank.isdigit():
            raise RequestError(f"--rank: found {rank}, the run has scored ranks {ranks}.")
        raise RequestError(
            f"--rank: found {rank}, expected {', '.join(NAMED)} or one of the scored ranks {ranks}"
            f"{did_you_mean(rank, NAMED) or '.'}"
        )
    return [by_rank[wanted]]


def _cuts(scores: list[RankScore], truncation: str | None, scale: str | None) -> list[CutName]:
    """Return the scored cuts that were asked for, in the order of the record."""
    scored = list(dict.fromkeys(map(_cut, scores)))
    known = (("--cut/--truncation", truncation, 0), ("--scale", scale, 1))
    for field, value, index in known:
        names = list(dict.fromkeys(name[index] or "" for name in scored))
        if value is not None and value not in names:
            raise RequestError(unknown_name(field, value, names))
    found = [name for name in scored if truncation in (None, name[0]) and scale in (None, name[1])]
    if not found:
        all_of_them = ", ".join(cut_text(*name) for name in scored)
        raise RequestError(
            f"--cut, --scale: found {truncation} {scale}, the run has scored {all_of_them}."
        )
    return found if truncation is None else found[:1]


def _cut(score: RankScore) -> CutName:
    return score.truncation, score.scale
