"""The notes under a table: how to read it, what it lacks, and where its numbers come from."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from typing import TypeVar

from dylora_exp.records import Record
from dylora_exp.reporting.analysis.cells import Table
from dylora_exp.reporting.analysis.display import task_name
from dylora_exp.reporting.analysis.measures import MEASURES, SHOWS, Cell
from dylora_exp.reporting.analysis.plan import OPTIONAL, MissingRun
from dylora_exp.reporting.analysis.provenance import metric_versions
from dylora_exp.reporting.analysis.tuning_rule import edges
from dylora_exp.reporting.specs.select import SELECTS
from dylora_exp.reporting.specs.tuning import tune_command

# What stands in a cell that lacks runs, and before the note that names them.
MARKS = {"no record": "†", "other settings": "†", "failed": "‡", "running": "§", OPTIONAL: "¶"}

Key = TypeVar("Key", bound=Hashable)
Item = TypeVar("Item")


def notes(table: Table) -> list[str]:
    """Return the lines under a table, the signature last."""
    return [
        legend(table),
        *tuning_notes(table),
        *missing_notes(table),
        *undefined_notes(table),
        signature(table),
    ]


def paper_label(table: Table) -> str:
    """Return the name of the lines that hold the printed values."""
    return f"{table.spec.printed_by or 'paper'} ({table.spec.paper_model})"


def legend(table: Table) -> str:
    """Return how to read a cell, as far as the table has such cells."""
    cells = [cell for block in table.blocks for line in block.lines for cell in line.cells]
    percent = all(c.factor == 100 for c in table.columns if c.measure == "score")
    unit = ", in %" if percent else ""
    parts = [f"mean±sample standard deviation over seeds{unit} (number of seeds)"]
    if any(cell.at is not None for cell in cells):
        parts.append("@b: reached at rank b")
    parts += _block_legends(table)
    parts += _column_legends(table)
    if len(table.columns) > len(table.part.columns):
        averaged = [table.columns[index].heading for index in table.part.headlines()]
        parts.append(f"Avg: mean of {', '.join(averaged)}")
    parts.append(f"bold: best of its {'row' if table.spec.transposed else 'block'}")
    if any(cell.printed for cell in cells):
        parts.append(f"{paper_label(table)}: as printed" + _difference_legend(table))
    return "; ".join(parts) + "."


def _block_legends(table: Table) -> list[str]:
    """Return what blocks show that are not about one rank, after their headings."""
    return [
        f"{block.heading}: {legend}"
        for block in table.spec.blocks_in(table.profile)
        if (legend := SHOWS[block.show].legend(block))
    ]


def _column_legends(table: Table) -> list[str]:
    """Return what columns show that are no scores, after their headings."""
    return [
        f"{column.heading}: {legend.format(**vars(column))}"
        for column in table.part.columns
        if (legend := MEASURES[column.measure].legend)
    ]


def tuning_notes(table: Table) -> list[str]:
    """Return a line about the values that were chosen for trainings, and one about the edges."""
    tuning = table.part.tuning
    if tuning is None or not table.choices:
        return []
    tried = "; ".join(
        f"{_setting_name(key)} among {', '.join(map(_value_text, values))}"
        for key, values in tuning.values.items()
    )
    examples = dict.fromkeys(
        f"{'?' if each.examples is None else each.examples} of {task_name(each.task)}"
        for _, each in table.choices
    )
    by_task = _group(
        (task_name(each.task), f"{label} {', '.join(map(_value_text, each.chosen.values()))}")
        for label, each in table.choices
    )
    chosen = "; ".join(f"{task}: {', '.join(texts)}" for task, texts in by_task.items())
    lines = [
        f"Tuned, for each training by the same trials: {tried}, on held-out training examples "
        f"({', '.join(examples)}), seed {tuning.seed} "
        f"({tune_command(table.name, table.profile)}). {chosen}."
    ]
    at_edges = _group(
        ((end, key), f"{label} on {task_name(each.task)}")
        for label, each in table.choices
        for key, end in edges(tuning.values, each.chosen).items()
    )
    lines += [
        f"The best {_setting_name(key)} is the {end} tried: {', '.join(names)}."
        for (end, key), names in at_edges.items()
    ]
    return lines


def _setting_name(key: str) -> str:
    return key.rpartition(".")[2].replace("_", " ")


def _value_text(value: float) -> str:
    return f"{value:g}"


def marks(cell: Cell) -> str:
    """Return the marks of a cell's missing runs."""
    return "".join(MARKS[reason] for reason in cell.lacks)


def missing_notes(table: Table) -> list[str]:
    """Return a line for each reason why runs are missing, naming them all, after its mark."""
    by_reason: dict[str, list[MissingRun]] = {}
    for item in [*table.missing, *table.left_out]:
        by_reason.setdefault(item.reason, []).append(item)
    lines = []
    for reason, items in by_reason.items():
        what = "Not run, not required" if reason == OPTIONAL else f"Missing ({reason})"
        lines.append(f"{MARKS[reason]} {what}: {_runs_text(items)}.")
    return lines


def undefined_notes(table: Table) -> list[str]:
    """Return a line that names the values which completed runs do not have."""
    if not table.undefined:
        return []
    groups = _group(
        ((item.label, item.metric, item.task, item.seed), item.rank) for item in table.undefined
    )
    texts = []
    for (label, metric, task, seed), ranks in groups.items():
        known = [rank for rank in ranks if rank is not None]
        where = f" at {_numbered('rank', known)}" if known else ""
        texts.append(f"{label}: {metric} of {task}, seed {seed}{where}")
    return [f"Undefined: {'; '.join(texts)}."]


def signature(table: Table) -> str:
    """Return the runs, records and versions behind the table."""
    seeds = sorted({*table.part.seeds, *(record.seed for record in table.records)})
    found, needed = len(table.records), len(table.records) + len(table.missing)
    parts = [
        f"profile {table.profile}",
        _numbered("seed", seeds),
        f"{found} records of {needed} runs",
        SELECTS[table.part.select] + _split(table),
        f"configs without seed {', '.join(table.setups)}",
    ]
    if table.records:
        parts += _provenance(table.records)
    return "Made from: " + "; ".join(parts) + "."


def _split(table: Table) -> str:
    """Return on which split the best epochs were chosen: those of a test split flatter."""
    if table.part.select != "best":
        return ""
    splits = {record.config.get("task", {}).get("eval_split") for record in table.records}
    return f", chosen on the {'test' if 'test' in splits else 'development'} split"


def _difference_legend(table: Table) -> str:
    lines = [line for block in table.blocks for line in block.lines]
    compared = any(
        cell.printed and cell.mean is not None and MEASURES[column.measure].printed_unit is None
        for line in lines
        for cell, column in zip(line.cells, table.columns, strict=True)
    )
    return " [ours - printed]" if table.part.difference and compared else ""


def _runs_text(items: Sequence[MissingRun]) -> str:
    """Return the names of runs; methods and tasks that lack the same seeds share a phrase."""
    seeds = _group(((item.run.setup.name(), item.run.task), item.run.seed) for item in items)
    tasks = _group(((method, tuple(found)), task) for (method, task), found in seeds.items())
    methods = _group(((tuple(names), found), method) for (method, found), names in tasks.items())
    return "; ".join(
        f"{', '.join(names)} on {', '.join(where)}, {_numbered('seed', found)}"
        for (where, found), names in methods.items()
    )


def _group(pairs: Iterable[tuple[Key, Item]]) -> dict[Key, list[Item]]:
    groups: dict[Key, list[Item]] = {}
    for key, item in pairs:
        groups.setdefault(key, []).append(item)
    return groups


def _numbered(word: str, numbers: Sequence[object]) -> str:
    return f"{word}{'s' if len(numbers) > 1 else ''} {', '.join(map(str, numbers))}"


def _provenance(records: Sequence[Record]) -> list[str]:
    """Return the metrics' settings, versions and commits behind records, as these state them."""
    versions = _names(record.environment.get("project") for record in records)
    commits = _names((record.environment.get("git_commit") or "unknown")[:7] for record in records)
    states = [record.environment.get("dirty") for record in records]
    unknown = states.count(None)
    return [
        *metric_versions(records),
        f"dylora-exp {', '.join(versions)}, {_numbered('commit', commits)}",
        f"{states.count(True) or 'none'} from a modified source tree"
        + (f" ({unknown} unknown)" if unknown else ""),
    ]


def _names(values: Iterable[object]) -> list[str]:
    """Return values as texts, each once, sorted."""
    return sorted({"unknown" if value is None else str(value) for value in values})
