"""DyLoRA (Algorithm 1): one rank b a step, Eq. 7 forward, update of rows and columns 1..b or b.

``method.update`` chooses the active rows of A and columns of B: ``prefix`` 1..b, ``row`` only b
(the paper's frozen mode, Eq. 10). ``method.freeze`` says what becomes of the inactive ones:
``released`` gives them a zero gradient, so AdamW's momentum and weight decay still move them, as in
the released code; ``strict`` leaves them bit-identical.

``ranks.sample_every`` is ``step`` in the paper. Two more are ours: ``micro_batch`` draws a rank for
each part of an accumulated step, ``example`` for each example, which costs the same as one rank
and estimates the mean loss over ranks (the objective of nested dropout) without bias.

Two settings beside the paper's, both without effect by default:

- ``method.loss_power`` k: with ranks drawn by p, the loss minimised is ``sum over b of
  p_b b^k / (sum of p_c c^k) L_b``; each draw's gradient is multiplied by its importance weight
  ``b^k / E[c^k]``. (The relative importance c_m of nested losses in Matryoshka Representation
  Learning, arXiv 2205.13147, eq. 1, as importance sampling.)
- ``method.row_rates=by_share``: row i of A and column i of B take part in a share ``s_i = P(b >=
  i)`` of the draws only, ``P(b = i)`` with ``update=row``; for uniform ranks s_i = (r-i+1)/r. Their
  learning rate is the trainer's divided by s_i. A factor on the gradient would be undone by AdamW,
  so it is put on the whole update: ``x <- x + (x' - x) / s_i`` with x' what AdamW's step makes of
  x. That is AdamW with the learning rate lr/s_i for that row, decoupled weight decay included.
  (Ours; as LoRA+, arXiv 2402.12354, gives B another learning rate than A.)
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal

from dylora_exp.config import Config
from dylora_exp.methods.base import Batch, ForwardPass, MeanLoss, TrainedModel
from dylora_exp.methods.masked import DrawnRanksSettings, MaskedLoRA

if TYPE_CHECKING:
    import torch
    from torch import nn
    from transformers import PreTrainedModel, TrainerCallback


class DyLoRASettings(DrawnRanksSettings):
    """Which rows and columns move at a rank, and what freezes the others.

    ``loss_power`` weighs the losses of ranks, ``row_rates`` says whose learning rates are larger.
    """

    kind: str = "dylora"
    update: Literal["prefix", "row"] = "prefix"
    freeze: Literal["released", "strict"] = "released"
    loss_power: float = 0.0
    row_rates: Literal["equal", "by_share"] = "equal"

    @property
    def step_cost(self) -> str:
        """That of one rank, and of what is done to rows by themselves after each step."""
        strict = " and a strict freeze" if self.freeze == "strict" else ""
        return super().step_cost + strict + (" and row rates" * (self.row_rates == "by_share"))


class DyLoRA(MaskedLoRA):
    """LoRA trained at a rank drawn anew for each optimizer step."""

    settings_class = DyLoRASettings
    settings: DyLoRASettings

    @classmethod
    def problems(cls, config: Config) -> list[str]:
        """Return what does not go together: rows of one rank need one rank a step."""
        found, method = super().problems(config), config.method
        assert isinstance(method, DyLoRASettings)
        if method.update == "row" and config.ranks.sample_every == "example":
            found.append(
                "ranks.sample_every: found example with method.update=row, "
                "expected step or micro_batch."
            )
        return found

    def attach(self, backbone: PreTrainedModel) -> TrainedModel:
        """Return the backbone with masked LoRA at rank r_max."""
        from dylora_exp.methods.torch_parts import row_parameters

        model = super().attach(backbone)
        self.active: set[int] = set()
        if self.settings.update == "row":
            row_parameters.pass_gradient_of_row_only(model, self.mask)
        self.rows = (
            row_parameters.RowParameters(model) if self.settings.freeze == "strict" else None
        )
        return model

    def callbacks(self, model: TrainedModel) -> list[TrainerCallback]:
        """Return the callbacks of the strict freeze and of row rates, where they are chosen."""
        from dylora_exp.methods.torch_parts import row_parameters

        found: list[TrainerCallback] = []
        if self.rows:
            found.append(row_parameters.StrictFreeze(self.rows, lambda: self.active))
        if self.settings.row_rates == "by_share":
            found.append(row_parameters.RowRates(model, self.row_rates))
        return found

    def row_rates(self, step: int) -> list[float]:
        """Return what the updates of the rows 1..r_max are multiplied by at a step.

        A row of no drawn rank, which moves by weight decay alone, has 1.
        """
        drawn = self.ranks.shares
        if self.settings.update == "prefix":
            drawn = tuple(math.fsum(drawn[index:]) for index in range(len(drawn)))
        return [1 / share if share > 0 else 1.0 for share in drawn]

    def loss(self, model: nn.Module, inputs: dict[str, Any], mean_loss: MeanLoss) -> torch.Tensor:
        """Return the loss of one pass, its gradient weighted by ``method.loss_power``.

        The weights are put on the gradients of each example's outputs, so that the value stays the
        mean loss, whatever the terms of which it is the mean.
        """

        def weighted(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
            weights = logits.new_tensor(self.pass_weights()).reshape(-1, *[1] * (logits.dim() - 1))
            if logits.requires_grad:
                logits.register_hook(lambda gradient: gradient * weights)
            return mean_loss(logits, labels)

        return super().loss(model, inputs, weighted if self.settings.loss_power else mean_loss)

    def pass_weights(self) -> list[float]:
        """Return the weight of the loss at the rank of the pass, or at that of each example."""
        power, shares = self.settings.loss_power, self.ranks.shares
        mean = math.fsum(share * rank**power for rank, share in enumerate(shares, 1))
        return [rank**power / mean for rank in self.mask.ranks]

    def optimizer_groups(self, groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return the groups, under the strict freeze with rows and columns instead of factors."""
        if self.rows is None:
            return groups
        return [{**group, "params": self.rows.split(group["params"])} for group in groups]

    def forward_passes(self, batch: Batch) -> Iterator[ForwardPass]:
        """Yield a pass at the rank drawn for the step, for this part of it, or for each example."""
        self.select(self.draw_and_count(batch), batch.index == 0, batch.own)
        yield ForwardPass(is_last=True)

    def select(self, ranks: list[int], first: bool = True, own: range | None = None) -> None:
        """Set the model to one rank, or to one for each example.

        Args:
            ranks: As ``draw`` returns them.
            first: Whether a step begins, before which nothing of it is active.
            own: The indices of the examples that this process has; None for all.
        """
        scale = self.settings.scale
        if self.config.ranks.sample_every == "example":
            self.mask.select_each(ranks if own is None else [ranks[i] for i in own], scale)
        else:
            self.mask.select(ranks[0], scale)
        lowest = max(ranks) - 1 if self.settings.update == "row" else 0
        self.active = (set() if first else self.active) | set(range(lowest, max(ranks)))
