"""Records as a table for analysis in Python."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from dylora_exp.core import RequestError
from dylora_exp.records.store import RecordStore

if TYPE_CHECKING:
    import pandas

_RUN = ("run_id", "model", "task", "method", "profile", "seed")
_CUT = ("rank", "truncation", "scale")


def load_records(folder: str | os.PathLike[str] = "results") -> pandas.DataFrame:
    """Return the scores of all completed runs: one row for each run, rank, truncation and scale.

    The columns are ``run_id, model, task, method, profile, seed, rank, truncation, scale`` and one
    for each metric, as a fraction, empty where a run does not have it::

        frame = load_records("results")
        frame.pivot_table(values="accuracy", index="rank", columns="method")

    Args:
        folder: The results folder (``results_dir``), or the folder ``runs`` in it.

    Returns:
        A row of a method without ranks has an empty rank. A file that is no record is left out,
        with a warning.

    Raises:
        RequestError: When there is no such folder, or two files are different records of one run.
    """
    import pandas as pd

    path = Path(folder).expanduser()
    if not path.is_dir():
        raise RequestError(f"folder: there is no folder '{path}'.")
    if path.name == "runs" and not (path / "runs").is_dir():
        path = path.parent
    records, problems = RecordStore(path).read_all()
    for problem in problems:
        warnings.warn(problem, stacklevel=2)
    rows = [
        {name: getattr(record, name) for name in _RUN}
        | {name: getattr(entry, name) for name in _CUT}
        | entry.metrics
        for record in records
        if record.status == "completed"
        for entry in record.ranks
    ]
    metrics = sorted({name for row in rows for name in row} - {*_RUN, *_CUT})
    frame = pd.DataFrame(rows, columns=[*_RUN, *_CUT, *metrics])
    types = {"seed": "int64", "rank": "Int64"} | dict.fromkeys(metrics, "float64")
    return frame.astype(types)
