"""``dylora run``: one run, or with ``-m`` every combination of comma-separated values."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from dylora_exp.cli.options import add_overrides, add_verbosity

if TYPE_CHECKING:
    from dylora_exp.runner import Outcome

HELP = "train once, score every rank, leave a record"
DESCRIPTION = (
    "Train once, score every rank, leave a record. Takes overrides in Hydra's grammar, and Hydra's "
    "own flags. run.log in a run's folder has what -q and the default do not print."
)
EPILOG = """\
groups: a run picks one file of each; dylora list shows them, GROUP=NAME chooses one
  model task method ranks trainer tracker profile   and the optional experiment, debug

common keys:
  seed=42                      trainer.learning_rate=1e-3    ranks.r_max=16
  results_dir=DIR              trainer.batch_size=16         ranks.score=[1,2,4]
  outputs_dir=DIR              trainer.epochs=4              method.alpha=32
  task.data_dir=DIR            trainer.max_steps=500         model.targets=[query]
  task.max_train_samples=1000  trainer.threads=2             tracker.mode=offline
all keys and their values here: dylora run --cfg job
"""
_INFO = ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``run`` and Hydra's own flags."""
    add_overrides(parser, "for example task=mrpc method=lora seed=42")
    add_verbosity(parser)
    parser.set_defaults(hydra_flags=[])
    hydra = parser.add_argument_group("Hydra's flags")

    def add(*flags: str, **settings: Any) -> None:
        hydra.add_argument(*flags, action=_PassOn, **settings)

    add("--multirun", "-m", nargs=0, help="run every combination of comma-separated values")
    add("--run", "-r", nargs=0, help="run one job (the default)")
    add("--cfg", "-c", choices=("job", "hydra", "all"), help="print the config instead of running")
    add("--resolve", nargs=0, help="with --cfg: resolve interpolations")
    add("--package", "-p", metavar="KEY", help="with --cfg: print this part")
    add("--info", "-i", nargs="?", const="all", choices=_INFO, help="print how it is composed")
    add("--config-dir", "-cd", metavar="DIR", help="a folder with further config files")
    add("--config-name", "-cn", metavar="NAME", help="the config to begin with (default: config)")
    add("--config-path", "-cp", metavar="DIR", help="instead of the project's conf folder")
    add("--shell-completion", "-sc", nargs=0, help="with install=bash, uninstall=zsh, ...")
    add("--hydra-help", nargs=0, help="show Hydra's help")


class _PassOn(argparse.Action):
    """Keep a flag and its value for Hydra."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        given = [self.option_strings[0], *([values] if isinstance(values, str) else [])]
        namespace.hydra_flags = [*namespace.hydra_flags, *given]


def run(arguments: argparse.Namespace) -> int:
    """Do the run, or hand it to Hydra where it is asked for something that only Hydra does."""
    flags, overrides = arguments.hydra_flags, arguments.overrides
    if "--shell-completion" in flags:  # a shell waits: nothing else is imported before
        return _complete(overrides, flags)
    if flags or any(each.lstrip("+~").startswith("hydra") for each in overrides):
        from dylora_exp.multirun import launch

        return launch(overrides, flags, _show)

    from dylora_exp.config import compose
    from dylora_exp.core import echo, print_error
    from dylora_exp.runner import RunBusy, RunFailed, run_if_needed

    try:
        outcome = run_if_needed(compose(overrides))
    except RunBusy as busy:
        echo(f"{busy}; skipped")
        return 0
    except RunFailed as error:
        print_error(f"run failed: {error}")
        return 1
    _show(outcome)
    return 0


def _show(outcome: Outcome) -> None:
    # Not imported before the run has said that it begins.
    from dylora_exp.cli.run_output import show

    show(outcome)


def _complete(overrides: list[str], flags: list[str]) -> int:
    """Let Hydra install its shell completion, or answer the question of a shell."""
    from dylora_exp.cli.completion import complete_command

    shells = [each.removeprefix("query=") for each in overrides if each.startswith("query=")]
    if not (shells and complete_command(shells[0])):
        from dylora_exp.multirun import call_hydra

        call_hydra([*flags, *overrides], lambda tree: None)
    return 0
