"""A table of settings: what a profile composes to, beside what the paper prints.

It is read off the composed config itself, so that it never says anything else than what runs.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

from dylora_exp.config import Config, compose
from dylora_exp.reporting.render.text_table import TextLine, TextTable
from dylora_exp.reporting.specs.layout import SettingsBlock, SettingSpec, SettingsSpec
from dylora_exp.reporting.specs.paper import paper_name, printed_settings
from dylora_exp.reporting.specs.tables import load_spec

_NOTE = (
    "Ours: as composed from the profile that the block names, and as every run of it is made; "
    "Paper: as printed, blank where it is not or where its text is lost."
)


def settings_table(
    name: str, profile: str, spec: SettingsSpec, blocks: Sequence[SettingsBlock]
) -> TextTable:
    """Return a table of settings as text.

    Raises:
        RequestError: When a block cannot be composed.
    """
    printed = printed_settings(name)
    lines, data = [], []
    for block in blocks:
        config = compose([f"profile={block.profiles[profile]}", *block.set])
        block_lines = []
        for row in block.rows:
            ours = _ours(row, config, profile)
            paper = printed.get((block.paper_block, row.paper_label), "")
            block_lines.append(TextLine(row.label, (ours, paper), (False, False)))
            data.append((block.heading, row.label, row.key, ours, paper))
        lines.append((f"{block.heading} (profile={block.profiles[profile]})", tuple(block_lines)))
    return TextTable(
        name=name,
        profile=profile,
        number=paper_name(name),
        title=spec.title,
        caption=spec.caption,
        label_heading="Parameter",
        heads_labels=True,
        headings=("Ours", "Paper"),
        blocks=tuple(lines),
        notes=(_NOTE,),
        data=(("block", "label", "key", "ours", "paper"), *data),
    )


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
