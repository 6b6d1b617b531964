"""Weights & Biases: loss curves, and the scores as a table and as curves over rank."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from dylora_exp.config import Config, identity, run_id, setup_id
from dylora_exp.core import install_command, is_installed
from dylora_exp.records import Record
from dylora_exp.runner.trackers.base import Tracker

if TYPE_CHECKING:
    from transformers import TrainerCallback


class WandbTracker(Tracker):
    """Sends a run to Weights & Biases; its group are the runs that differ in the seed alone."""

    def problems(self) -> list[str]:
        """Return a sentence if the wandb package is not installed."""
        if is_installed("wandb"):
            return []
        install = install_command("wandb")
        return [f"tracker: wandb is not installed; install it with: {install}"]

    def start(self, config: Config, folder: Path) -> None:
        """Open the W&B run, which an online restart resumes."""
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

    def callbacks(self) -> list[TrainerCallback]:
        """Return the Trainer's own callback for W&B."""
        from transformers.integrations import WandbCallback

        return [WandbCallback()]

    def log(self, record: Record) -> None:
        """Send every score, as a table and as a curve over rank for each truncation and scale."""
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

    def finish(self, failed: bool) -> None:
        """Close the W&B run."""
        import wandb

        wandb.finish(exit_code=1 if failed else None)
