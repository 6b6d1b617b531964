"""A run from Python, as ``dylora run`` does it."""

from __future__ import annotations

from collections.abc import Sequence

from dylora_exp.config import compose
from dylora_exp.core import RequestError
from dylora_exp.records import Record
from dylora_exp.runner.run import run_if_needed


def run_overrides(overrides: str | Sequence[str] = ()) -> Record:
    """Do the run that some overrides describe, unless it is done already; return its record.

    The overrides are those of ``dylora run``, and so are the files that are written::

        record = run(["profile=demo", "method=dylora", "seed=42"])
        {score.rank: score.metrics["accuracy"] for score in record.ranks}

    Args:
        overrides: ``key=value`` each; one alone may be given as it is.

    Raises:
        RequestError: When the request is wrong; nothing is written then.
        RunFailed: When the run fails; its record says so as well.
        RunBusy: When another process does the run and ``running=skip`` is among the overrides.
    """
    given = [overrides] if isinstance(overrides, str) else list(overrides)
    if wrong := [each for each in given if not isinstance(each, str)]:
        raise RequestError(f"overrides: found {wrong[0]!r}, expected texts such as 'seed=42'.")
    return run_if_needed(compose(given)).record
