"""``dylora validate``: check a config without running it."""

from __future__ import annotations

import argparse

from dylora_exp.cli.options import add_config_dir, add_overrides

HELP = "check a config and name every problem, without running it"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the overrides and the folder of further config files."""
    add_overrides(parser, "as for run")
    add_config_dir(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print the run id of a valid config."""
    from dylora_exp.config import compose, run_id
    from dylora_exp.core import echo
    from dylora_exp.runner import check

    config = compose(arguments.overrides)
    check(config, fetch=False)
    if config.model.guessed:
        echo(f"guessed {config.model.guessed}")
    print(f"valid; run {run_id(config)}")
    return 0
