"""Write the table of README that says how long each table's runs take, and how much memory.

Hours and memory are those of records, never of a guess: ``python scripts/make_cost_table.py``.
A test asserts that README has what this writes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from dylora_exp.records import Record, RecordStore
from dylora_exp.reporting import profiles_of, table_names, table_runs

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
# Where records of each profile are; those of the demo are kept apart from a reader's own.
STORES = {"demo": "results/examples", "mini": "results", "paper": "results"}
START, END = "<!-- hours and memory: scripts/make_cost_table.py -->\n", "<!-- end -->"
NOT_MEASURED = "not measured"


def cost(name: str, profile: str, records: Mapping[str, Record]) -> str:
    """Return how many runs a table needs, and the hours and memory of those with a record."""
    if profile not in profiles_of(name):
        return "none"
    runs = table_runs(name, profile)
    if not runs:
        return "no runs"
    found = [records[run.run_id] for run in runs if run.run_id in records]
    count = f"{len(runs)} run{'s' * (len(runs) > 1)}"
    if not found:
        return f"{count}: {NOT_MEASURED}"
    seconds = sum(
        one.timing["train_seconds"] + one.timing.get("sweep_seconds", 0.0) for one in found
    )
    peak = max(one.memory["peak_bytes"] for one in found)
    of = "" if len(found) == len(runs) else f", {len(found)} of them measured"
    return f"{count}{of}: {_hours(seconds)}, {peak / 1e9:.1f} GB"


def _hours(seconds: float) -> str:
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def make_table() -> str:
    """Return the table in Markdown."""
    lines = [f"| table | {' | '.join(f'`{name}`' for name in STORES)} |", "|---" * 4 + "|"]
    read = {
        profile: {one.run_id: one for one in RecordStore(ROOT / folder).read_all()[0]}
        for profile, folder in STORES.items()
    }
    for name in table_names():
        cells = [cost(name, profile, read[profile]) for profile in STORES]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def with_table(text: str, table: str) -> str:
    """Return a page with the table between its two marks."""
    return re.sub(
        re.escape(START) + ".*?" + re.escape(END),
        lambda _: START + table + END,
        text,
        flags=re.DOTALL,
    )


if __name__ == "__main__":
    page = README.read_text(encoding="utf-8")
    README.write_text(with_table(page, make_table()), encoding="utf-8")
