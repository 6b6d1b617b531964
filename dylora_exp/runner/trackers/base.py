"""The interface of a tracker, and the choice of the tracker by its name."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from dylora_exp.config import Config
from dylora_exp.core import (
    LOG,
    first_line,
    install_command,
    is_installed,
    is_main_process,
    unknown_name,
)
from dylora_exp.records import Record

if TYPE_CHECKING:
    from transformers import TrainerCallback


class Tracker:
    """Receives the curves of a training and the record of a run; this one drops them.

    A tracker is a subclass in a module of this package; ``tracker.name`` is the module's name.

    Attributes:
        package: The package it needs, if that is not one of the project's own; the project's extra
            of the same name installs it.
    """

    package: ClassVar[str] = ""

    def problems(self) -> list[str]:
        """Return a sentence for each reason why this tracker cannot be used here."""
        if not self.package or is_installed(self.package):
            return []
        install = install_command(self.package)
        return [f"tracker: {self.package} is not installed; install it with: {install}"]

    def start(self, config: Config, folder: Path) -> None:
        """Open the run; ``folder`` is the run's, for the tracker's files."""

    def callbacks(self) -> Sequence[TrainerCallback]:
        """Return the callbacks that follow the training."""
        return []

    def log(self, record: Record, model: Path) -> None:
        """Send the scores of a completed run, and what it saved in the folder ``model``."""

    def finish(self, failed: bool) -> None:
        """Close the run."""


def tracker_names() -> list[str]:
    """Return the names of all trackers."""
    modules = pkgutil.iter_modules([str(Path(__file__).parent)])
    return sorted(module.name for module in modules if module.name != "base")


def make_tracker(name: str) -> Tracker:
    """Return the tracker with a name."""
    module = importlib.import_module(f"{__package__}.{name}")
    (found,) = (c for c in Tracker.__subclasses__() if c.__module__ == module.__name__)
    return found()


def tracker_problems(config: Config) -> list[str]:
    """Return a sentence for each reason why the tracker of a config cannot be used."""
    name = config.tracker.name
    if name not in tracker_names():
        return [unknown_name("tracker.name", name, tracker_names())]
    return make_tracker(name).problems()


@contextmanager
def tracking(config: Config, folder: Path) -> Iterator[Tracker]:
    """Start the tracker of a config and yield it; finish it whatever happens.

    Only the main process tracks. No fault of a tracker loses a run that is trained and scored.
    """
    tracker = make_tracker(config.tracker.name) if is_main_process() else Tracker()
    tracker.start(config, folder)
    try:
        yield tracker
    except BaseException:
        with warn_only():
            tracker.finish(failed=True)
        raise
    with warn_only():
        tracker.finish(failed=False)


@contextmanager
def warn_only() -> Iterator[None]:
    """Log an error of a tracker as a warning."""
    try:
        yield
    except Exception as error:
        LOG.warning("tracker: %s: %s", type(error).__name__, first_line(error))
