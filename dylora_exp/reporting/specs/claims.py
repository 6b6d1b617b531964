"""The claims of the paper and of the project, read from ``conf/paper/claims.yaml`` and checked.

A claim compares a left with a right side and says between which bounds the effect lies.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from omegaconf import MISSING

from dylora_exp.config import options
from dylora_exp.core import RequestError, unknown_name
from dylora_exp.reporting.specs.layout import RowSpec
from dylora_exp.reporting.specs.paper import PAPER_DIR
from dylora_exp.reporting.specs.tables import read_yaml

CLAIMS = PAPER_DIR / "claims.yaml"
SOURCES = ("paper", "project")
MEASURES = ("score", "train_seconds")
COMPARISONS = ("difference", "ratio")


@dataclass
class ClaimSpec:
    """A claim: the effect of the left side against the right one lies between two bounds.

    Both sides are runs with the profile's own settings but for what ``set`` changes, as a row of a
    table is (``tables.layout.RowSpec``).

    Attributes:
        name: A short name.
        says: The claim as a sentence.
        source: Whose it is: ``paper`` or ``project``.
        place: Where it stands.
        left: A side; its ``label`` names it.
        right: The other side.
        measure: ``score``: a metric of the task. ``train_seconds``: of the run, or of all runs of
            a search.
        compare: ``difference``: left less right, in the unit of the measure. ``ratio``: left
            divided by right, where both are positive.
        above: The effect is above this; None without a lower bound.
        below: The effect is below this; None without an upper bound.
        ranks: The ranks of a score that are averaged; a side's own ``rank`` goes before them.
        each_rank: Whether the claim is about each of the ranks instead of their mean.
        tasks: The tasks that it is about; all when empty. Their scores must have the same scale,
            for they are averaged and the bounds are one for all.
        metric: The metric of a score; the task's headline when empty.
    """

    name: str = MISSING
    says: str = MISSING
    source: str = MISSING
    place: str = MISSING
    left: RowSpec = MISSING
    right: RowSpec = MISSING
    measure: str = "score"
    compare: str = "difference"
    above: float | None = None
    below: float | None = None
    ranks: list[int] = field(default_factory=list)
    each_rank: bool = False
    tasks: list[str] = field(default_factory=list)
    metric: str = ""

    def expected(self) -> str:
        """Return the bounds in words."""
        unit = "x" if self.compare == "ratio" else ""
        bounds = [("above", self.above), ("below", self.below)]
        words = [f"{word} {value:g}{unit}" for word, value in bounds if value is not None]
        return f"{self.compare} {' and '.join(words)}"

    def sides(self) -> tuple[RowSpec, RowSpec]:
        """Return the left and the right side."""
        return self.left, self.right


@dataclass
class ClaimsFile:
    """The whole file."""

    claims: list[ClaimSpec] = MISSING


def load_claims(path: Path = CLAIMS) -> list[ClaimSpec]:
    """Read the claims.

    Args:
        path: The file; without one there are no claims.

    Raises:
        RequestError: When the file is malformed, naming it and each field that is wrong.
    """
    if not path.exists():
        return []
    claims = read_yaml(ClaimsFile, path).claims
    problems = [f"{path}: {problem}" for problem in _problems(claims)]
    if problems:
        raise RequestError(problems)
    return claims


def _problems(claims: list[ClaimSpec]) -> Iterator[str]:
    for name, count in Counter(claim.name for claim in claims).items():
        if count > 1:
            yield f"claim '{name}' is there {count} times, expected different names."
    for claim in claims:
        for problem in _claim_problems(claim):
            yield f"claim '{claim.name}': {problem}"


def _claim_problems(claim: ClaimSpec) -> Iterator[str]:
    choices = (("source", SOURCES), ("measure", MEASURES), ("compare", COMPARISONS))
    for key, allowed in choices:
        if getattr(claim, key) not in allowed:
            yield unknown_name(key, getattr(claim, key), allowed)
    for key, side in (("left", claim.left), ("right", claim.right)):
        if side.method not in options("method"):
            yield unknown_name(f"{key}.method", side.method, options("method"))
    for task in claim.tasks:
        if task not in options("task"):
            yield unknown_name("tasks", task, options("task"))
    if claim.above is None and claim.below is None:
        yield "found no bound, expected 'above', 'below' or both."
    if claim.above is not None and claim.below is not None and claim.above >= claim.below:
        yield f"above: found {claim.above:g}, expected less than 'below', {claim.below:g}."
    if claim.each_rank and not claim.ranks:
        yield "each_rank: found no 'ranks' to be about."
    if claim.measure != "score" and (claim.ranks or claim.metric):
        yield f"a claim about {claim.measure} has neither 'ranks' nor 'metric'."
