"""The log of a run: a file in its folder, and lines on stderr.

The verbosity is one choice for a command and the processes that it starts, so it is kept in the
environment.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path

LOG = logging.getLogger("dylora_exp")
LOG.setLevel(logging.INFO)
# PEFT imports it wherever it is installed, and it then warns of kernels that it does without.
logging.getLogger("bitsandbytes").setLevel(logging.ERROR)

_VARIABLE = "DYLORA_VERBOSITY"
_LEVELS = {"quiet": logging.ERROR, "normal": logging.ERROR, "verbose": logging.INFO}
# Libraries whose messages do not reach the root logger.
_APART = ("transformers",)


def set_verbosity(level: str) -> None:
    """Set how much this process and those that it starts print: quiet, normal or verbose."""
    os.environ[_VARIABLE] = level


def is_quiet() -> bool:
    """Return whether only errors and the last line are asked for."""
    return os.environ.get(_VARIABLE) == "quiet"


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Print no more than errors as long as the context lasts."""
    before = os.environ.get(_VARIABLE)
    set_verbosity("quiet")
    try:
        yield
    finally:
        if before is None:
            del os.environ[_VARIABLE]
        else:
            set_verbosity(before)


def echo(line: str) -> None:
    """Print a line at once, unless quiet is asked for."""
    if not is_quiet():
        print(line, flush=True)


def echo_in_terminal(line: str) -> None:
    """Print a line at once to standard error where a person waits for what a command prints last.

    Scripts read the output of such commands, and their standard error for what went wrong.
    """
    if sys.stderr.isatty() and not is_quiet():
        print(line, file=sys.stderr, flush=True)


class _LogFile(logging.FileHandler):
    """A log file that lacks lines when the disk is full."""

    def handleError(self, record: logging.LogRecord) -> None:
        """Leave it to the run to fail in its own words."""


class RunLog(logging.Handler):
    """Keeps log records until the file they go to is known, then appends them to it.

    A full disk must not fail the run here; the log then lacks lines.
    """

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        form = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"
        self.setFormatter(logging.Formatter(form, "%Y-%m-%d %H:%M:%S"))
        self.waiting: list[logging.LogRecord] = []
        self.file: logging.FileHandler | None = None

    def open(self, path: Path) -> None:
        """Write to a file from now on, the kept records first."""
        with contextlib.suppress(OSError):
            self.file = _LogFile(path, encoding="utf-8")
            self.file.setFormatter(self.formatter)
            for record in self.waiting:
                self.file.handle(record)
        self.waiting = []

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record, or keep it."""
        if self.file is None:
            self.waiting.append(record)
        else:
            self.file.handle(record)

    def close(self) -> None:
        """Close the file."""
        if self.file is not None:
            with contextlib.suppress(OSError):
                self.file.close()
        super().close()


class _Stderr(logging.Handler):
    """Prints lines without disturbing a progress bar."""

    def emit(self, record: logging.LogRecord) -> None:
        line = self.format(record)
        if not sys.stderr.isatty():
            print(line, file=sys.stderr, flush=True)
            return
        from tqdm import tqdm  # no command pays for it before there is a bar

        tqdm.write(line, file=sys.stderr)


@contextlib.contextmanager
def run_log() -> Iterator[RunLog]:
    """Log the project's and the libraries' messages and warnings as long as the context lasts."""
    shown = _Stderr(_LEVELS.get(os.environ.get(_VARIABLE, "normal"), logging.ERROR))
    log = RunLog()
    loggers = [logging.getLogger(name) for name in (None, *_APART)]
    for logger in loggers:
        logger.addHandler(log)
        logger.addHandler(shown)
    logging.captureWarnings(True)
    try:
        yield log
    finally:
        logging.captureWarnings(False)
        for logger in loggers:
            logger.removeHandler(log)
            logger.removeHandler(shown)
        log.close()
