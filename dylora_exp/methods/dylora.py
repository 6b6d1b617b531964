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
from typing import TYPE_CHECKING, Any, Literal

from dylora_exp import adapters
from dylora_exp.config import Config, Scale
from dylora_exp.methods.base import Batch, ForwardPass, TrainedModel
from dylora_exp.methods.lora import LoRA, LoRASettings

if TYPE_CHECKING:
    from transformers import PreTrainedModel, TrainerCallback


class DyLoRASettings(LoRASettings):
    """Which rows and columns move at a rank, what freezes the others, and the product's scale."""

    kind: str = "dylora"
    update: Literal["prefix", "row"] = "prefix"
    freeze: Literal["released", "strict"] = "released"
    scale: Scale = "alpha/b"

    @property
    def trains_ranks(self) -> bool:
        """True: one of them at a step."""
        return True

    @property
    def unused_ranks(self) -> frozenset[str]:
        """None: ranks are drawn."""
        return frozenset()


class DyLoRA(LoRA):
    """LoRA trained at a rank drawn anew for each optimizer step."""

    settings_class = DyLoRASettings
    settings: DyLoRASettings
    truncations = ("leading", "svd")
    mask: adapters.RankMask

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
        self.mask = adapters.install_mask(model, self.ranks.r_max)
        if self.config.ranks.sample_every == "example":
            adapters.check_example_ranks(model, self.mask)
        self.active: set[int] = set()
        if self.settings.update == "row":
            row_parameters.pass_gradient_of_row_only(model, self.mask)
        self.rows = (
            row_parameters.RowParameters(model) if self.settings.freeze == "strict" else None
        )
        return model

    def callbacks(self, model: TrainedModel) -> list[TrainerCallback]:
        """Return the callback of the strict freeze, if that is chosen."""
        from dylora_exp.methods.torch_parts.row_parameters import StrictFreeze

        return [StrictFreeze(self.rows, lambda: self.active)] if self.rows else []

    def optimizer_groups(self, groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return the groups, under the strict freeze with rows and columns instead of factors."""
        if self.rows is None:
            return groups
        return [{**group, "params": self.rows.split(group["params"])} for group in groups]

    def forward_passes(self, batch: Batch) -> Iterator[ForwardPass]:
        """Yield a pass at the rank drawn for the step, for this part of it, or for each example."""
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
