"""Weights & Biases: loss curves, scores over rank, the rank to deploy, and the adapter."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from dylora_exp.config import Config, identity, run_id, setup_id
from dylora_exp.records import Record
from dylora_exp.runner.tracker_contents import curves, summary, tags
from dylora_exp.runner.trackers.base import Tracker

if TYPE_CHECKING:
    from transformers import TrainerCallback

_LONGEST_TAG = 64  # W&B refuses longer ones


class WandbTracker(Tracker):
    """Sends a run to Weights & Biases; its group are the runs that differ in the seed alone."""

    package = "wandb"

    def start(self, config: Config, folder: Path) -> None:
        """Open the W&B run, which an online restart resumes."""
        import wandb

        self.run = wandb.init(
            project=config.tracker.project,
            mode=config.tracker.mode,
            dir=str(folder),
            id=run_id(config),
            name=f"{config.method.name}-{config.task.name}-{config.seed}",
            group=setup_id(config),
            job_type=config.method.name,
            tags=[tag[:_LONGEST_TAG] for tag in tags(config)],
            config=identity(config),
            resume="allow" if config.tracker.mode == "online" else None,
        )

    def callbacks(self) -> list[TrainerCallback]:
        """Return the Trainer's own callback for W&B."""
        from transformers.integrations import WandbCallback

        return [WandbCallback()]

    def log(self, record: Record, model: Path) -> None:
        """Send every score as a table and as curves over rank, the summary, and the adapter."""
        import wandb

        self.run.define_metric("rank")
        names = sorted({name for entry in record.ranks for name in entry.metrics})
        table = wandb.Table(columns=["rank", "truncation", "scale", *names])
        for entry in record.ranks:
            values = [entry.metrics.get(name) for name in names]
            table.add_data(entry.rank, entry.truncation, entry.scale, *values)
        for rank, scores in curves(record):
            for name in scores:
                self.run.define_metric(name, step_metric="rank")
            self.run.log({"rank": rank, **scores})
        self.run.log({"ranks": table})
        self.run.summary.update(summary(record))
        if (model / "adapter_config.json").is_file():
            artifact = wandb.Artifact(f"adapter-{record.run_id}", "model", metadata=summary(record))
            artifact.add_dir(str(model))
            self.run.log_artifact(artifact)

    def finish(self, failed: bool) -> None:
        """Close the W&B run."""
        import wandb

        wandb.finish(exit_code=1 if failed else None)
