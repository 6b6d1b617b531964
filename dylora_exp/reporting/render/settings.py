"""A table of settings: what a profile composes to, beside what the paper prints.

It is read off the composed config itself, so that it never says anything else than what runs.
"""

from __future__ import annotations

import csv
import functools
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dylora_exp.config import Config, compose
from dylora_exp.reporting.render.latex import escape, latex_float
from dylora_exp.reporting.render.tables import pipe_table
from dylora_exp.reporting.specs.layout import SettingsBlock, SettingSpec, SettingsSpec
from dylora_exp.reporting.specs.paper import paper_name, printed_settings
from dylora_exp.reporting.specs.tables import load_spec

_HEADINGS = ["Parameter", "Ours", "Paper"]
_NOTE = (
    "Ours: as composed from the profile that the block names, and as every run of it is made; "
    "Paper: as printed, blank where it is not or where its text is lost."
)


@dataclass(frozen=True)
class _Line:
    block: str
    label: str
    key: str | None
    ours: str
    paper: str

    def cells(self) -> list[str]:
        return [self.label, self.ours, self.paper]


def settings_texts(
    name: str, profile: str, spec: SettingsSpec, blocks: Sequence[SettingsBlock]
) -> dict[str, str]:
    """Return a table of settings by the ending of its file: ``md``, ``tex``, ``csv``.

    Raises:
        RequestError: When a block cannot be composed.
    """
    groups = [(_heading(block, profile), _lines(name, profile, block)) for block in blocks]
    return {
        "md": _markdown(name, profile, spec, groups),
        "tex": _latex(name, profile, spec, groups),
        "csv": _csv([line for _, lines in groups for line in lines]),
    }


Groups = Sequence[tuple[str, list[_Line]]]


def _heading(block: SettingsBlock, profile: str) -> str:
    return f"{block.heading} (profile={block.profiles[profile]})"


def _lines(name: str, profile: str, block: SettingsBlock) -> list[_Line]:
    config = compose([f"profile={block.profiles[profile]}", *block.set])
    printed = printed_settings(name)
    return [
        _Line(
            block.heading,
            row.label,
            row.key,
            _ours(row, config, profile),
            printed.get((block.paper_block, row.paper_label), ""),
        )
        for row in block.rows
    ]


def _ours(row: SettingSpec, config: Config, profile: str) -> str:
    if row.key is not None:
        return _text(functools.reduce(getattr, row.key.split("."), config))
    if row.seeds_of is not None:
        return _text(load_spec(row.seeds_of, profile)[1].seeds)
    return row.fixed or ""


def _text(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _markdown(name: str, profile: str, spec: SettingsSpec, groups: Groups) -> str:
    rows = [["", *_HEADINGS]]
    for heading, lines in groups:
        rows += [[heading if place == 0 else "", *line.cells()] for place, line in enumerate(lines)]
    title = f"## {paper_name(name)}: {spec.title} ({profile})"
    return "\n\n".join([title, spec.caption.strip(), pipe_table(rows), f"- {_NOTE}"]) + "\n"


def _latex(name: str, profile: str, spec: SettingsSpec, groups: Groups) -> str:
    rows = []
    for heading, lines in groups:
        cells = [rf"& {' & '.join(map(escape, line.cells()))} \\" for line in lines]
        rows += [r"\midrule", f"{escape(heading)} {cells[0]}", *cells[1:]]
    where = f"{paper_name(name)} of the paper; {profile} profile"
    caption = f"{spec.title} ({where}). {spec.caption}"
    return latex_float(caption, f"{name}-{profile}", _HEADINGS, rows, [_NOTE])


def _csv(lines: Sequence[_Line]) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["block", "label", "key", "ours", "paper"])
    writer.writerows([line.block, line.label, line.key, line.ours, line.paper] for line in lines)
    return stream.getvalue()
