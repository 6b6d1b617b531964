"""LoRA-Squeeze in training (arXiv 2602.10993): a high rank first, cut in stages to a final one.

Training begins as LoRA at r_max. At each share of the steps in ``method.cut_at`` every product
``B A = U S V^T`` is replaced by its best approximation of a lower rank k (Eckart-Young):
``A <- sqrt(S_k) V_k^T``, ``B <- U_k sqrt(S_k)``, and training goes on at rank k. The n ranks are a
geometric series down to ``method.final_rank`` R: ``k_j = round(r_max (R / r_max)^(j/n))``. The
scale stays alpha/r_max, so that a cut leaves out terms and changes nothing else; AdamW's moments of
the factors are dropped at each cut, since they belong to the rows of the old basis. The paper cuts
by a randomised SVD, here it is exact.

What is scored is the trained adapter, which has rank R: at the ranks of ``ranks.score`` up to R,
cut once more below it. Ranks above R are not there any more. The factors keep r_max rows, of which
those from R on are zero and stay so: with no value, gradient or moment AdamW does not move them.
Shares close to 1 give the paper's other recipe, a cut after training that is trained on for a few
steps: ``method.cut_at=[0.95]``.
"""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from pydantic import Field

from dylora_exp import adapters
from dylora_exp.config import Config, Count, OpenShare
from dylora_exp.core import RequestError
from dylora_exp.methods.base import Batch, Cut, ForwardPass, TrainedModel
from dylora_exp.methods.lora import LoRA, LoRASettings

if TYPE_CHECKING:
    from torch.optim import Optimizer
    from transformers import PreTrainedModel, TrainerCallback


class LoRASqueezeSettings(LoRASettings):
    """The rank at the end, and the shares of the steps before each cut, ascending."""

    kind: str = "lora_squeeze"
    final_rank: Count = 2
    cut_at: list[OpenShare] = Field(default_factory=lambda: [0.5])


def stage_ranks(r_max: int, final: int, cuts: int) -> list[int]:
    """Return the rank before the first cut and after each, a geometric series rounded."""
    return [round(r_max * (final / r_max) ** (number / cuts)) for number in range(cuts + 1)]


class LoRASqueeze(LoRA):
    """LoRA whose rank is lowered in stages while it is trained."""

    settings_class = LoRASqueezeSettings
    settings: LoRASqueezeSettings
    mask: adapters.RankMask

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.stages = stage_ranks(
            self.ranks.r_max, self.settings.final_rank, len(self.settings.cut_at)
        )

    @classmethod
    def problems(cls, config: Config) -> list[str]:
        """Return what does not go together: ranks that do not fall, shares out of order."""
        found, method = super().problems(config), config.method
        assert isinstance(method, LoRASqueezeSettings)
        count = len(method.cut_at)
        if method.final_rank >= config.ranks.r_max:
            found.append(
                f"method.final_rank: found {method.final_rank}, expected a rank below ranks.r_max "
                f"({config.ranks.r_max})."
            )
        elif config.ranks.score and min(config.ranks.score) > method.final_rank:
            found.append(
                f"ranks.score: found {config.ranks.score}, expected one up to method.final_rank "
                f"({method.final_rank}), the rank of the trained adapter."
            )
        elif count and len(set(stage_ranks(config.ranks.r_max, method.final_rank, count))) <= count:
            found.append(
                f"method.cut_at: found {count} cuts, expected fewer between rank "
                f"{config.ranks.r_max} and method.final_rank {method.final_rank}: some would leave "
                "the rank as it is."
            )
        if not count or any(a >= b for a, b in itertools.pairwise(method.cut_at)):
            shown = ", ".join(f"{share:g}" for share in method.cut_at)
            found.append(f"method.cut_at: found [{shown}], expected ascending shares of the steps.")
        if method.adapter is not None:
            found.append(
                f"method.adapter: method '{method.name}' trains its own, expected nothing."
            )
        steps, needed = config.trainer.max_steps, count + 1
        if steps is not None and steps < needed:
            found.append(
                f"trainer.max_steps: found {steps}, method '{method.name}' needs at least {needed} "
                "steps."
            )
        return found

    def check_steps(self, steps: int) -> None:
        """Refuse fewer steps than stages, such as an epoch with a single batch.

        Raises:
            RequestError: When there are fewer.
        """
        if steps < len(self.stages):
            raise RequestError(
                f"trainer.epochs: found {self.config.trainer.epochs:g}, which is {steps} optimizer "
                f"steps, method '{self.settings.name}' needs at least {len(self.stages)}."
            )

    def attach(self, backbone: PreTrainedModel) -> TrainedModel:
        """Return the backbone with masked LoRA at rank r_max."""
        model = super().attach(backbone)
        self.mask = adapters.install_mask(model, self.ranks.r_max)
        return model

    def callbacks(self, model: TrainedModel) -> list[TrainerCallback]:
        """Return the cuts."""
        from dylora_exp.methods.torch_parts.rotation import Rotation, drop_moments

        def squeeze(number: int, optimizer: Optimizer) -> None:
            for layer in adapters.lora_layers(model):
                a, b = adapters.factors(layer)
                a.data[self.stages[number + 1] :] = 0
                b.data[:, self.stages[number + 1] :] = 0
            drop_moments(model, optimizer)

        self.rotation = Rotation(model, self.settings.cut_at, squeeze)
        return [self.rotation]

    def forward_passes(self, batch: Batch) -> Iterator[ForwardPass]:
        """Yield one pass at the rank of the stage."""
        stage = bisect.bisect_right(self.rotation.steps, batch.step)
        self.mask.select(self.stages[stage], "alpha/r")
        yield ForwardPass(is_last=True)

    def cuts(self) -> Sequence[Cut]:
        """Return the cuts of the ranks that the trained adapter has."""
        return [
            cut
            for cut in super().cuts()
            if cut.rank is None or cut.rank <= self.settings.final_rank
        ]
