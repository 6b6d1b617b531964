"""Curves outside the record: Weights & Biases, where the config asks for it."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dylora_exp.config import Config, identity, run_id, setup_id
from dylora_exp.core import LOG, first_line, is_main_process
from dylora_exp.records import Record


def problems(config: Config) -> list[str]:
    """Return what stands in the way of tracking."""
    if config.tracker.name == "wandb" and importlib.util.find_spec("wandb") is None:
        return ["tracker: wandb is not installed; install it with: pip install 'dylora-exp[wandb]'"]
    return []


class Tracker:
    """Takes the finished record."""

    def log(self, record: Record) -> None:
        """Do nothing: the record on disk is all."""


class WandbTracker(Tracker):
    """Sends the scores to the open W&B run as a table and as curves over rank."""

    def log(self, record: Record) -> None:
        """Log every score of the record."""
        with _only_warned():
            self._log(record)

    def _log(self, record: Record) -> None:
        import wandb

        wandb.define_metric("rank")
        names = sorted({name for entry in record.ranks for name in entry.metrics})
        table = wandb.Table(columns=["rank", "truncation", "scale", *names])
        for entry in record.ranks:
            values = [entry.metrics.get(name) for name in names]
            table.add_data(entry.rank, entry.truncation, entry.scale, *values)
            if entry.rank is not None:
                cut = f"{entry.truncation}-{(entry.scale or '').replace('/', '-over-')}"
                curve = {f"{cut}/{n}": v for n, v in zip(names, values, strict=True)}
                for name in curve:
                    wandb.define_metric(name, step_metric="rank")
                wandb.log({"rank": entry.rank, **curve})
        wandb.log({"ranks": table})


@contextmanager
def tracking(config: Config, folder: Path) -> Iterator[Tracker]:
    """Open what the config asks for, and close it whatever happens."""
    if config.tracker.name == "none" or not is_main_process():
        yield Tracker()
        return
    import wandb

    wandb.init(
        project=config.tracker.project,
        mode=config.tracker.mode,
        dir=str(folder),
        id=run_id(config),
        name=f"{config.method.name}-{config.task.name}-{config.seed}",
        group=setup_id(config),
        job_type=config.method.name,
        config=identity(config),
        resume="allow" if config.tracker.mode == "online" else None,
    )
    try:
        yield WandbTracker()
    except BaseException:
        with _only_warned():
            wandb.finish(exit_code=1)
        raise
    with _only_warned():
        wandb.finish()


@contextmanager
def _only_warned() -> Iterator[None]:
    """Let no fault of the tracker lose a run that is trained and scored."""
    try:
        yield
    except Exception as error:
        LOG.warning("tracker: %s: %s", type(error).__name__, first_line(error))
