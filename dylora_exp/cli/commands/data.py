"""``dylora data fetch``: the data of tasks, for machines without a network."""

from __future__ import annotations

import argparse
from pathlib import Path

from dylora_exp.cli.options import add_config_dir, add_fetch

HELP = "fetch the data of tasks, for machines without a network"
DESCRIPTION = (
    "Fetch the data of tasks from their publishers or the hub, and print the override with which "
    "runs use them: hub_cache=DIR, or task.data_dir=DIR. An interrupted fetch is resumed."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``data fetch``."""
    add_fetch(parser, "TASK", "for example e2e or mrpc; or all")
    add_config_dir(parser)


def run(arguments: argparse.Namespace) -> int:
    """Fetch the data and print where it is."""
    from dylora_exp.cli.fetch import check_action, fetch_tasks

    check_action(arguments)
    for line in fetch_tasks(arguments.names, Path(arguments.to)):
        print(line, flush=True)
    return 0
