"""The README of an exported rank."""

from __future__ import annotations

import json

from dylora_exp.core import markdown_cell, markdown_text
from dylora_exp.records import RankScore, Record

_NEIGHBOURS = 1


def model_card(record: Record, entry: RankScore, merged: bool, r: int, auto_class: str) -> str:
    """Return the README of an export: what it is, its scores, its neighbours', how to load it.

    Args:
        record: The run's.
        entry: The rank that is exported.
        merged: Whether the whole model was written.
        r: The rank as PEFT counts it.
        auto_class: The class of transformers that loads the model.
    """
    base = record.config["model"]["name_or_path"]
    loading = "PeftModel.from_pretrained(base_model, FOLDER)"
    if merged:
        loading = f"{auto_class}.from_pretrained(FOLDER)"
    front = {"base_model": base, "library_name": "transformers" if merged else "peft"}
    lines = [
        "---",
        *(f"{key}: {json.dumps(value)}" for key, value in front.items()),
        "---",
        "",
        f"# {'Model with a merged' if merged else 'LoRA'} adapter of rank {entry.rank} for "
        f"{markdown_text(record.task)}",
        "",
        f"Rank {entry.rank} of {_subject(record)} (run `{record.run_id}`, seed {record.seed}, "
        f"profile {markdown_text(record.profile)}), made by {entry.truncation} truncation at scale "
        f"{entry.scale}.",
        f"Load it with `{loading}`, the base model in single precision (`dtype=torch.float32`), "
        "in which it was scored."
        if not merged
        else f"Load it with `{loading}`.",
        *_remarks(record, entry, merged, r),
        "",
        "## Scores on the development set",
        "",
        *_scores(record, entry),
        "",
        *_origin(record),
    ]
    return "\n".join(lines)


def _subject(record: Record) -> str:
    """Return what the rank is cut from."""
    r_max = record.config["ranks"]["r_max"]
    if "imported" in record.training:
        return f"an adapter of rank {r_max} that was trained elsewhere and imported"
    return f"one {markdown_text(record.method)} training at rank {r_max}"


def _origin(record: Record) -> list[str]:
    """Return the section on the training, or on where an adapter comes from that had none here."""
    config, imported = record.config, record.training.get("imported")
    lines = ["## How it was trained", ""]
    if imported is not None:
        opening = "It was not trained here. What was imported, with the sha256 of its files:"
        lines = ["## Where it comes from", "", opening, "", *_json(imported), ""]
        lines += ["How it was scored:", ""]
        config = {group: value for group, value in config.items() if group != "trainer"}
    return [*lines, *_json(config), ""]


def _json(tree: object) -> list[str]:
    return ["```json", json.dumps(tree, indent=2, sort_keys=True), "```"]


def _remarks(record: Record, entry: RankScore, merged: bool, r: int) -> list[str]:
    """Return what one has to know before loading it."""
    remarks = []
    if entry.layer_ranks is not None:
        ranks = entry.layer_ranks.values()
        remarks.append(
            f"Its layers have ranks of their own, from {min(ranks)} to {max(ranks)}, together of "
            f"no more parameters than rank {entry.rank} in every layer."
        )
    elif r != entry.rank:
        remarks.append(f"PEFT calls its rank {r}: adapted parts of one layer stand side by side.")
    if not merged and not record.config["model"]["pretrained"]:
        remarks.append(
            f"Its base model has random weights (seed {record.seed}); `dylora export --merge` "
            "makes them again."
        )
    return remarks


def _scores(record: Record, entry: RankScore) -> list[str]:
    """Return the lines of a Markdown table of this rank and its neighbours."""
    assert entry.rank is not None
    names = sorted(entry.metrics)
    lines = [f"| rank | {' | '.join(map(markdown_cell, names))} |", "|---" * (1 + len(names)) + "|"]
    for other in record.ranks:
        same_cut = (other.truncation, other.scale) == (entry.truncation, entry.scale)
        if same_cut and abs((other.rank or 0) - entry.rank) <= _NEIGHBOURS:
            values = [other.metrics.get(name) for name in names]
            cells = ["undefined" if value is None else f"{value:.4f}" for value in values]
            rank = f"**{other.rank}**" if other.rank == entry.rank else str(other.rank)
            lines.append(f"| {rank} | {' | '.join(cells)} |")
    return lines
