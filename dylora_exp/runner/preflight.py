"""The checks before a run: everything that can be found wrong before a model is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from dylora_exp.config import Config, method_class
from dylora_exp.core import RequestError, batch_size_problems, check_writable
from dylora_exp.records import RecordStore
from dylora_exp.runner.trackers.base import tracker_problems

if TYPE_CHECKING:
    from dylora_exp.tasks import TaskData


def check(config: Config, fetch: bool = True) -> TaskData | None:
    """Check the model, the method, the tracker and the data without writing anything.

    Args:
        config: A config that passed the schema.
        fetch: Whether data may be fetched from the hub for it.

    Returns:
        The data; None when they would have to be fetched and must not be.

    Raises:
        RequestError: With all problems at once.
    """
    from dylora_exp.models import model_problems
    from dylora_exp.tasks import needs_hub, read

    data = None
    problems = model_problems(config) + tracker_problems(config)
    problems += batch_size_problems(config.trainer.batch_size)
    problems += method_class(config.method.kind).problems(config)
    try:
        if fetch or config.hub_cache is not None or not needs_hub(config.task):
            data = read(config.task, config.hub_cache)
    except RequestError as error:
        problems += error.problems
    if problems:
        raise RequestError(problems)
    return data


def check_all(config: Config) -> TaskData:
    """Check a run and whether its record and its files can be written; return its data.

    Raises:
        RequestError: With all problems at once; no folder is created then.
    """
    problems = []
    try:
        data = check(config)
    except RequestError as error:
        problems += error.problems
    for folder in (RecordStore(config.results_dir).folder, Path(config.outputs_dir).expanduser()):
        try:
            check_writable(folder, create=not problems)
        except RequestError as error:
            problems += error.problems
    if problems:
        raise RequestError(problems)
    assert data is not None
    return data
