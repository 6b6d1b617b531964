"""The answer of a report on one screen: at most ``MOST_LINES`` lines of ``WIDTH`` columns."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from rich.cells import cell_len, set_cell_size

from dylora_exp.config import cut_name
from dylora_exp.core import one_line
from dylora_exp.records import Record
from dylora_exp.reporting.analysis.decisions import FAILS, HOLDS, NO_DATA
from dylora_exp.reporting.analysis.display import (
    method_name,
    rank_list,
    series_name,
    subject_name,
    task_name,
)
from dylora_exp.reporting.analysis.groups import Series
from dylora_exp.reporting.analysis.notable import NOTABLE, Notable, notable_differences
from dylora_exp.reporting.analysis.pivot import Answer, PivotRow, answers, best_marked
from dylora_exp.reporting.analysis.report import Report, bare_report
from dylora_exp.reporting.analysis.sections import deciding

WIDTH = 80
MOST_LINES = 60
# The parts of the screen that a long one may take up; pivots have what is left.
_NOTES = 4
_DIFFERENCES = 8
_CLAIMS = 6
# A pivot has at least these lines: title, headings, two rows, what is left out, a blank.
_LEAST_PIVOT = 6
_MOST_RANKS = 8
_LONGEST_NAME = 36
# The columns of the rank to deploy and of the seconds of one training.
_ENDS = 13
_END = "Everything: dylora report --all; as a page with figures: dylora report --html"


def brief_lines(report: Report) -> list[str]:
    """Return the answer as lines: pivots in %, the differences that matter, verdicts on claims."""
    head = [*_about(report), *_notes(report)]
    found = answers(report)
    tail = [*_differences(report, found), *_claims(report), _END]
    room = MOST_LINES - len(head) - len(tail) - 1
    lines = [*head, "", *_pivots(found, room), *tail]
    return [_cut(line, WIDTH) for line in lines]


def pivot_lines(records: Iterable[Record], room: int = MOST_LINES) -> list[str]:
    """Return rank by method in % as lines, for each profile, model and task of some records.

    Args:
        records: Such as those of a multirun.
        room: How many lines there may be.
    """
    return [_cut(line, WIDTH) for line in _pivots(answers(bare_report(records)), room)]


def _about(report: Report) -> list[str]:
    """Return how many records there are, and of what."""
    lines = _wrapped(report.signature[0], 2)
    methods = sorted({method_name(group.names[3]) for group in report.groups})
    seeds = sorted({seed for group in report.groups for seed in group.seeds()})
    if methods:
        about = f"methods: {', '.join(methods)}; seeds: {', '.join(map(str, seeds))}"
        lines += _wrapped(about, 2)
    return lines


def _notes(report: Report) -> list[str]:
    """Return the first notes, in no more than ``_NOTES`` lines."""
    lines: list[str] = []
    for index, note in enumerate(report.warnings):
        wrapped = _wrapped(f"note: {note}", 2)
        rest = len(report.warnings) - index
        if len(lines) + len(wrapped) > _NOTES - (rest > 1):
            return [*lines, f"note: {rest} more note{'s' * (rest > 1)}: --all"]
        lines += wrapped
    return lines


def _pivots(found: Sequence[Answer], room: int) -> list[str]:
    """Return the pivots of as many tasks as there is room for, each with as many rows."""
    if not found:
        return []
    most = max(1, room // _LEAST_PIVOT)
    shown = found[: most if len(found) <= most else max(1, (room - 2) // _LEAST_PIVOT)]
    room -= 2 if len(shown) < len(found) else 0
    rows = _share([len(_rows(answer)) for answer in shown], room - 4 * len(shown))
    lines = []
    for answer, count in zip(shown, rows, strict=True):
        lines += [*_pivot(answer, count), ""]
    if len(shown) < len(found):
        others = [subject_name(answer.subject) for answer in found[len(shown) :]]
        lines += [_cut(f"{len(others)} more with --all: {'; '.join(others)}", WIDTH), ""]
    return lines


def _share(wanted: Sequence[int], room: int) -> list[int]:
    """Return how many lines each gets of those that there are, evenly."""
    given = [0] * len(wanted)
    while sum(given) < room and sum(given) < sum(wanted):
        open_ones = [index for index, count in enumerate(given) if count < wanted[index]]
        given[min(open_ones, key=lambda index: given[index])] += 1
    return given


def _rows(answer: Answer) -> list[PivotRow]:
    """Return the rows to show: one set of runs of each method, with all its cuts."""
    groups = {id(row.series.group) for row in answer.rows if row.is_main}
    return [row for row in answer.rows if id(row.series.group) in groups]


def _pivot(answer: Answer, count: int) -> list[str]:
    """Return a task's pivot: a line for each series, of each method first if not of all."""
    ordered = sorted(_rows(answer), key=lambda row: not row.is_main)
    kept = {id(row) for row in ordered[:count]}
    rows = best_marked([row for row in answer.rows if id(row) in kept])
    names = _short_names(row.series for row in rows)
    width = max(6, *(1 + len(_number(row, rank)) for row in rows for rank in row.cells))
    # A whole name is worth more than one more rank: it tells the cuts of a method apart.
    longest = min(_LONGEST_NAME, max(map(cell_len, names.values())))
    ranks = _shown_ranks(answer.ranks, min(_MOST_RANKS, (WIDTH - _ENDS - longest) // width))
    name = WIDTH - _ENDS - width * max(len(ranks), 1)
    headings = [f"r={rank}" for rank in ranks] or ["score"]
    head = "".join(f"{text:>{width - 1}} " for text in headings)
    lines = [
        _cut(f"{subject_name(answer.subject)}: {answer.metric}, {_seeds(rows)}", WIDTH),
        f"{'':{name}}{head}{'deploy':>6}{'time s':>7}",
    ]
    shown: Sequence[int | None] = ranks or [None]
    for row in rows:
        cells = [_number(row, rank) for rank in shown]
        if None in row.cells and ranks:
            cells = [_number(row, None), *[""] * (len(ranks) - 1)]
        # The mark of the best stands in the space between two numbers.
        texts = (text if text.endswith("*") else f"{text} " for text in cells)
        deploy = "" if row.deploy is None else f"r={row.deploy}"
        seconds = "" if row.seconds is None else f"{row.seconds:.{1 if row.seconds < 1000 else 0}f}"
        lines.append(
            set_cell_size(_cut(names[id(row.series)], name), name)
            + "".join(text.rjust(width) for text in texts)
            + f"{deploy:>6}{seconds:>7}"
        )
    left_out = [
        f"{number} more {what}{'s' * (number > 1)}"
        for number, what in (
            (len(answer.rows) - len(rows), "row"),
            (len(answer.ranks) - len(ranks), "rank"),
        )
        if number
    ]
    return [*lines, *([f"  {' and '.join(left_out)}: --all"] if left_out else [])]


def _seeds(rows: Sequence[PivotRow]) -> str:
    """Return over how many seeds the means of rows are."""
    counts = sorted({row.seeds for row in rows})
    if counts == [1]:
        return "one seed"
    over = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    return f"mean over {over} seeds, *: best"


def _short_names(series: Iterable[Series]) -> dict[int, str]:
    """Return names of series that tell them apart; the cut where a method has several."""
    found = list(series)
    cuts: dict[str, set[str]] = {}
    for one in found:
        cuts.setdefault(one.group.names[3], set()).add(one.cut)
    return {
        id(one): method_name(one.group.names[3])
        + (f" ({cut_name(one.truncation, one.scale)})" if len(cuts[one.group.names[3]]) > 1 else "")
        for one in found
    }


def _shown_ranks(ranks: Sequence[int], most: int) -> list[int]:
    """Return the ranks that there is room for: powers of two and the last before others."""
    if len(ranks) <= most:
        return list(ranks)
    powers = [rank for rank in ranks if rank & (rank - 1) == 0]
    kept = sorted({*powers[-most + 1 :], ranks[-1]})
    if len(kept) >= most // 2:
        return kept
    step = (len(ranks) - 1) / (most - 1)
    return [ranks[round(index * step)] for index in range(most)]


def _number(row: PivotRow, rank: int | None) -> str:
    cell = row.cells.get(rank)
    if cell is None:
        return ""
    return f"{cell.mean:.1f}{'*' * cell.is_best}"


def _differences(report: Report, found: Sequence[Answer]) -> list[str]:
    """Return the largest differences that one test alone would call significant."""
    notable, tests = notable_differences(deciding(report.series))
    if not tests:
        return ["Differences: none can be tested, which takes two seeds that both sides have.", ""]
    count = sum(len(one.ranks) for one in notable)
    lines = _wrapped(
        f"Differences with p < {NOTABLE:g} (paired t-tests, one at a time): {count} of {tests}; "
        f"{NOTABLE * tests:.0f} by chance if all were ties.",
        2,
    )
    shown = notable[: _DIFFERENCES - 3]
    names: dict[int, str] = {}
    for answer in found:
        names |= _short_names(row.series for row in _rows(answer))
    lines += [_cut(f"  {_difference(one, names)}", WIDTH) for one in shown]
    rest = len(notable) - len(shown)
    return [*lines, *([f"  {rest} more: --all"] if rest > 0 else []), ""]


def _difference(one: Notable, names: Mapping[int, str]) -> str:
    """Return a difference as ``+2.1..9.3 DyLoRA over LoRA at ranks 1–4: MRPC (mini), n=3``."""
    profile, _, task = one.better.group.subject
    ranks = [rank for rank in one.ranks if rank is not None]
    size = f"+{one.least:.1f}"
    if f"{one.least:.1f}" != f"{one.most:.1f}":
        size += f"..{one.most:.1f}"
    where = f", {rank_list(ranks)}" if ranks else ""
    better, worse = (names.get(id(side)) or series_name(side) for side in (one.better, one.worse))
    about = f"{size} {better} over {worse}{where}: {task_name(task)} ({profile}), n={one.seeds}"
    if cell_len(about) <= WIDTH - 2:
        return about
    return f"{size} {task_name(task)} ({profile}){where}: {better} over {worse}"


def _claims(report: Report) -> list[str]:
    if not report.verdicts:
        return []
    counts = Counter(verdict.word for verdict in report.verdicts)
    words = ((HOLDS, "hold"), (FAILS, "do not hold"), (NO_DATA, "lack data"))
    lines = ["Claims: " + ", ".join(f"{counts[word]} {text}" for word, text in words) + "."]
    decided = [verdict for verdict in report.verdicts if verdict.word != NO_DATA]
    for verdict in decided[: _CLAIMS - 2]:
        about = f"{verdict.task} ({verdict.profile})"
        lines.append(_cut(f"  {verdict.word}: {verdict.claim.name}, {about}", WIDTH))
    rest = len(decided) - (_CLAIMS - 2)
    return [*lines, *([f"  {rest} more: --all"] if rest > 0 else []), ""]


def _wrapped(text: str, most: int) -> list[str]:
    return textwrap.wrap(
        one_line(text), WIDTH, max_lines=most, placeholder=" ...", subsequent_indent="  "
    )


def _cut(text: str, width: int) -> str:
    """Return a text that is no wider than so many columns; three dots stand for the rest."""
    text = one_line(text)
    if cell_len(text) <= width:
        return text
    return set_cell_size(text, width - 3).rstrip() + "..."
