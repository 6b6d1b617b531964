"""Options that several commands have."""

from __future__ import annotations

import argparse
from pathlib import Path

from dylora_exp.core import path_problem, set_verbosity


def folder(text: str) -> str:
    """Return a folder as given, or a file, ``~`` expanded.

    Raises:
        argparse.ArgumentTypeError: When none can have this name.
    """
    if problem := path_problem(text):
        raise argparse.ArgumentTypeError(problem)
    return str(Path(text).expanduser())


def add_results(parser: argparse.ArgumentParser) -> None:
    """Add ``--results DIR``."""
    parser.add_argument(
        "--results", default="results", type=folder, metavar="DIR", help="default: results"
    )


def add_outputs(parser: argparse.ArgumentParser) -> None:
    """Add ``--outputs DIR``."""
    parser.add_argument(
        "--outputs", default="outputs", type=folder, metavar="DIR", help="default: outputs"
    )


def add_select(parser: argparse.ArgumentParser) -> None:
    """Add ``--select last|best``."""
    parser.add_argument(
        "--select",
        metavar="last|best",
        help="the scores after the last epoch, or each rank's best epoch, for which runs are "
        "scored after each (trainer.score_every=epoch); default: as the table says, last",
    )


def add_launcher(parser: argparse.ArgumentParser) -> None:
    """Add ``--launcher L``."""
    parser.add_argument(
        "--launcher",
        metavar="L",
        help="as for run -m hydra/launcher=L (default: this process, several jobs: processes); "
        "hydra.launcher.KEY=VALUE sets more",
    )


def add_overrides(parser: argparse.ArgumentParser, example: str) -> None:
    """Add the ``key=value`` arguments, which may stand among the options."""
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help=example)


def add_fetch(parser: argparse.ArgumentParser, metavar: str, example: str) -> None:
    """Add the arguments of ``data fetch`` and ``models fetch``."""
    parser.add_argument("action", metavar="fetch", help="fetch")
    parser.add_argument("names", nargs="+", metavar=metavar, help=example)
    parser.add_argument(
        "--to", required=True, type=folder, metavar="DIR", help="what is there already stays"
    )


def add_verbosity(parser: argparse.ArgumentParser) -> None:
    """Add ``-v`` and ``-q``; the last one counts."""
    for flags, level, shown in (
        (("--verbose", "-v"), "verbose", "print more"),
        (("--quiet", "-q"), "quiet", "print only errors and the last line"),
    ):
        parser.add_argument(*flags, action=_SetVerbosity, const=level, nargs=0, help=shown)


class _SetVerbosity(argparse.Action):
    """Set how much this process and its child processes print."""

    def __call__(self, *_: object) -> None:
        set_verbosity(self.const)
