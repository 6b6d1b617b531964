"""What a table's YAML file may say: blocks of rows over columns, for each profile.

A row names a run and the cut that gives its ranks; a block says which of a row's scores it shows; a
column says what of a score, or of the run itself. What depends on the whole table, such as whether
a row's profile is one of it, is checked in ``specs.tables``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from dylora_exp.config import Scale, Truncation, known_keys, options
from dylora_exp.core import unknown_name
from dylora_exp.metrics import display_factor, metric_sign
from dylora_exp.reporting.specs.files import Spec
from dylora_exp.reporting.specs.select import Select
from dylora_exp.reporting.specs.tuning import TuningSpec


def _one_of(allowed: Callable[[], Collection[str]]) -> AfterValidator:
    """Return the check that a text is one of some names."""

    def check(name: str) -> str:
        if name not in allowed():
            raise ValueError(unknown_name("", name, allowed()).removeprefix(": "))
        return name

    return AfterValidator(check)


def _different_ranks(ranks: list[int]) -> list[int]:
    if ranks and (min(ranks) < 1 or len(set(ranks)) < len(ranks)):
        raise ValueError(f"found {ranks}, expected different ranks from 1 on")
    return ranks


def _different_labels(rows: list[RowSpec]) -> list[RowSpec]:
    for label, count in Counter(row.label for row in rows).items():
        if count > 1:
            raise ValueError(f"label '{label}' is there {count} times, expected different labels")
    return rows


MethodName = Annotated[str, _one_of(lambda: options("method"))]
TaskName = Annotated[str, _one_of(lambda: options("task"))]
ProfileName = Annotated[str, _one_of(lambda: options("profile"))]
RankList = Annotated[list[int], AfterValidator(_different_ranks)]


class RowSpec(Spec):
    """A run, or a search over several, and the cut that gives its ranks.

    Attributes:
        label: The row's name in the table.
        paper_label: The row's name in the paper's data; None when the paper has no such row.
        method: A file of ``conf/method``.
        set: Further overrides of the run, as on the command line.
        search: Train one run for each of these ranks (``ranks.r_max``), each scored at its own rank
            alone; empty for one run that is scored at all its ranks.
        truncation: How a lower rank is cut from the trained factors; None without ranks.
        scale: The scale of the truncated product; None without ranks.
        rank: The rank shown where the block has none of its own; None without ranks.
        only: The profiles that have this row; all when empty.
        optional: The profiles whose table is complete without this row's runs.
    """

    label: str
    paper_label: str | None = None
    method: MethodName
    set: list[str] = Field(default_factory=list)
    search: RankList = Field(default_factory=list)
    truncation: Truncation | None = None
    scale: Scale | None = None
    rank: int | None = None
    only: list[str] = Field(default_factory=list)
    optional: list[str] = Field(default_factory=list)


RowList = Annotated[list[RowSpec], AfterValidator(_different_labels)]


class BlockSpec(Spec):
    """Rows that are compared with each other, and which of their scores.

    Attributes:
        heading: The block's name in the table.
        show: ``rank``: the score at a rank. ``best_mean``, ``best_run``: at the rank with the best
            mean over seeds, or the best single run. ``aurac``, ``aurac_log2``: the mean height of
            the curve over ranks, or over their logarithm. ``recommended``: at the smallest rank
            that is good enough.
        ranks: One block for each of these ranks; ``{rank}`` in ``heading`` and ``paper_block``
            stands for it. Empty: each row's own rank.
        rows: The block's rows; the table's when empty.
        tolerance: What the recommended rank may lose, as a part of the best mean; None: one
            standard error over seeds.
        paper_block: The block of the paper's data that shows the same, or None.
        only: The profiles that have this block; all when empty.
    """

    heading: str = ""
    show: str = "rank"
    ranks: RankList = Field(default_factory=list)
    rows: RowList = Field(default_factory=list)
    tolerance: Annotated[float, Field(ge=0, lt=1)] | None = None
    paper_block: str | None = None
    only: list[str] = Field(default_factory=list)

    @field_validator("ranks")
    @classmethod
    def _ranks_are_shown(cls, ranks: list[int], info: ValidationInfo) -> list[int]:
        if ranks and info.data["show"] != "rank":
            raise ValueError(f"found {ranks}, only a block with 'show: rank' has them")
        return ranks

    @field_validator("tolerance")
    @classmethod
    def _tolerance_is_used(cls, tolerance: float | None, info: ValidationInfo) -> float | None:
        if tolerance is not None and info.data["show"] != "recommended":
            raise ValueError("only a block with 'show: recommended' has one")
        return tolerance

    def for_rank(self, rank: int) -> BlockSpec:
        """Return the block of one of the ranks."""
        heading = self.heading.replace("{rank}", str(rank))
        paper_block = self.paper_block and self.paper_block.replace("{rank}", str(rank))
        update = {"heading": heading, "paper_block": paper_block, "ranks": [rank]}
        return self.model_copy(update=update)


class ColumnSpec(Spec):
    """What a column shows; the first score of each task is the one that the average counts.

    Attributes:
        heading: The column's name in the table.
        measure: ``score``: a metric of a task. ``parameters``: what is trained, at the rank shown.
            ``train_seconds``: of the row's run, or of all runs of its search. ``cost``: the number
            of a row's runs, and their seconds as a multiple of another row's.
        task: A file of ``conf/task``; a cost is over all tasks.
        metric: A metric of the task.
        factor: What a score is multiplied with; None: 100 where the metric is a fraction, which
            makes percent, otherwise 1.
        lower_is_better: Whether the lowest score is the best; None: as the metric says.
        relative_to: The label of the row that a cost is a multiple of.
        paper_column: The column of the paper's data that shows the same, or None.
    """

    heading: str
    measure: str = "score"
    task: TaskName = ""
    metric: str = ""
    factor: float | None = None
    lower_is_better: bool | None = None
    relative_to: str = ""
    paper_column: str | None = None

    def sign(self) -> int:
        """Return 1 where higher is better, -1 where lower is."""
        if self.lower_is_better is None:
            return metric_sign(self.metric)
        return -1 if self.lower_is_better else 1

    def factor_with(self, reader: str) -> float:
        """Return what a score is multiplied with.

        Args:
            reader: The reader of the column's task, which decides how the metric is computed.
        """
        return self.factor or float(display_factor(self.metric, reader))


class ProfileSpec(Spec):
    """The part of a table that depends on how big the reproduction is.

    Attributes:
        seeds: One run for each.
        columns: Left to right, the average excluded.
        runs: The file of ``conf/profile`` that its runs are composed from, where it has another
            name.
        set: Further overrides of all runs, such as which split is scored.
        select: Which epoch's scores count: ``last``, or ``best`` for each rank.
        tuning: How values are chosen for its trainings, instead of the table's; null: not at all.
        paper_average: The name of the paper's average, where it is over the same tasks.
        difference: Whether the profile aims at the paper's numbers, so that a difference means
            something.
    """

    seeds: list[int]
    columns: list[ColumnSpec]
    runs: ProfileName | None = None
    set: list[str] = Field(default_factory=list)
    select: Select = "last"
    tuning: TuningSpec | None = None
    paper_average: str | None = None
    difference: bool = False

    @field_validator("seeds")
    @classmethod
    def _seeds_differ(cls, seeds: list[int]) -> list[int]:
        if not seeds or len(set(seeds)) < len(seeds):
            raise ValueError(f"found {seeds}, expected different seeds")
        return seeds

    @field_validator("columns")
    @classmethod
    def _some_score(cls, columns: list[ColumnSpec]) -> list[ColumnSpec]:
        if all(column.measure != "score" for column in columns):
            raise ValueError("found no score, expected at least one")
        return columns

    def headlines(self) -> list[int]:
        """Return the index of each task's first score."""
        first: dict[str, int] = {}
        for index, column in enumerate(self.columns):
            if column.measure == "score":
                first.setdefault(column.task, index)
        return list(first.values())

    def tasks(self) -> list[str]:
        """Return the tasks of all columns, each once."""
        return list(dict.fromkeys(column.task for column in self.columns if column.task))


class TableSpec(Spec):
    """A table.

    Attributes:
        title: What it is about, without its number.
        caption: What a reader must know.
        paper_model: The backbone of the printed numbers; None for a table without any.
        printed_by: Who prints them, where it is not the DyLoRA paper.
        rows: The rows of each block that has none of its own.
        blocks: From top to bottom.
        average: Whether a last column averages over tasks, where there are several.
        transposed: Whether rows stand side by side and columns below each other; one block only.
        figures: How the names of its rank-quality figures begin; None for no figures.
        tuning: How values are chosen for its trainings; None: they are the profile's.
        profiles: The parts that depend on the profile.
    """

    title: str
    caption: str
    paper_model: str | None = None
    printed_by: str | None = None
    rows: RowList = Field(default_factory=list)
    blocks: list[BlockSpec]
    average: bool = True
    transposed: bool = False
    figures: str | None = None
    tuning: TuningSpec | None = None
    profiles: dict[str, ProfileSpec]

    @property
    def is_of_paper(self) -> bool:
        """Whether it is a table of the DyLoRA paper, which has its number."""
        return self.paper_model is not None and self.printed_by is None

    def tuning_in(self, profile: str) -> TuningSpec | None:
        """Return how values are chosen in a profile."""
        part = self.profiles[profile]
        return part.tuning if "tuning" in part.model_fields_set else self.tuning

    def blocks_in(self, profile: str) -> list[BlockSpec]:
        """Return a profile's blocks, each with the rows that it has there."""
        blocks = []
        for block in self.blocks:
            if not block.only or profile in block.only:
                rows = block.rows or self.rows
                rows = [row for row in rows if not row.only or profile in row.only]
                blocks.append(block.model_copy(update={"rows": rows}))
        return blocks


class SettingSpec(Spec):
    """A line of a table of settings.

    Attributes:
        label: Its name in the table.
        key: The dotted key of the composed config that it shows.
        fixed: What the code decides and no key does.
        seeds_of: The table whose seeds it shows, those of the same profile.
        paper_label: Its name in the paper's data; None when the paper does not print it.
    """

    label: str
    key: Annotated[str, _one_of(known_keys)] | None = None
    fixed: str | None = None
    seeds_of: str | None = None
    paper_label: str | None = None


class SettingsBlock(Spec):
    """Settings of one composed config.

    Attributes:
        heading: The block's name in the table.
        profiles: For each profile that has the block the file of ``conf/profile`` it is composed
            from.
        set: Further overrides, as on the command line.
        rows: From top to bottom.
        paper_block: The block of the paper's data that shows the same, or None.
    """

    heading: str
    profiles: dict[str, ProfileName]
    set: list[str] = Field(default_factory=list)
    rows: list[SettingSpec]
    paper_block: str | None = None


class SettingsSpec(Spec):
    """A table of settings, as composed, beside those that the paper prints; it needs no runs.

    Attributes:
        kind: ``settings``; a table of scores has no such key.
        title: What it is about, without its number.
        caption: What a reader must know.
        blocks: From top to bottom.
    """

    kind: Literal["settings"]
    title: str
    caption: str
    blocks: list[SettingsBlock]

    @property
    def profiles(self) -> dict[str, list[SettingsBlock]]:
        """The blocks of each profile that has any."""
        names = dict.fromkeys(name for block in self.blocks for name in block.profiles)
        return {name: [b for b in self.blocks if name in b.profiles] for name in names}
