"""Full fine-tuning: every parameter is trained, and there is no rank."""

from __future__ import annotations

from transformers import PreTrainedModel

from dylora_exp.methods.base import Method, TrainedModel


class FineTuning(Method):
    """Train the whole backbone."""

    def attach(self, backbone: PreTrainedModel) -> TrainedModel:
        """Return the backbone with all parameters trainable."""
        return backbone.requires_grad_(True)

    def optimizer_groups(self, groups: list[dict]) -> list[dict]:
        """Take a share of the learning rate, which the profiles choose for adapters."""
        options = self.config.method
        rate = self.config.trainer.learning_rate * options.weight_learning_rate_share
        return [{**group, "lr": rate} for group in groups]
