"""``dylora models fetch``: models of the hub, for machines without a network."""

from __future__ import annotations

import argparse
from pathlib import Path

from dylora_exp.cli.options import add_config_dir, add_fetch

HELP = "fetch models of the hub, for machines without a network"
DESCRIPTION = (
    "Fetch models and their tokenizers from the hub, for hub_cache=DIR: settings, vocabularies and "
    "safetensors, no pickles. An interrupted fetch is resumed."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``models fetch``."""
    add_fetch(
        parser,
        "MODEL",
        "for example roberta-base, or OWNER/NAME on the hub, each also with @REVISION; or all",
    )
    parser.add_argument("--hub", action="store_true", help="MODEL is the hub's name as it stands")
    add_config_dir(parser)


def run(arguments: argparse.Namespace) -> int:
    """Fetch the models and print where they are."""
    from dylora_exp.cli.fetch import check_action, fetch_models

    check_action(arguments)
    for line in fetch_models(arguments.names, Path(arguments.to), arguments.hub):
        print(line, flush=True)
    return 0
