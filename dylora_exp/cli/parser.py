"""The parser of the ``dylora`` command, put together from the modules in ``commands``."""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import re
from collections.abc import Sequence
from typing import NoReturn

from dylora_exp.cli import commands
from dylora_exp.core import RequestError, unknown_name

_EPILOG = """\
examples:
  dylora run                                     the offline demo: DyLoRA on a tiny model
  dylora run model=minilm task=sst2 profile=mini task.data_dir=GLUE_DIR
  dylora run -m method=lora,dylora seed=10,42    every combination, one after the other
  dylora run experiment=demo-sandwich            a run that a file describes
  dylora validate task=mrpc ranks.r_max=4        check a config without running it
  dylora reproduce 2 --plan                      which runs Table 2 needs, and which are missing
  dylora reproduce all --profile demo --jobs 2   run what is missing, then make the tables
  dylora search task=mrpc --trials 20            the best learning rate on the development set
  dylora tables 2 --profile demo                 Table 2 from the records
  dylora report --where task=mrpc                means over seeds, and which claims hold
  dylora export 3fa9 --rank 2 --to adapter       rank 2 of a run, for plain PEFT
  dylora resize adapter --rank 4 --to smaller    any LoRA that PEFT saved, at a lower rank
  dylora score e2e --predictions out.txt --references refs.txt

exit codes: 0 done, 1 the work failed, 2 the request was wrong
"""


class Parser(argparse.ArgumentParser):
    """A parser that raises a ``RequestError`` with one sentence instead of printing its usage."""

    def error(self, message: str) -> NoReturn:
        """Raise what is wrong as a sentence."""
        message = message.replace(", KEY=VALUE", "")  # of which there may be none
        raise RequestError(f"{message}; see {self.prog} --help.")


class _PrintVersion(argparse.Action):
    """Print the version and exit; it is looked up when asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        from importlib.metadata import version

        print(f"dylora-exp {version('dylora-exp')}")
        parser.exit()


def command_names() -> list[str]:
    """Return the names of all commands."""
    return [module.name for module in pkgutil.iter_modules(commands.__path__)]


def make_parsers() -> tuple[Parser, dict[str, Parser]]:
    """Return the parser of the whole command line, and that of each command by its name."""
    parser = Parser(
        prog="dylora",
        description="Train low-rank adapters once, score every rank, regenerate the tables.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action=_PrintVersion, nargs=0, help="show the version")
    subparsers = parser.add_subparsers(
        title="commands", dest="command", metavar="COMMAND", required=True
    )
    parsers = {}
    for name in command_names():
        command = importlib.import_module(f"{commands.__name__}.{name}")
        description = getattr(command, "DESCRIPTION", None)
        parsers[name] = subparsers.add_parser(name, help=command.HELP, description=description)
        command.add_arguments(parsers[name])
        parsers[name].set_defaults(run_command=command.run)
    return parser, parsers


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Return the arguments of a command line, the function of its command as ``run_command``.

    Raises:
        RequestError: When the command line is wrong.
    """
    given = list(argv) or ["--help"]
    # Options may stand before the command: dylora -q run.
    index = next((i for i, each in enumerate(given) if not each.startswith("-")), None)
    if index is not None:
        given.insert(0, given.pop(index))
        if given[0] not in command_names():
            raise RequestError(unknown_name("command", given[0], command_names()))
    parser, parsers = make_parsers()
    for each in given:
        if re.fullmatch(r"--[\w-]+=--", each):  # which argparse would drop
            parser.error(f"argument {each.removesuffix('=--')}: expected one argument")
    arguments, rest = parser.parse_known_args(given)
    if unknown := [each.partition("=")[0] for each in rest if each.startswith("-")]:
        known = re.findall(r"[\[|] ?(--?[\w-]+)", parsers[arguments.command].format_usage())
        raise RequestError(unknown_name(arguments.command, flag, known) for flag in unknown)
    if rest and "overrides" not in arguments:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if rest:  # overrides that stand after an option
        arguments.overrides += rest
    return arguments
