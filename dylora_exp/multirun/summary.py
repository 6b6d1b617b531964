"""What is printed about many jobs when all have ended, and the exit code."""

from __future__ import annotations

from collections.abc import Sequence

from dylora_exp.core import print_error
from dylora_exp.multirun.jobs import JobResult


def exit_code(results: Sequence[JobResult]) -> int:
    """Return 0 when no job failed, 2 when all were wrong requests, else 1."""
    if not any(result.problems for result in results):
        return 0
    return 2 if all(result.wrong_request for result in results) else 1


def counts_line(results: Sequence[JobResult]) -> str:
    """Return a line with the number of jobs that were done, skipped and not completed."""
    good = [result for result in results if not result.problems]
    counts = {
        "done now": sum(result.fresh for result in good),
        "done before": sum(not result.fresh and not result.skipped_owner for result in good),
        "skipped, another process is doing them": sum(bool(r.skipped_owner) for r in good),
        "not completed": len(results) - len(good),
    }
    parts = [f"{count} {what}" for what, count in counts.items() if count]
    return f"{len(results)} runs: {', '.join(parts)}"


def print_failures(results: Sequence[JobResult], total: int) -> None:
    """Print why jobs failed to stderr, those of one reason together.

    Args:
        results: The results of the jobs; those without problems are left out.
        total: How many jobs there were.
    """
    failed = [result for result in results if result.problems]
    reasons: dict[str, list[str]] = {}
    for result in failed:
        for problem in result.problems:
            reasons.setdefault(problem, []).append(result.name)
    if failed:
        print_error(f"{len(failed)} of {total} runs did not complete:")
    for reason, names in reasons.items():
        print_error(f"{'; '.join(names)}: {reason}")
