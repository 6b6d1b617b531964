"""Cuts of trained factors: a basis whose leading rows are the ones to keep, and ranks by a budget.

A truncation writes each product ``B A`` in another basis, in which it is the same, and says how
many rows of A and columns of B each layer keeps at a budget. Budget b is the number of parameters
that all layers have at rank b, or at their own rank where that is smaller:

- ``leading``: the factors as they are, rank b in every layer.
- ``svd``: the singular basis, rank b: the closest product of that rank (Eckart-Young).
- ``energy``: the singular basis; every layer keeps the same share of its squared singular values.
- ``global``: the singular basis; the singular values of all layers are compared, so that all
  products together lose the least energy.
- ``activation``: the basis in which rank b is the closest on the inputs that the layer has, rank b.
- ``gradient``: the singular basis, in the order of ``|sigma dL/dsigma|``, compared over all layers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import torch
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn
from torch.nn import functional

from dylora_exp.adapters.calibration import Calibration, input_moments, row_importance
from dylora_exp.adapters.layers import ADAPTER, factors, lora_layers, restored
from dylora_exp.adapters.peft_folder import PREFIX
from dylora_exp.adapters.rank_choice import Array, Spectra, budget_ranks, energy_budget_ranks
from dylora_exp.adapters.truncation import decompose, singular_factors
from dylora_exp.config import Truncation
from dylora_exp.records import LayerSize

# A (r, d_in) and B (d_out, r) by the name of their layer in the base model.
Factors: TypeAlias = dict[str, tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class CutPlan:
    """The factors in the basis of a truncation, and how a budget is spent on them.

    Attributes:
        truncation: The truncation.
        factors: The rows and columns to keep come first.
        values: What decides how many, of each layer, descending: singular values, scale included,
            or the square roots of importances. None where all layers keep the same rank.
    """

    truncation: Truncation
    factors: Factors
    values: Spectra | None = None
    _chosen: dict[int, dict[str, int]] = field(default_factory=dict, compare=False)

    def ranks(self, budget: int) -> dict[str, int]:
        """Return the rank of each layer, together of no more parameters than at a uniform rank.

        Args:
            budget: That rank.
        """
        if budget not in self._chosen:
            self._chosen[budget] = self._choose(budget)
        return self._chosen[budget]

    def layer_ranks(self, budget: int) -> dict[str, int] | None:
        """Return the ranks as ``ranks`` does, None where they are those of the uniform rank."""
        found = self.ranks(budget)
        return None if found == self.uniform(budget) else found

    def uniform(self, rank: int) -> dict[str, int]:
        """Return one rank for all layers, their own where that is smaller."""
        return {name: min(rank, len(a)) for name, (a, _) in self.factors.items()}

    @property
    def r_max(self) -> int:
        """The largest rank of a layer."""
        return max(len(a) for a, _ in self.factors.values())

    def _choose(self, budget: int) -> dict[str, int]:
        uniform = self.uniform(budget)
        if self.values is None or uniform == self.uniform(self.r_max):
            return uniform
        costs = {name: a.shape[1] + b.shape[0] for name, (a, b) in self.factors.items()}
        parameters = sum(rank * costs[name] for name, rank in uniform.items())
        choose = energy_budget_ranks if self.truncation == "energy" else budget_ranks
        found = choose(self.values, costs, parameters)
        # Of products that are all zero, none is worth more than another.
        return found if any(found.values()) else uniform


def plan_cuts(
    truncation: Truncation,
    factors: Factors,
    scales: Mapping[str, float],
    moments: Mapping[str, Tensor] | None = None,
) -> CutPlan:
    """Return the plan of a truncation that needs no gradients.

    Args:
        truncation: Any but ``gradient``.
        factors: Of all layers.
        scales: What each layer multiplies its product by.
        moments: For ``activation``, the sum of ``y y^T`` over ``y = A x`` of each layer, (r, r).
    """
    if truncation == "leading":
        return CutPlan(truncation, factors)
    if truncation == "activation":
        assert moments is not None
        found = {n: activation_factors(a, b, moments[n]) for n, (a, b) in factors.items()}
        return CutPlan(truncation, found)
    singular = {name: singular_factors(a, b) for name, (a, b) in factors.items()}
    if truncation == "svd":
        return CutPlan(truncation, singular)
    values = {name: abs(scales[name]) * _singular_values(*each) for name, each in factors.items()}
    return CutPlan(truncation, singular, values)


def order_by_importance(factors: Factors, importance: Mapping[str, Tensor]) -> CutPlan:
    """Return the plan that keeps the rows of the largest importance, over all layers.

    Args:
        factors: In their singular basis.
        importance: Of each row, not negative, (r,).
    """
    found: Factors = {}
    values = {}
    for name, (a, b) in factors.items():
        order = torch.sort(importance[name], descending=True, stable=True).indices
        found[name] = a[order.to(a.device)].contiguous(), b[:, order.to(b.device)].contiguous()
        # Squares are what is compared.
        values[name] = importance[name][order].sqrt().numpy()
    return CutPlan("gradient", found, values)


@torch.no_grad()
def activation_factors(a: Tensor, b: Tensor, moment: Tensor) -> tuple[Tensor, Tensor]:
    """Rotate factors so that their first b rows are the closest product on a layer's inputs.

    That is the product W_b of rank b with the least ``||(W - W_b) C^(1/2)||`` for ``W = B A`` and
    the second moment C of the inputs x (Drone, Chen et al. 2021; ASVD and SVD-LLM for whole
    weights). With ``B = Q R``, ``(B A) C (B A)^T = Q (R S R^T) Q^T`` for the moment S of ``y = A
    x``, so that the eigenvectors V of the r x r matrix ``R S R^T`` give the left singular vectors
    ``Q V`` of ``B A C^(1/2)``, and no matrix of d_in x d_in is needed.

    Args:
        a: (r, d_in).
        b: (d_out, r).
        moment: The sum or the mean of ``y y^T``, (r, r).

    Returns:
        The new ``A = V^T R A`` and ``B = Q V``, in the shapes and types of the old.
    """
    q, core = torch.linalg.qr(b.double())
    size = moment.diagonal().sum().clamp(min=torch.finfo(torch.float64).tiny)
    inner = core @ (moment.to(core) / size.to(core)) @ core.T
    _, vectors = torch.linalg.eigh((inner + inner.T) / 2)
    vectors = vectors.flip(1)  # the largest eigenvalue first
    new_a, new_b = vectors.T @ core @ a.double(), q @ vectors
    missing = len(a) - len(new_a)  # of a layer with fewer outputs than r
    padded_a = functional.pad(new_a, (0, 0, 0, missing))
    return padded_a.to(a.dtype), functional.pad(new_b, (0, missing)).to(b.dtype)


def plan_model_cuts(
    model: nn.Module, truncation: Truncation, calibration: Calibration | None = None
) -> CutPlan:
    """Return the plan of a truncation for the adapters of a model, which compute at full rank.

    Args:
        model: The model.
        truncation: The truncation.
        calibration: Examples, for a truncation that is measured on some.
    """
    layers = named_layers(model)
    found = {name: factors(layer) for name, layer in layers.items()}
    trained: Factors = {n: (a.detach().clone(), b.detach().clone()) for n, (a, b) in found.items()}
    scales = {name: float(layer.scaling[ADAPTER]) for name, layer in layers.items()}
    if truncation == "activation":
        assert calibration is not None
        return plan_cuts(truncation, trained, scales, input_moments(model, layers, calibration))
    if truncation == "gradient":
        assert calibration is not None
        singular = plan_cuts("svd", trained, scales)
        with shown(model, singular.factors):
            return order_by_importance(singular.factors, row_importance(model, layers, calibration))
    return plan_cuts(truncation, trained, scales)


def named_layers(model: nn.Module) -> dict[str, LoraLayer]:
    """Return the adapted layers by their names in the base model, in the model's order."""
    names = {module: name.removeprefix(PREFIX) for name, module in model.named_modules()}
    return {names[layer]: layer for layer in lora_layers(model)}


def layer_sizes(model: nn.Module) -> dict[str, LayerSize]:
    """Return the rank, the inputs and the outputs of each adapted layer."""
    pairs = {name: factors(layer) for name, layer in named_layers(model).items()}
    return {
        name: LayerSize(r=len(a), d_in=a.shape[1], d_out=b.shape[0])
        for name, (a, b) in pairs.items()
    }


@contextmanager
def shown(
    model: nn.Module, replaced: Factors, ranks: Mapping[str, int] | None = None
) -> Iterator[None]:
    """Put other factors into a model's adapters for a while, and exactly the old ones back.

    Args:
        model: The model.
        replaced: The factors of each layer.
        ranks: How many rows and columns of each are not zero; all by default.
    """
    with restored(model):
        for name, layer in named_layers(model).items():
            old_a, old_b = factors(layer)
            new_a, new_b = replaced[name]
            rank = len(new_a) if ranks is None else ranks[name]
            for old, new in ((old_a.data, new_a), (old_b.data.T, new_b.T)):
                old[:rank].copy_(new[:rank])
                old[rank:].zero_()
        yield


def _singular_values(a: Tensor, b: Tensor) -> Array:
    return np.asarray(decompose(a, b, vectors=0)[1].cpu().numpy())
