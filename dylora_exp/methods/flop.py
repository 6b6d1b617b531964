"""FLOP, factorised low-rank pruning (Wang, Wohlwend, Lei 2019), the baseline of Table 3.

Each linear layer of the encoder becomes ``W = (U sqrt(S)) diag(z) (sqrt(S) V^T)``, exact at z = 1
with k = min(in, out) ranks and one hard-concrete gate z for each ("Structured pruning of large
language models", its factorisation). The whole model is trained on its augmented Lagrangian

    L = task loss + l1 (s - t) + l2 (s - t)^2

which gradient steps minimise over weights and gates and maximise over l1 and l2. At the end a layer
keeps as many ranks as it expects to have open, those with the largest gates; their mean values are
multiplied into the factors, and what is left is two factors of that rank.

What s counts: the expected share of the weights of *both factors* that is removed, a rank weighing
in + out. At full rank the factors hold k (in + out) weights, more than the in * out of the layer.
RoBERTa-base with 2 labels has 124,647,170 parameters, 84,934,656 of them in those layers, and
127,401,984 weights in the factors. s = 0.684 leaves 40,259,027 of these and 79,971,541 in all,
which is the 80M of Table 3, with 243 of 768 ranks in the mean. Counted against the 84,934,656 the
same 0.684 would leave 66.6M.

A layer that keeps more than in * out / (in + out) ranks (half of them where it is square) would be
smaller multiplied out. It stays in two factors: s counts it so, as FLOP does, so that the model
that comes out has the size asked for. ``told`` says to what size multiplying out would bring it.

The multipliers leave s a few percent beside t where steps are few or little is to be left, and FLOP
takes the number of ranks that comes out (``method.final_count=expected``). Our default, ``target``,
closes the gap first, by one number added to every log_alpha. ``told`` has the s of before.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from transformers import PreTrainedModel, TrainerCallback, TrainerState
from transformers.pytorch_utils import Conv1D

from dylora_exp.config import Config
from dylora_exp.core import RequestError
from dylora_exp.methods.base import Batch, ForwardPass, MeanLoss, Method, TrainedModel
from dylora_exp.methods.hard_concrete import Gates

_MULTIPLIERS = "flop_multipliers"
# Of the bisection that ends on the target: wide enough for any gate, fine enough for its type.
_WIDEST_SHIFT, _HALVINGS = 100.0, 40


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
    """

    def __init__(self, weight: torch.Tensor, bias: nn.Parameter | None, drop_rate: float) -> None:
        down, up = balanced_factors(weight)
        super().__init__(down, up, bias)
        self.gates = Gates(self.rank, drop_rate)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (..., in) to (..., out) through the gated ranks."""
        down = functional.linear(x, self.down)
        return functional.linear(down * self.gates().to(down.dtype), self.up, self.bias)

    @torch.no_grad()
    def compact(self) -> LowRankLinear:
        """Return the layer that computes the same as this one in evaluation, of the ranks kept."""
        kept = self.gates.kept()
        down = self.gates.expected()[kept, None] * self.down[kept]
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


class FLOP(Method):
    """Train the whole model, its encoder in gated factors, towards a number of parameters."""

    total_steps: int
    step_target: float
    terms: torch.Tensor

    @classmethod
    def problems(cls, config: Config) -> list[str]:
        """Return what is missing, a target, and what a model cannot have before it is compact."""
        found = super().problems(config)
        if config.trainer.score_every == "epoch":
            found.append(
                "trainer.score_every: found epoch, but method 'flop' has no model to score before "
                "it is compacted at the end, expected end."
            )
        if config.method.target_parameters is None and config.method.target_sparsity is None:
            found.append(
                "method.target_sparsity: found null, expected a share, "
                "or a number of parameters in method.target_parameters."
            )
        return found

    def attach(self, backbone: PreTrainedModel) -> TrainedModel:
        """Return the backbone with gated factors in its encoder, all of it trainable.

        ``method.target_parameters`` goes before ``method.target_sparsity`` where both are given.

        Raises:
            RequestError: When the encoder has no linear layer, or the target cannot be reached.
        """
        options = self.config.method
        linear = encoder_layers(backbone, self.config.model.head)
        if not linear:
            raise RequestError(
                f"model: '{self.config.model.name}' has no linear layers to factorise."
            )
        before = _count(backbone)
        rest = before - sum(layer.weight.numel() for layer in linear.values())
        self.layers: dict[str, GatedLinear] = {}
        for name, layer in linear.items():
            weight = layer.weight.T if isinstance(layer, Conv1D) else layer.weight
            self.layers[name] = GatedLinear(weight, layer.bias, options.gate_drop_rate)
            backbone.set_submodule(name, self.layers[name])
        self.full = sum(layer.rank * layer.rank_weights for layer in self.layers.values())
        self.target = target_sparsity(self.config, before, rest, self.full)
        self.target_parameters = round(rest + (1 - self.target) * self.full)
        self.multipliers = Multipliers()
        backbone.add_module(_MULTIPLIERS, self.multipliers)
        self.hook = backbone.register_forward_hook(self.add_constraint)
        return backbone.requires_grad_(True)

    def callbacks(self, model: TrainedModel) -> list[TrainerCallback]:
        """Return what tells the method how many steps there will be."""
        return [StepCount(self)]

    def optimizer_groups(self, groups: list[dict]) -> list[dict]:
        """Give gates and multipliers groups of their own, without weight decay.

        All learning rates follow the schedule of ``trainer``. The weights' is a share of
        ``trainer.learning_rate``, which the profiles choose for adapters.
        """
        options = self.config.method
        gates = [layer.gates.log_alpha for layer in self.layers.values()]
        multipliers = list(self.multipliers.parameters())
        others = {*gates, *multipliers}
        rate = self.config.trainer.learning_rate * options.weight_learning_rate_share
        weights = [
            {**group, "params": [p for p in group["params"] if p not in others], "lr": rate}
            for group in groups
        ]
        return [
            *weights,
            {"params": gates, "lr": options.gate_learning_rate, "weight_decay": 0.0},
            {
                "params": multipliers,
                "lr": options.multiplier_learning_rate,
                "weight_decay": 0.0,
                "maximize": True,
            },
        ]

    def forward_passes(self, batch: Batch) -> Iterator[ForwardPass]:
        """Set the target of the step, a function of nothing but the step."""
        self.step_target = self.annealed(batch.step)
        yield ForwardPass(is_last=True)

    def annealed(self, step: int) -> float:
        """Return t, which goes in a line from 0 at step 0 to the target."""
        steps = self.config.method.anneal_share * self.total_steps
        return self.target * min(1.0, step / steps)

    def loss(self, model: nn.Module, inputs: dict[str, Any], mean_loss: MeanLoss) -> torch.Tensor:
        """Return the Lagrangian of a pass: the task's loss and the constraint's terms."""
        task = super().loss(model, inputs, mean_loss)
        return task + self.terms

    def add_constraint(self, model: nn.Module, inputs: Any, output: Any) -> None:
        """Work out the constraint's terms in a training pass; a forward hook.

        They are put where the model, which sees no labels, leaves its own loss empty: several
        processes only exchange gradients of what the outputs need.
        """
        if model.training:
            self.terms = output.loss = self.constraint()

    def constraint(self) -> torch.Tensor:
        """Return ``l1 (s - t) + l2 (s - t)^2``, a scalar."""
        return self.multipliers(self.removed() - self.step_target)

    def removed(self, shift: float = 0.0) -> torch.Tensor:
        """Return s, the expected share of the weights of all factors that is removed, a scalar.

        Args:
            shift: What to add to every log_alpha first.
        """
        kept = [
            layer.gates.open_probability(shift).sum() * layer.rank_weights
            for layer in self.layers.values()
        ]
        removed: torch.Tensor = 1 - torch.stack(kept).sum() / self.full
        return removed

    def finish(self, model: TrainedModel) -> TrainedModel:
        """Return the compact model: gates folded in, ranks that are not kept and l1, l2 gone."""
        self.trained_sparsity = self.removed().item()
        if self.config.method.final_count == "target":
            self.close_gap()
        for name, layer in self.layers.items():
            model.set_submodule(name, layer.compact())
        delattr(model, _MULTIPLIERS)
        self.hook.remove()
        return model

    @torch.no_grad()
    def close_gap(self) -> None:
        """Add one number to every log_alpha, found by bisection, that makes s equal to the target.

        Ranks stay in their order within a layer, and layers in theirs.
        """
        low, high = -_WIDEST_SHIFT, _WIDEST_SHIFT
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            if self.removed(middle) > self.target:
                low = middle
            else:
                high = middle
        for layer in self.layers.values():
            layer.gates.log_alpha.add_(high)

    def training_stats(self, model: TrainedModel) -> dict[str, Any]:
        """Return the target, and how many parameters and ranks the compact model has."""
        compact = {name: model.get_submodule(name) for name in self.layers}
        remaining = _count(model)
        factors = sum(layer.rank * layer.rank_weights for layer in compact.values())
        smallest = sum(layer.smallest for layer in compact.values())
        return {
            "target_parameters": self.target_parameters,
            "target_sparsity": self.target,
            "remaining_parameters": remaining,
            "remaining_parameters_if_merged": remaining - factors + smallest,
            "trained_sparsity": self.trained_sparsity,
            "sparsity": 1 - factors / self.full,
            "layer_ranks": {name: layer.rank for name, layer in compact.items()},
        }

    def save(self, model: TrainedModel, folder: Path) -> None:
        """Save config and weights (safetensors) of the compact model.

        The weights are a plain state dict in which each pruned layer has ``down`` (rank, in),
        ``up`` (out, rank) and ``bias``. Transformers knows no such layer: ``from_pretrained``
        cannot load it; put a ``LowRankLinear`` in place of each, then load the state dict.
        """
        model.save_pretrained(folder)


class StepCount(TrainerCallback):
    """Tells the method how many optimizer steps there will be."""

    def __init__(self, method: FLOP) -> None:
        self.method = method

    def on_train_begin(self, args: Any, state: TrainerState, *_: Any, **__: Any) -> None:
        """Where the Trainer has worked it out."""
        self.method.total_steps = state.max_steps


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


def target_sparsity(config: Config, before: int, rest: int, full: int) -> float:
    """Return the share of the weights of all factors to remove.

    Args:
        config: The run's config, with a target.
        before: The parameters of the model before it is factorised.
        rest: Those of them that no gate can remove.
        full: The weights of all factors at full rank.

    Raises:
        RequestError: When the target leaves more than there was before, or not even the rest.
    """
    options, name = config.method, config.model.name
    if options.target_parameters is None:
        assert options.target_sparsity is not None
        remaining = rest + (1 - options.target_sparsity) * full
        if remaining > before:
            least = 1 - (before - rest) / full
            raise RequestError(
                f"method.target_sparsity: found {options.target_sparsity:g}, expected at least "
                f"{least:.4f}, below which model '{name}' would grow."
            )
        return options.target_sparsity
    if not rest < options.target_parameters <= before:
        raise RequestError(
            f"method.target_parameters: found {options.target_parameters:,.0f}, expected more than "
            f"{rest:,} (what is not pruned) and at most {before:,} (all of model '{name}')."
        )
    return 1 - (options.target_parameters - rest) / full


def _count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())
