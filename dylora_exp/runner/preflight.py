"""The checks before a run: everything that can be found wrong before a model is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from dylora_exp.config import Config
from dylora_exp.core import RequestError, batch_size_problems, check_writable, unknown_name
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
    from dylora_exp.models import backbone
    from dylora_exp.tasks import base as tasks

    data = None
    problems = backbone.problems(config) + tracker_problems(config)
    problems += batch_size_problems(config.trainer.batch_size) + _method_problems(config)
    try:
        if fetch or config.hub_cache is not None or not tasks.needs_hub(config.task):
            data = tasks.read(config.task, config.hub_cache)
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


def _method_problems(config: Config) -> list[str]:
    """Return a sentence for each fault in the choice of the method and of its adapter file."""
    from dylora_exp.methods import method_class, method_kinds

    if config.method.kind not in method_kinds():
        return [unknown_name("method.kind", config.method.kind, method_kinds())]
    problems = method_class(config.method.kind).problems(config)
    if config.method.adapter is not None:
        from dylora_exp.adapters import released

        problems += released.problems(config)
    return problems
