"""The claims of the paper and of the project, read from ``conf/paper/claims.yaml`` and checked.

A claim compares a left with a right side and says between which bounds the effect lies.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from dylora_exp.core import RequestError, parse
from dylora_exp.reporting.specs.files import Spec, read_yaml
from dylora_exp.reporting.specs.layout import RowSpec, TaskName
from dylora_exp.reporting.specs.paper import PAPER_DIR

CLAIMS = PAPER_DIR / "claims.yaml"
OWN_BOUND = " (project's bound)"

Bound = Literal["above", "below"]


class ClaimSpec(Spec):
    """A claim: the effect of the left side against the right one lies between two bounds.

    Both sides are runs with the profile's own settings but for what ``set`` changes, as a row of a
    table is (``tables.layout.RowSpec``).

    Attributes:
        name: A short name.
        says: The claim as a sentence.
        source: Whose it is: ``paper`` or ``project``.
        place: The section or table that makes it.
        family: The claims that are corrected together, in each profile and over all tasks; those
            that answer one question. Its source when empty.
        left: A side; its ``label`` names it.
        right: The other side.
        measure: ``score``: a metric of the task. ``train_seconds``: of the run, or of all runs of
            a search.
        compare: ``difference``: left less right, in the unit of the measure; of a score of which
            less is better, right less left. ``ratio``: left divided by right, where both are
            positive; right divided by left where less of a score is better.
        above: The effect is above this; None without a lower bound.
        below: The effect is below this; None without an upper bound.
        own_bounds: Those bounds of a claim of the paper that are the project's own. A bound of the
            paper is a number that it gives, or 0 (1 of a ratio) where it says which side is better.
        ranks: The ranks of a score; a side's own ``rank`` goes before them.
        each_rank: Whether the claim is about each of the ranks, or about their mean.
        tasks: The tasks that it is about; all when empty. Their scores must have the same scale,
            for they are averaged and the bounds are one for all.
        metric: The metric of a score; the task's headline when empty.
    """

    name: str
    says: str
    source: Literal["paper", "project"]
    place: str
    family: str = ""
    left: RowSpec
    right: RowSpec
    measure: Literal["score", "train_seconds"] = "score"
    compare: Literal["difference", "ratio"] = "difference"
    above: float | None = None
    below: float | None = None
    own_bounds: list[Bound] = Field(default_factory=list)
    ranks: list[int] = Field(default_factory=list)
    each_rank: bool = True
    tasks: list[TaskName] = Field(default_factory=list)
    metric: str = ""

    @model_validator(mode="after")
    def _goes_together(self) -> ClaimSpec:
        found = []
        if self.above is None and self.below is None:
            found.append("found no bound, expected 'above', 'below' or both.")
        if self.above is not None and self.below is not None and self.above >= self.below:
            found.append(
                f"above: found {self.above:g}, expected less than 'below', {self.below:g}."
            )
        bounds = [name for name, _ in self.bounds()]
        found += [
            f"own_bounds: found '{name}', but the claim has no such bound."
            for name in self.own_bounds
            if name not in bounds
        ]
        if "each_rank" in self.model_fields_set and not self.ranks:
            found.append("each_rank: found no 'ranks' to be about.")
        if self.measure != "score" and (self.ranks or self.metric):
            found.append(f"a claim about {self.measure} has neither 'ranks' nor 'metric'.")
        if found:
            raise RequestError(found)
        return self

    @property
    def family_name(self) -> str:
        """The name of the family that it is corrected in."""
        return self.family or self.source

    def bounds(self) -> list[tuple[Bound, float]]:
        """Return the bounds that there are, by name."""
        bounds: list[tuple[Bound, float | None]] = [("above", self.above), ("below", self.below)]
        return [(name, value) for name, value in bounds if value is not None]

    def expected(self) -> str:
        """Return the bounds as text; the project's own are marked so."""
        unit = "x" if self.compare == "ratio" else ""
        own = ("above", "below") if self.source == "project" else self.own_bounds
        found = [
            f"{name} {value:g}{unit}{OWN_BOUND if name in own else ''}"
            for name, value in self.bounds()
        ]
        return f"{self.compare} {' and '.join(found)}"

    def sides(self) -> tuple[RowSpec, RowSpec]:
        """Return the left and the right side."""
        return self.left, self.right


class _ClaimsFile(Spec):
    claims: list[dict[str, object]]


def load_claims(path: Path = CLAIMS) -> list[ClaimSpec]:
    """Read the claims.

    Args:
        path: The file; without one there are no claims.

    Raises:
        RequestError: When the file is malformed, naming it and each field that is wrong.
    """
    if not path.exists():
        return []
    trees = read_yaml(_ClaimsFile, path).claims
    names = [tree.get("name", f"number {index}") for index, tree in enumerate(trees, 1)]
    problems = [
        f"claim '{name}' is there {count} times, expected different names."
        for name, count in Counter(map(str, names)).items()
        if count > 1
    ]
    claims = []
    for name, tree in zip(names, trees, strict=True):
        try:
            claims.append(parse(ClaimSpec, tree))
        except RequestError as error:
            problems += [f"claim '{name}': {problem}" for problem in error.problems]
    if problems:
        raise RequestError(f"{path}: {problem}" for problem in problems)
    return claims
