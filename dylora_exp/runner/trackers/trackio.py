"""Trackio: loss curves and scores over rank, kept on this machine; ``trackio show`` shows them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from dylora_exp.config import Config, identity, run_id, setup_id
from dylora_exp.records import Record
from dylora_exp.runner.tracker_contents import curves, summary
from dylora_exp.runner.trackers.base import Tracker

if TYPE_CHECKING:
    from transformers import TrainerCallback


class TrackioTracker(Tracker):
    """Keeps a run in trackio's own folder, by default ``~/.cache/huggingface/trackio``."""

    package = "trackio"

    def start(self, config: Config, folder: Path) -> None:
        """Open the run; one that was interrupted is resumed."""
        import trackio

        self.run = trackio.init(
            project=config.tracker.project,
            name=run_id(config),
            group=setup_id(config),
            config=identity(config),
            resume="allow",
        )

    def callbacks(self) -> list[TrainerCallback]:
        """Return a callback that sends what the Trainer logs.

        The Trainer's own would open a run of another project and name.
        """
        from transformers import TrainerCallback, TrainerState

        class SendLogs(TrainerCallback):
            """Sends what is logged."""

            def on_log(
                self, args: Any, state: TrainerState, control: Any, logs: Any = None, **_: Any
            ) -> None:
                import trackio

                trackio.log(dict(logs or {}), step=state.global_step)

        return [SendLogs()]

    def log(self, record: Record, model: Path) -> None:
        """Send every score as a curve over rank, and the summary."""
        import trackio

        for rank, scores in curves(record):
            trackio.log({"rank": rank, **scores})
        trackio.log({f"summary/{name}": value for name, value in summary(record).items()})

    def finish(self, failed: bool) -> None:
        """Close the run."""
        import trackio

        trackio.finish()
