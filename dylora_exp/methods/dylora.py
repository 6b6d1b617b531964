"""DyLoRA (Algorithm 1): one rank b a step, Eq. 7 forward, update of rows and columns 1..b or b.

``method.update`` chooses the active rows of A and columns of B: ``prefix`` 1..b, ``row`` only b
(the paper's frozen mode, Eq. 10). ``method.freeze`` says what becomes of the inactive ones:
``released`` gives them a zero gradient, so AdamW's momentum and weight decay still move them, as in
the released code; ``strict`` leaves them bit-identical.

``ranks.sample_every`` is ``step`` in the paper. Two more are ours: ``micro_batch`` draws a rank for
each part of an accumulated step, ``example`` for each example, which costs the same as one rank
and estimates the mean loss over ranks (the objective of nested dropout) without bias.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel, TrainerCallback

from dylora_exp.adapters import RankMask, factors, install_mask, lora_layers
from dylora_exp.config import Config
from dylora_exp.methods.base import Batch, ForwardPass, TrainedModel
from dylora_exp.methods.lora import LoRA


class DyLoRA(LoRA):
    """LoRA trained at a rank drawn anew for each optimizer step."""

    mask: RankMask

    @classmethod
    def problems(cls, config: Config) -> list[str]:
        """Return what does not go together: rows of one rank need one rank a step."""
        found = super().problems(config)
        if config.method.update == "row" and config.ranks.sample_every == "example":
            found.append(
                "ranks.sample_every: found example with method.update=row, "
                "expected step or micro_batch."
            )
        return found

    def attach(self, backbone: PreTrainedModel) -> TrainedModel:
        """Return the backbone with masked LoRA at rank r_max."""
        model = super().attach(backbone)
        self.mask = install_mask(model, self.ranks.r_max)
        self.active: set[int] = set()
        if self.config.method.update == "row":
            pass_gradient_of_row_only(model, self.mask)
        self.rows = RowParameters(model) if self.config.method.freeze == "strict" else None
        return model

    def callbacks(self, model: TrainedModel) -> list[TrainerCallback]:
        """Return, for the strict freeze, the hand-over of gradients."""
        return [StrictFreeze(self.rows, self)] if self.rows else []

    def optimizer_groups(self, groups: list[dict]) -> list[dict]:
        """Under the strict freeze, put single rows and columns in the place of whole factors."""
        if self.rows is None:
            return groups
        return [{**group, "params": self.rows.split(group["params"])} for group in groups]

    def forward_passes(self, batch: Batch) -> Iterator[ForwardPass]:
        """Draw the rank of the step, of this part of it, or of each example."""
        ranks = self.draw(batch)
        first = batch.index == 0
        if first or self.config.ranks.sample_every != "step":
            self.drawn.update(ranks)
        self.select(ranks, first, batch.own)
        yield ForwardPass(is_last=True)

    def draw(self, batch: Batch) -> list[int]:
        """Return one rank for a batch, or one for each of its examples, those of all processes."""
        every, seed = self.config.ranks.sample_every, self.config.seed
        if every == "example":
            return self.ranks.ranks_of_examples(seed, batch.step, batch.first, batch.size)
        return [
            self.ranks.rank_of_step(
                seed, batch.step, batch.index if every == "micro_batch" else None
            )
        ]

    def select(self, ranks: list[int], first: bool = True, own: range | None = None) -> None:
        """Work at one rank, or at one for each example, from now on.

        Args:
            ranks: As ``draw`` returns them.
            first: Whether a step begins, before which nothing of it is active.
            own: The places of the examples that this process has; None for all.
        """
        scale = self.config.method.scale
        if self.config.ranks.sample_every == "example":
            self.mask.select_each(ranks if own is None else [ranks[i] for i in own], scale)
        else:
            self.mask.select(ranks[0], scale)
        lowest = max(ranks) - 1 if self.config.method.update == "row" else 0
        self.active = (set() if first else self.active) | set(range(lowest, max(ranks)))


class RowParameters:
    """The rows of every A and columns of every B as leaf views of the same storage.

    An optimizer that owns the views treats each row and column as a parameter of its own, and skips
    those without a gradient: no momentum, no weight decay, not a bit changed.
    """

    def __init__(self, model: nn.Module) -> None:
        self.of: dict[nn.Parameter, int] = {}
        self.views: dict[nn.Parameter, list[nn.Parameter]] = {}
        for layer in lora_layers(model):
            for parameter, dim in zip(factors(layer), (0, 1), strict=True):
                self.of[parameter] = dim

    def split(self, parameters: list[nn.Parameter]) -> list[nn.Parameter]:
        """Return the parameters with each factor replaced by its rows or columns."""
        result = []
        for parameter in parameters:
            if parameter in self.of:
                slices = parameter.data.unbind(self.of[parameter])
                self.views[parameter] = [nn.Parameter(piece) for piece in slices]
                result += self.views[parameter]
            else:
                result.append(parameter)
        return result

    def hand_over(self, active: set[int]) -> None:
        """Give each active row and column its gradient and take it from all others."""
        for parameter, views in self.views.items():
            if views[0].data_ptr() != parameter.data_ptr():  # the model was moved
                pieces = parameter.data.unbind(self.of[parameter])
                for view, piece in zip(views, pieces, strict=True):
                    view.data = piece
            gradient = parameter.grad
            for index, view in enumerate(views):
                has_one = gradient is not None and index in active
                view.grad = gradient.select(self.of[parameter], index) if has_one else None  # type: ignore[union-attr]


class StrictFreeze(TrainerCallback):
    """Hands the gradients of the active rows and columns to the optimizer's views."""

    def __init__(self, rows: RowParameters, method: DyLoRA) -> None:
        self.rows = rows
        self.method = method

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """After clipping, which must see the gradients where the backward pass left them."""
        self.rows.hand_over(self.method.active)


def pass_gradient_of_row_only(model: nn.Module, mask: RankMask) -> None:
    """Zero the weight gradients of all rows and columns but b (Eq. 10).

    The gradients of activations still flow through the lower rows.
    """

    def keep(gradient: torch.Tensor, dim: int) -> torch.Tensor:
        kept = torch.zeros_like(gradient)
        (rank,) = mask.ranks
        index = rank - 1
        kept.select(dim, index).copy_(gradient.select(dim, index))
        return kept

    for layer in lora_layers(model):
        a, b = factors(layer)
        a.register_hook(lambda gradient: keep(gradient, 0))
        b.register_hook(lambda gradient: keep(gradient, 1))
