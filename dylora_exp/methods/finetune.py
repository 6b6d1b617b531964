"""Full fine-tuning: every parameter is trained, and there is no rank."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dylora_exp.config import MethodSettings, OpenShare
from dylora_exp.methods.base import Method, TrainedModel

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class FineTuningSettings(MethodSettings):
    """The share of ``trainer.learning_rate``, which the profiles choose for adapters."""

    kind: str = "finetune"
    weight_learning_rate_share: OpenShare = 0.1


class FineTuning(Method):
    """Train the whole backbone."""

    settings_class = FineTuningSettings
    settings: FineTuningSettings

    def attach(self, backbone: PreTrainedModel) -> TrainedModel:
        """Return the backbone with all parameters trainable."""
        return backbone.requires_grad_(True)

    def optimizer_groups(self, groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return the groups with a share of the learning rate."""
        rate = self.config.trainer.learning_rate * self.settings.weight_learning_rate_share
        return [{**group, "lr": rate} for group in groups]
