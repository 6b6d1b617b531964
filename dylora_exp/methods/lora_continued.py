"""LoRA whose cuts are each trained on for a few steps before they are scored.

The model is trained as by method ``lora``. Then each cut below r_max, by any truncation, starts
from the trained factors and head, takes ``ceil(method.continue_share * steps)`` optimizer steps
with only its own rows and columns (Eq. 7 at a constant rank b; a truncation with ranks per layer
keeps those), and is scored; the next cut starts from the trained state again (LoRA-Squeeze, arXiv
2602.10993, trains a compressed adapter on for a few steps). So one training still gives every rank,
and each rank costs ``continue_share`` of it more; the record's timing has these seconds.

The steps are those of a training of its own: new AdamW moments, the trainer's learning rate and
schedule over so many steps, a warm-up in proportion, the examples in the order of the first epoch.
Every cut has a head of its own. At r_max nothing is cut, and the adapter is scored as trained.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, cast

from dylora_exp import adapters
from dylora_exp.config import Config, OpenShare
from dylora_exp.core import process_count
from dylora_exp.methods.base import Cut, TrainedModel
from dylora_exp.methods.lora import LoRA, LoRASettings
from dylora_exp.records import RankScore

if TYPE_CHECKING:
    import torch
    from peft import PeftModel


class LoRAContinuedSettings(LoRASettings):
    """LoRA's settings, and the share of the steps that each cut is trained on for."""

    kind: str = "lora_continued"
    continue_share: OpenShare = 0.05


class LoRAContinued(LoRA):
    """LoRA trained at r_max, and each of its cuts trained on by itself."""

    settings_class = LoRAContinuedSettings
    settings: LoRAContinuedSettings

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.continued: dict[Cut, dict[str, torch.Tensor]] = {}

    @classmethod
    def problems(cls, config: Config) -> list[str]:
        """Return what does not go together: a training before the end, of others, or shared."""
        found, method = super().problems(config), config.method
        assert isinstance(method, LoRAContinuedSettings)
        if config.trainer.score_every == "epoch":
            found.append(
                f"trainer.score_every: found epoch, but method '{method.name}' trains its cuts on "
                "once, after the last epoch, expected end."
            )
        if method.adapter is not None:
            found.append(
                f"method.adapter: method '{method.name}' trains its own, expected nothing."
            )
        if process_count() > 1:
            found.append(
                f"method.name: '{method.name}' trains its cuts on in one process, found "
                f"{process_count()}."
            )
        return found

    def continuation(self, cut: Cut, steps: int) -> Continuation | None:
        """Return the method that trains a cut on; None at r_max, where nothing is cut."""
        if cut.rank == self.ranks.r_max:
            return None
        trainer = self.config.trainer
        own = math.ceil(self.settings.continue_share * steps)
        warmup = trainer.warmup_steps
        changes = {
            "max_steps": own,
            "warmup_steps": None if warmup is None else round(warmup * own / steps),
        }
        return Continuation(
            self.config.model_copy(update={"trainer": trainer.model_copy(update=changes)})
        )

    def keep_continued(self, model: TrainedModel, cut: Cut) -> None:
        """Keep the factors and the head of a cut that was trained on."""
        self.continued[cut] = {
            name: each.detach().clone()
            for name, each in model.named_parameters()
            if each.requires_grad
        }

    @contextmanager
    def at_cut(self, model: TrainedModel, cut: Cut) -> Iterator[None]:
        """Show the model at a cut, trained on if it was."""
        with super().at_cut(model, cut):
            state = self.continued.get(cut)
            if state is None:
                yield
                return
            with adapters.trained_restored(model):
                for name, parameter in model.named_parameters():
                    if name in state:
                        parameter.data.copy_(state[name])
                yield

    def save(self, model: TrainedModel, folder: Path) -> None:
        """Save the adapter at r_max as LoRA's, and each cut that was trained on beside it."""
        super().save(model, folder)
        for cut in self.continued:
            with self.at_cut(model, cut):
                adapters.write_continued(folder, cut.file_name, cast("PeftModel", model))

    def saved_at(
        self, folder: Path, saved: adapters.SavedAdapter, score: RankScore
    ) -> tuple[adapters.SavedAdapter, RankScore]:
        """Return the adapter of the rank, whose leading rows are those that were trained on."""
        if score.rank == self.ranks.r_max:
            return saved, score
        name = Cut(score.rank, score.truncation, score.scale).file_name  # type: ignore[arg-type]
        continued = adapters.read_continued(folder, name, saved)
        return continued, dataclasses.replace(score, truncation="leading")


class Continuation(LoRA):
    """The training of a cut that the model shows already."""
