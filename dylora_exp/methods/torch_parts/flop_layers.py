"""FLOP's layers in gated factors, its multipliers, and the layers of a model that it replaces."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from transformers import PreTrainedModel, TrainerCallback, TrainerState
from transformers.pytorch_utils import Conv1D

from dylora_exp.methods.torch_parts.hard_concrete import Gates, GateValue


class LowRankLinear(nn.Module):
    """A linear layer in two factors.

    Args:
        down: (rank, in).
        up: (out, rank).
        bias: (out,), or None.
    """

    def __init__(self, down: torch.Tensor, up: torch.Tensor, bias: nn.Parameter | None) -> None:
        super().__init__()
        self.down, self.up = nn.Parameter(down), nn.Parameter(up)
        self.bias = bias

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (..., in) to (..., out)."""
        return functional.linear(functional.linear(x, self.down), self.up, self.bias)

    @property
    def weight(self) -> torch.Tensor:
        """The weight (out, in) of the layer multiplied out, which some models read."""
        return self.up @ self.down

    @property
    def rank(self) -> int:
        """The number of columns of ``up`` and rows of ``down``."""
        return len(self.down)

    @property
    def rank_weights(self) -> int:
        """The weights of one rank: in + out."""
        return self.down.shape[1] + len(self.up)

    @property
    def smallest(self) -> int:
        """The weights, without bias, in two factors or multiplied out, whichever are fewer."""
        return min(self.rank * self.rank_weights, self.down.shape[1] * len(self.up))


class GatedLinear(LowRankLinear):
    """A linear layer in two factors of full rank with a gate for each rank between them.

    Args:
        weight: (out, in), factorised by SVD so that both factors have singular values sqrt(S).
        bias: (out,), or None.
        drop_rate: Of the gates at the start.
        gate_value: What a gate that is kept is in evaluation.
    """

    def __init__(
        self,
        weight: torch.Tensor,
        bias: nn.Parameter | None,
        drop_rate: float,
        gate_value: GateValue = "expected",
    ) -> None:
        down, up = balanced_factors(weight)
        super().__init__(down, up, bias)
        self.gates = Gates(self.rank, drop_rate, gate_value)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (..., in) to (..., out) through the gated ranks."""
        down = functional.linear(x, self.down)
        return functional.linear(down * self.gates().to(down.dtype), self.up, self.bias)

    @property
    def weight(self) -> torch.Tensor:
        """The weight (out, in) of the layer multiplied out, with the gates of one draw."""
        return self.up @ (self.gates().to(self.down.dtype)[:, None] * self.down)

    @torch.no_grad()
    def compact(self) -> LowRankLinear:
        """Return the layer that computes the same as this one in evaluation, of the ranks kept."""
        kept = self.gates.kept()
        down = self.gates.evaluated()[kept, None] * self.down[kept]
        return LowRankLinear(down, self.up[:, kept].contiguous(), self.bias)


class Multipliers(nn.Module):
    """l1 and l2 of the augmented Lagrangian, both 0 at the start.

    They are parameters of the model, so that its checkpoints hold them and AdamW moves them.
    """

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Parameter(torch.zeros(()))
        self.quadratic = nn.Parameter(torch.zeros(()))

    def forward(self, gap: torch.Tensor) -> torch.Tensor:
        """Return ``l1 gap + l2 gap^2``, a scalar like the gap."""
        return self.linear * gap + self.quadratic * gap.square()


class StepCount(TrainerCallback):
    """Passes on how many optimizer steps there will be."""

    def __init__(self, note: Callable[[int], None]) -> None:
        self.note = note

    def on_train_begin(self, args: Any, state: TrainerState, *_: Any, **__: Any) -> None:
        """Where the Trainer has worked it out."""
        self.note(state.max_steps)


class GradientClip(TrainerCallback):
    """Scales the gradients of some parameters, together, down to a norm, before every step.

    Args:
        parameters: Whose gradients count and are scaled.
        norm: The largest norm that is left.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], norm: float) -> None:
        self.parameters = parameters
        self.norm = norm

    def on_pre_optimizer_step(self, *_: Any, **__: Any) -> None:
        """Clip them, once the micro-batches' gradients are summed and the processes' averaged."""
        nn.utils.clip_grad_norm_(self.parameters, self.norm)


def encoder_layers(backbone: PreTrainedModel, head: Sequence[str]) -> dict[str, nn.Linear | Conv1D]:
    """Return the linear layers of the stack of transformer layers, by name.

    Embeddings and pooler lie outside the stack, which is an ``nn.ModuleList`` of the base model.

    Args:
        backbone: A model with a head.
        head: Names of modules of the head, whose layers are left out.
    """
    stacks = [m for m in backbone.base_model.modules() if isinstance(m, nn.ModuleList)]
    inside = {module for stack in stacks for module in stack.modules()}
    return {
        name: module
        for name, module in backbone.named_modules()
        if module in inside
        and isinstance(module, nn.Linear | Conv1D)
        and not set(name.split(".")) & set(head)
    }


@torch.no_grad()
def balanced_factors(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ``sqrt(S) V^T`` (k, in) and ``U sqrt(S)`` (out, k) of a weight (out, in).

    k = min(in, out); worked out in single precision at least, returned in the weight's type.
    """
    precise = weight.to(torch.promote_types(weight.dtype, torch.float32))
    u, s, vh = torch.linalg.svd(precise, full_matrices=False)
    root = s.sqrt()
    return (root[:, None] * vh).to(weight.dtype), (u * root).to(weight.dtype)
