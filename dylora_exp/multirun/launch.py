"""Hands words to Hydra, shows what became of each run, and says how it all went."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import NoReturn

import hydra
from hydra._internal.utils import get_args_parser
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console
from rich.table import Table
from rich.text import Text

from dylora_exp.core import process_count
from dylora_exp.config import CONF_DIR, check_overrides, compose, quote_path
from dylora_exp.core import RequestError, first_line, unknown_name
from dylora_exp.multirun.jobs import Ended, attempt, enduring_launchers, print_failures
from dylora_exp.core import is_quiet
from dylora_exp.records import Record
from dylora_exp.runner import Outcome

_MULTIRUN = {"-m", "--multirun"}
# Hydra's own, which are passed on to it.
_FLAGS = _MULTIRUN | {
    *("--help", "--hydra-help", "--version", "--cfg", "-c", "--resolve", "--package", "-p"),
    *("--run", "-r", "--info", "-i", "--config-path", "-cp", "--config-name", "-cn"),
    *("--config-dir", "-cd", "--experimental-rerun", "--shell-completion", "-sc"),
}


def launch(words: Sequence[str]) -> int:
    """Run one config, or with ``-m`` every combination, and return the exit code.

    Raises:
        RequestError: When words are wrong, before anything has started.
    """
    multirun = bool(_MULTIRUN & set(words))
    # Hydra wants its flags before or after all overrides, not among them.
    words = ["-m"] * multirun + [quote_path(word) for word in words if word not in _MULTIRUN]
    _check(words, multirun)
    alone: list[Ended] = []
    together: list[Ended] = []

    shown = _show_nothing if multirun and is_quiet() else show

    def job(tree: DictConfig) -> Ended:
        ended = attempt(tree, shown, later=multirun)
        alone.append(ended)
        return ended

    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors reach us instead of being printed
    argv, sys.argv = sys.argv, ["dylora run", *words]
    try:
        with enduring_launchers(together):
            hydra.main(version_base="1.3", config_path=str(CONF_DIR), config_name="config")(job)()
    except (HydraException, OmegaConfBaseException) as error:
        raise RequestError(first_line(error)) from error
    except OSError as error:  # Hydra's own folders
        raise RequestError(f"{error.filename}: {error.strerror}.") from error
    except Exception as error:
        reason = f"launching failed: {type(error).__name__}: {first_line(error)}"
        if not (alone or together):  # of nothing but what launcher and sweeper were given
            raise RequestError(reason) from error
        _report(together, multirun)
        print(f"dylora: {reason}", file=sys.stderr)
        return 1
    finally:
        sys.argv = argv
    return _report(together if multirun else alone, multirun)


def _check(words: Sequence[str], multirun: bool) -> None:
    flags = {word for word in words if word.startswith("-")}
    if multirun and process_count() > 1:
        raise RequestError(
            f"-m: found with {process_count()} processes (torchrun), which do one run together; "
            "start a sweep without it."
        )
    if wrong := [flag for flag in sorted(flags) if flag.partition("=")[0] not in _FLAGS]:
        raise RequestError([unknown_name("run", flag, _FLAGS) for flag in wrong])
    hydras = get_args_parser()
    hydras.error = _wrong_flag  # type: ignore[method-assign]
    if not {"--version", "--help", "--hydra-help"} & flags:
        hydras.parse_args(words)
    overrides = [word for word in words if "=" in word and not word.startswith("-")]
    if flags - _MULTIRUN or multirun:
        problems, _ = check_overrides(overrides, multirun=multirun)
        if problems:
            raise RequestError(problems)
    else:
        compose(words)


def _wrong_flag(message: str) -> NoReturn:
    raise RequestError(f"{message}; see dylora run --hydra-help.")


def _report(ended: Sequence[Ended], multirun: bool) -> int:
    """Say how jobs ended and return the exit code: 2 when nothing but wrong requests was made."""
    failed = [job for job in ended if job.problems]
    if multirun and ended:
        print_failures([(job.job, job) for job in failed], len(ended))
        print(_counts(ended))
    elif not multirun:
        for problem in [problem for job in failed for problem in job.problems]:
            print(f"dylora: {problem}", file=sys.stderr)
    if not failed:
        return 0
    return 2 if all(job.request for job in ended) else 1


def _counts(ended: Sequence[Ended]) -> str:
    """Return how many jobs ended in which way."""
    good = [job for job in ended if not job.problems]
    counts = {
        "done now": sum(job.fresh for job in good),
        "done before": sum(not job.fresh and not job.skipped for job in good),
        "skipped, another process is doing them": sum(bool(job.skipped) for job in good),
        "not completed": len(ended) - len(good),
    }
    told = [f"{count} {words}" for words, count in counts.items() if count]
    return f"{len(ended)} runs: {', '.join(told)}"


def _show_nothing(outcome: Outcome) -> None:
    """Leave it to the line about all runs."""


def show(outcome: Outcome) -> None:
    """Print a run's table of rank and metric, and where its record lies."""
    for warning in [] if is_quiet() else outcome.warnings:
        print(f"dylora: warning: {warning}", file=sys.stderr)
    record = outcome.record
    lines = [] if outcome.fresh else [f"run {record.run_id} is complete, nothing to do"]
    console = Console()
    with console.capture() as table:
        console.print(rank_table(record))
    lines += [table.get().rstrip("\n"), *rank_choice(record)]
    last = f"record: {outcome.path}"
    # In one go: several processes may print at the same time.
    print("\n".join([last] if is_quiet() else [*lines, last]), flush=True)


def _factor(record: Record) -> int:
    """Return 100 for fractions, 1 for the metrics of texts, which have scales of their own."""
    return 1 if record.config.get("task", {}).get("decode") else 100


def rank_choice(record: Record) -> list[str]:
    """Return a line for each way in which ranks were made: area, best and recommended rank."""
    factor = _factor(record)
    return [
        f"{cut['truncation']} {cut['scale']}: {cut['metric']} best at rank {cut['best_rank']}, "
        f"recommended rank {cut['recommended_rank']} (within {100 * cut['tolerance']:g} %), "
        f"AURAC {factor * cut['aurac']:.2f} (log2 {factor * cut['aurac_log2']:.2f})"
        for cut in record.summary
    ]


def rank_table(record: Record) -> Table:
    """Return a record's scores: a row for each way and rank, a column for each metric (in %)."""
    names = f"{record.method} · {record.model} · {record.task} · seed {record.seed}"
    factor = _factor(record)
    table = Table(title=Text(f"{names} · in %" if factor == 100 else names))
    metrics = list(dict.fromkeys(name for entry in record.ranks for name in entry.metrics))
    table.add_column("ranks made by")
    for name in ("rank", *metrics):
        table.add_column(name, justify="right")
    cut = None
    for entry in record.ranks:
        made = " ".join(filter(None, (entry.truncation, entry.scale)))
        if cut not in (None, made):
            table.add_section()
        rank = "-" if entry.rank is None else str(entry.rank)
        values = (_number(entry.metrics.get(name), factor) for name in metrics)
        table.add_row(made if made != cut else "", rank, *values)
        cut = made
    return table


def _number(value: float | None, factor: int) -> str:
    if value is None:
        return "undefined"
    return f"{factor * value:.{2 if factor == 100 else 4}f}"
