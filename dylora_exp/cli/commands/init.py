"""``dylora init``: a file to fill in for a task, a model or a method of one's own."""

from __future__ import annotations

import argparse
from pathlib import Path

from dylora_exp.cli.options import folder

HELP = "write a commented file to fill in: a task, a model or a method of your own"
DESCRIPTION = (
    "Write a commented file to fill in: a task, a model or a method of your own, into a conf "
    "folder of your own, which --config-dir names to the other commands. A method also gets a "
    "module and the pyproject.toml that makes it known. Nothing is overwritten."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what to write, its name, and where to."""
    parser.add_argument("what", metavar="task|model|method", help="what to write")
    parser.add_argument("name", metavar="NAME", help="what it is called: task=NAME")
    parser.add_argument(
        "--to", default="conf", type=folder, metavar="DIR", help="your conf folder; default: conf"
    )


def run(arguments: argparse.Namespace) -> int:
    """Write the files and print them, and what to do next."""
    from dylora_exp.cli.templates import write_templates

    print("\n".join(write_templates(arguments.what, arguments.name, Path(arguments.to))))
    return 0
