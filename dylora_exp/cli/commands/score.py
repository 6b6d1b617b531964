"""``dylora score``: a file of generated texts against references."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Literal

from dylora_exp.cli.options import folder

HELP = "score a file of generated texts against references"
DESCRIPTION = (
    "Score generated texts as the official scripts of a task do. A metric that needs Java is "
    "missing without it, with the reason; the others stand."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``score``."""
    parser.add_argument("task", metavar="TASK", help="e2e, webnlg or dart")
    parser.add_argument(
        "--predictions",
        required=True,
        type=folder,
        metavar="F",
        help="a text a line; it may be blank",
    )
    parser.add_argument(
        "--references",
        required=True,
        nargs="+",
        type=folder,
        metavar="F",
        help="e2e: a text a line, blank lines between items, or the official CSV; webnlg, dart: "
        "a folder with reference0, reference1, ..., DIR/reference, or files that go line by line",
    )
    parser.add_argument(
        "--max-references",
        type=_max_references,
        metavar="N",
        help="how many references of an item count, or all (default: webnlg, dart: the first 6)",
    )
    parser.add_argument("--metrics", metavar="M", help="for example bleu,nist (default: all)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(arguments: argparse.Namespace) -> int:
    """Print the score of each metric and how it was computed."""
    from dylora_exp.tasks import score_files

    predictions, references = Path(arguments.predictions), list(map(Path, arguments.references))
    metrics = arguments.metrics.split(",") if arguments.metrics is not None else None
    scores = score_files(arguments.task, predictions, references, metrics, arguments.max_references)
    if arguments.json:
        details = {"signature": scores.signature, "missing": scores.missing}
        print(json.dumps(scores.values | details, indent=2))
        return 0
    for name, value in scores.values.items():
        print(f"{name:<8} {scores.missing[name] if value is None else format(value, '8.4f')}")
    print(f"signature: {scores.signature}")
    return 0


def _max_references(text: str) -> int | Literal["all"]:
    if text == "all":
        return "all"
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"found '{text}', expected a number from 1, or all")
    return int(text)
