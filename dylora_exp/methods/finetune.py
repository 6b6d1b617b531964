"""Full fine-tuning: every parameter is trained, and there is no rank."""

from __future__ import annotations

from torch import nn
from transformers import PreTrainedModel

from dylora_exp.methods.base import BaseMethod


class Method(BaseMethod):
    """Train the whole backbone."""

    def attach(self, backbone: PreTrainedModel) -> nn.Module:
        """Return the backbone with all parameters trainable."""
        return backbone.requires_grad_(True)
