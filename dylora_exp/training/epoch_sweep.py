"""The rank sweep after every epoch: ``trainer.score_every=epoch``."""

from __future__ import annotations

import dataclasses
import json
import shutil
import time
from pathlib import Path
from typing import Any

from transformers import TrainerState

from dylora_exp.core import is_main_process, write_atomically
from dylora_exp.methods import Method, TrainedModel
from dylora_exp.objectives import Objective
from dylora_exp.records import EpochScores, RankScore
from dylora_exp.training.callbacks import UntimedCallback
from dylora_exp.training.checkpoints import epoch_scores_file, epoch_scores_files
from dylora_exp.training.rank_sweep import score_all_ranks


class EpochSweep(UntimedCallback):
    """Scores all ranks after each epoch but the last, which is scored after training.

    The scores are written into the run's folder before the checkpoint of the same step, so that a
    killed run has those of every epoch that it does not train again.
    """

    def __init__(
        self, model: TrainedModel, objective: Objective, method: Method, folder: Path
    ) -> None:
        self.model = model
        self.objective = objective
        self.method = method
        self.folder = folder

    def on_train_begin(self, args: Any, state: TrainerState, *_: Any, **__: Any) -> None:
        """Remove the scores of steps that will be trained again."""
        for step, file in epoch_scores_files(self.folder).items() if is_main_process() else ():
            if step > state.global_step:
                shutil.rmtree(file.parent, ignore_errors=True)

    def on_step_end(self, args: Any, state: TrainerState, *_: Any, **__: Any) -> None:
        """Score and write the scores if the step ended an epoch."""
        epoch = state.epoch or 0.0
        if not epoch.is_integer() or state.global_step >= state.max_steps:
            return
        start = time.monotonic()
        file = epoch_scores_file(self.folder, state.global_step)
        ranks = score_all_ranks(self.model, self.objective, self.method, file.parent)
        if is_main_process():
            scores = EpochScores(int(epoch), state.global_step, ranks)
            write_atomically(file, json.dumps(dataclasses.asdict(scores), indent=2))
        self.seconds += time.monotonic() - start


def epoch_scores(folder: Path, steps: int) -> list[EpochScores]:
    """Return the scores after each epoch of a run, in the order of the epochs.

    Args:
        folder: The run's folder.
        steps: The steps of the run; its last epoch, which ends with them, is scored otherwise.
    """
    found = []
    for step, file in epoch_scores_files(folder).items():
        if step < steps:
            tree = json.loads(file.read_text(encoding="utf-8"))
            found.append(EpochScores(**{**tree, "ranks": [RankScore(**r) for r in tree["ranks"]]}))
    return found
