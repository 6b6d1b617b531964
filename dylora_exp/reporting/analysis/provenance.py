"""What records say about the software that they were made with."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from dylora_exp.records import Record


def metric_versions(records: Sequence[Record]) -> list[str]:
    """Return the settings and versions behind the metrics of records, a phrase each.

    Records did not always hold them: those that do not are counted and their metrics named, with
    what is known of the reason.

    Args:
        records: Completed records.
    """
    signatures = {str(one.scoring["signature"]) for one in records if _has_versions(one)}
    phrases = [f"metrics {' / '.join(sorted(signatures))}"] if signatures else []
    before = [record for record in records if not record.scoring]
    others = [record for record in records if record.scoring and not _has_versions(record)]
    for unversioned, reason in (
        (before, "made before records held metric versions"),
        (others, "that hold no metric versions"),
    ):
        if unversioned:
            count = f"{len(unversioned)} of {len(records)} records"
            phrases.append(f"metrics {', '.join(_metrics(unversioned))} in {count} {reason}")
    return phrases


def _has_versions(record: Record) -> bool:
    return bool(record.scoring.get("signature"))


def _metrics(records: Iterable[Record]) -> list[str]:
    """Return the names of the metrics that records have scores of, sorted."""
    return sorted({name for one in records for score in one.ranks for name in score.metrics})
