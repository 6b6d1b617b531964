"""The names of checkpoints and of the file that completes one; torch is not needed to read them."""

from __future__ import annotations

import re
from pathlib import Path

MARKER = "complete.json"
NAME = re.compile(r"checkpoint-\d+")


def step_of(checkpoint: Path) -> int:
    """Return the number of optimizer steps before a checkpoint."""
    return int(checkpoint.name.rpartition("-")[2])


def newest_step(folder: Path) -> int | None:
    """Return the step of a run's newest complete checkpoint; None without one.

    Training resumes from it unless it turns out to be damaged, or of other data.

    Args:
        folder: The run's folder.
    """
    found = [marker.parent for marker in folder.glob(f"checkpoint-*/{MARKER}")]
    return max((step_of(each) for each in found if NAME.fullmatch(each.name)), default=None)
