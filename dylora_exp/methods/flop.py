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
that comes out has the size asked for. The record of
training has the size that multiplying out would give.

What its authors' code (github.com/asappresearch/flop) does otherwise is a setting:
``method.clip=weights`` clips the gradients of the weights alone, without those of gates and
multipliers, and ``method.gate_value=sigmoid`` folds in sigmoid(0.8 log_alpha) for the mean of a
gate.

The multipliers leave s a few percent beside t where steps are few or little is to be left, and FLOP
takes the number of ranks that comes out (``method.final_count=expected``). Our default, ``target``,
closes the gap first, by one number added to every log_alpha. The record of
training has the s of before.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from dylora_exp.config import Config, MethodSettings, OpenShare, Positive
from dylora_exp.core import RequestError
from dylora_exp.methods.base import Batch, ForwardPass, MeanLoss, Method, TrainedModel

if TYPE_CHECKING:
    import torch
    from torch import nn
    from transformers import PreTrainedModel, TrainerCallback

    from dylora_exp.methods.torch_parts.flop_layers import GatedLinear

_MULTIPLIERS = "flop_multipliers"
# Of the bisection that ends on the target: wide enough for any gate, fine enough for its type.
_WIDEST_SHIFT, _HALVINGS = 100.0, 40


class FLOPSettings(MethodSettings):
    """The target and the speeds at which gates, multipliers and weights move towards it.

    ``target_parameters`` precedes ``target_sparsity`` where both are given. ``clip`` is whose
    gradients ``trainer.max_grad_norm`` limits: ``all`` together, or the ``weights`` alone.
    ``gate_value`` is what a gate that is kept is once training is over: ``expected``, E[z], or
    ``sigmoid``, sigmoid(0.8 log_alpha). FLOP's authors have ``weights`` and ``sigmoid``.
    """

    kind: str = "flop"
    target_parameters: Positive | None = None
    target_sparsity: OpenShare | None = None
    gate_drop_rate: OpenShare = 0.05
    gate_learning_rate: Positive = 0.1
    multiplier_learning_rate: Positive = 0.5
    weight_learning_rate_share: OpenShare = 0.1
    anneal_share: Annotated[float, Field(gt=0, le=1)] = 0.5
    final_count: Literal["target", "expected"] = "target"
    clip: Literal["all", "weights"] = "all"
    gate_value: Literal["expected", "sigmoid"] = "expected"

    @property
    def of_any_depth(self) -> FLOPSettings:
        """The settings with a share to remove, that of RoBERTa-base at 80M parameters (0.684)."""
        if self.target_parameters is None:
            return self
        return self.model_copy(update={"target_parameters": None, "target_sparsity": 0.684})

    @property
    def unused(self) -> dict[str, str]:
        """The share to remove, where the number of parameters to keep is given."""
        if self.target_parameters is None:
            return {}
        return {"target_sparsity": "method.target_parameters goes before it"}


class FLOP(Method):
    """Train the whole model, its encoder in gated factors, towards a number of parameters."""

    settings_class = FLOPSettings
    settings: FLOPSettings
    total_steps: int
    step_target: float
    terms: torch.Tensor

    @classmethod
    def problems(cls, config: Config) -> list[str]:
        """Return what is missing, a target, and what a model cannot have before it is compact."""
        found, method = super().problems(config), config.method
        assert isinstance(method, FLOPSettings)
        if config.trainer.score_every == "epoch":
            found.append(
                "trainer.score_every: found epoch, but method 'flop' has no model to score before "
                "it is compacted at the end, expected end."
            )
        if method.target_parameters is None and method.target_sparsity is None:
            found.append(
                "method.target_sparsity: found null, expected a share, "
                "or a number of parameters in method.target_parameters."
            )
        if method.clip == "weights" and not config.trainer.max_grad_norm:
            found.append(
                "method.clip: found weights, but trainer.max_grad_norm is 0 and clips nothing, "
                "expected all, or a larger trainer.max_grad_norm."
            )
        return found

    def attach(self, backbone: PreTrainedModel) -> TrainedModel:
        """Return the backbone with gated factors in its encoder, all of it trainable.

        ``method.target_parameters`` goes before ``method.target_sparsity`` where both are given.

        Raises:
            RequestError: When the encoder has no linear layer, or the target cannot be reached.
        """
        from transformers.pytorch_utils import Conv1D

        from dylora_exp.methods.torch_parts.flop_layers import (
            GatedLinear,
            Multipliers,
            encoder_layers,
        )

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
            self.layers[name] = GatedLinear(
                weight, layer.bias, self.settings.gate_drop_rate, self.settings.gate_value
            )
            backbone.set_submodule(name, self.layers[name])
        self.full = sum(layer.rank * layer.rank_weights for layer in self.layers.values())
        self.target = target_sparsity(
            self.settings, self.config.model.name, before, rest, self.full
        )
        self.target_parameters = round(rest + (1 - self.target) * self.full)
        self.multipliers = Multipliers()
        backbone.add_module(_MULTIPLIERS, self.multipliers)
        self.hook = backbone.register_forward_hook(self.add_constraint)
        return backbone.requires_grad_(True)

    def callbacks(self, model: TrainedModel) -> list[TrainerCallback]:
        """Return what reads how many steps there will be, and what clips the weights alone."""
        from dylora_exp.methods.torch_parts.flop_layers import GradientClip, StepCount

        found: list[TrainerCallback] = [StepCount(self.set_total_steps)]
        if self.settings.clip == "weights":
            others = self.gates_and_multipliers()
            weights = [parameter for parameter in model.parameters() if parameter not in others]
            found.append(GradientClip(weights, self.config.trainer.max_grad_norm))
        return found

    @property
    def max_grad_norm(self) -> float:
        """The norm to which the gradients of all parameters are clipped together.

        With ``method.clip=weights`` none: as in the authors' training scripts, the norm is that of
        the weights' gradients, which alone are scaled. A norm over all of them lets large gradients
        of the gates shrink the steps of the weights, and the other way round.
        """
        return super().max_grad_norm if self.settings.clip == "all" else 0.0

    def gates_and_multipliers(self) -> set[nn.Parameter]:
        """Return every log_alpha and l1, l2: all parameters that are no weights of the model."""
        gates = {layer.gates.log_alpha for layer in self.layers.values()}
        return gates | set(self.multipliers.parameters())

    def set_total_steps(self, steps: int) -> None:
        """Take note of the number of optimizer steps, which the Trainer works out."""
        self.total_steps = steps

    def optimizer_groups(self, groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return the groups with gates and multipliers in their own, without weight decay.

        All learning rates follow the schedule of ``trainer``. The weights' is a share of
        ``trainer.learning_rate``, which the profiles choose for adapters.
        """
        options = self.settings
        gates = [layer.gates.log_alpha for layer in self.layers.values()]
        multipliers = list(self.multipliers.parameters())
        others = self.gates_and_multipliers()
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
        """Yield a pass with the target of the step, a function of nothing but the step."""
        self.step_target = self.annealed(batch.step)
        yield ForwardPass(is_last=True)

    def annealed(self, step: int) -> float:
        """Return t, which grows linearly from 0 at step 0 to the target."""
        steps = self.settings.anneal_share * self.total_steps
        return self.target * min(1.0, step / steps)

    def loss(self, model: nn.Module, inputs: dict[str, Any], mean_loss: MeanLoss) -> torch.Tensor:
        """Return the Lagrangian of a pass: the task's loss and the constraint's terms."""
        task = super().loss(model, inputs, mean_loss)
        return task + self.terms

    def add_constraint(self, model: nn.Module, inputs: Any, output: Any) -> None:
        """Put the constraint's terms into the output of a training pass; a forward hook.

        They go where the model, which sees no labels, leaves its own loss empty: several
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
        import torch

        kept = [
            layer.gates.open_probability(shift).sum() * layer.rank_weights
            for layer in self.layers.values()
        ]
        removed: torch.Tensor = 1 - torch.stack(kept).sum() / self.full
        return removed

    def finish(self, model: TrainedModel) -> TrainedModel:
        """Return the compact model: gates folded in, ranks that are not kept and l1, l2 gone."""
        self.trained_sparsity = self.removed().item()
        if self.settings.final_count == "target":
            self.close_gap()
        for name, layer in self.layers.items():
            model.set_submodule(name, layer.compact())
        delattr(model, _MULTIPLIERS)
        self.hook.remove()
        return model

    def close_gap(self) -> None:
        """Add one number to every log_alpha, found by bisection, that makes s equal to the target.

        Ranks stay in their order within a layer, and layers in theirs.
        """
        import torch

        low, high = -_WIDEST_SHIFT, _WIDEST_SHIFT
        with torch.no_grad():
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
        compact: dict[str, Any] = {name: model.get_submodule(name) for name in self.layers}
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
        cannot load it; replace each by a ``LowRankLinear``, then load the state dict.
        """
        model.save_pretrained(str(folder))


def target_sparsity(settings: FLOPSettings, model: str, before: int, rest: int, full: int) -> float:
    """Return the share of the weights of all factors to remove.

    Args:
        settings: With a target.
        model: The model's name, for messages.
        before: The parameters of the model before it is factorised.
        rest: Those of them that no gate can remove.
        full: The weights of all factors at full rank.

    Raises:
        RequestError: When the target leaves more than there was before, or not even the rest.
    """
    if settings.target_parameters is None:
        assert settings.target_sparsity is not None
        remaining = rest + (1 - settings.target_sparsity) * full
        if remaining > before:
            least = 1 - (before - rest) / full
            raise RequestError(
                f"method.target_sparsity: found {settings.target_sparsity:g}, expected at least "
                f"{least:.4f}, below which model '{model}' would grow."
            )
        return settings.target_sparsity
    if not rest < settings.target_parameters <= before:
        raise RequestError(
            f"method.target_parameters: found {settings.target_parameters:,.0f}, expected more "
            f"than {rest:,} (what is not pruned) and at most {before:,} (all of model '{model}')."
        )
    return 1 - (settings.target_parameters - rest) / full


def _count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())
