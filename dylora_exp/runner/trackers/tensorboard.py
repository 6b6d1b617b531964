"""TensorBoard: loss curves by the Trainer's own callback, and scores over rank, in files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from dylora_exp.config import Config
from dylora_exp.records import Record
from dylora_exp.runner.tracker_contents import curves, summary
from dylora_exp.runner.trackers.base import Tracker

if TYPE_CHECKING:
    from transformers import TrainerCallback


class TensorBoardTracker(Tracker):
    """Writes the run's folder ``tensorboard``; ``tensorboard --logdir outputs`` shows all runs."""

    package = "tensorboard"

    def start(self, config: Config, folder: Path) -> None:
        """Open the file."""
        from torch.utils.tensorboard import SummaryWriter

        self.writer = SummaryWriter(str(folder / "tensorboard"))

    def callbacks(self) -> list[TrainerCallback]:
        """Return the Trainer's own callback for TensorBoard."""
        from transformers.integrations import TensorBoardCallback

        return [TensorBoardCallback(self.writer)]

    def log(self, record: Record, model: Path) -> None:
        """Write every score as a curve whose steps are ranks, and the summary."""
        for rank, scores in curves(record):
            for name, value in scores.items():
                if value is not None:
                    self.writer.add_scalar(f"ranks/{name}", value, rank)
        for name, value in summary(record).items():
            if isinstance(value, str):
                self.writer.add_text(f"summary/{name}", value)
            else:
                self.writer.add_scalar(f"summary/{name}", value)

    def finish(self, failed: bool) -> None:
        """Close the file."""
        self.writer.close()
