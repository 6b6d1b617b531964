"""``dylora export``: a rank of a run as an ordinary LoRA."""

from __future__ import annotations

import argparse
from pathlib import Path

from dylora_exp.cli.options import add_outputs, add_results, folder

HELP = "write a rank of a run as a standard PEFT adapter"
DESCRIPTION = (
    "Write a rank of a completed run as an ordinary LoRA that PEFT loads by itself, with the "
    "trained head and a model card."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``export``."""
    parser.add_argument("run", metavar="RUN", help="a run id or the beginning of one")
    parser.add_argument(
        "--rank",
        required=True,
        metavar="B",
        help="a scored rank, recommended (as the run's verdict says), best, or all",
    )
    parser.add_argument(
        "--to", required=True, type=folder, metavar="DIR", help="with all: its parent"
    )
    parser.add_argument(
        "--cut",
        "--truncation",
        dest="truncation",
        metavar="CUT",
        help="how the rank is cut, leading, svd, ... as scored (default: as the verdict says)",
    )
    parser.add_argument(
        "--scale",
        metavar="S",
        help="alpha/b, alpha/r or alpha/sqrt(b) (default: the first scored with the cut)",
    )
    parser.add_argument(
        "--merge",
        action="store_true",
        help="write the whole model, merged; of a quantised base, into the dequantised weights",
    )
    parser.add_argument("--force", action="store_true", help="replace what is in DIR")
    add_results(parser)
    add_outputs(parser)


def run(arguments: argparse.Namespace) -> int:
    """Write the adapters and print their folders."""
    from dylora_exp.runner import export

    folders = export(
        arguments.run,
        arguments.rank,
        Path(arguments.to),
        Path(arguments.results),
        Path(arguments.outputs),
        truncation=arguments.truncation,
        scale=arguments.scale,
        merge=arguments.merge,
        force=arguments.force,
    )
    print("\n".join(map(str, folders)))
    return 0
