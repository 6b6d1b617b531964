"""Plain PEFT LoRA adapters that can be used at any rank.

Each ``lora_A`` becomes an ``nn.Linear`` subclass around the same parameter whose r-wide output is
multiplied by a mask shared by all layers. With ``m_i = 1[i <= b] * r/b`` PEFT's own factor alpha/r
turns into alpha/b, and the layer computes Eq. 7: ``h = W0 x + (alpha/b) B[:, :b] A[:b] x``. With
``sqrt(r/b)`` rsLoRA's own factor alpha/sqrt(r) turns into alpha/sqrt(b).

Layers may have ranks of their own (PEFT's ``rank_pattern``). At rank b, one of rank r_l < b keeps
all of it at its own scale: it computes as at rank min(b, r_l), with alpha_l / min(b, r_l).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import cast

import torch
from torch import nn

from dylora_exp.adapters.layers import ADAPTER, lora_layers
from dylora_exp.config import Scale, relative_factor


class RankMask:
    """The rank, or the rank of each example, at which all adapters of a model compute.

    The tensor is replaced, never changed in place: graphs that wait for their backward pass, and
    checkpointed segments that will be run again, still hold the former one. It is cast when it is
    replaced, so that a compiled forward pass reads one tensor, whatever the rank.
    """

    def __init__(self, r_max: int, rslora: bool = False) -> None:
        self.r_max = r_max
        # Whether the layers' own factor is alpha/sqrt(r).
        self.rslora = rslora
        # Those of the layers with a rank below r_max, by it; they follow this one.
        self._narrower: dict[int, RankMask] = {}
        # The device and the type of the model's activations so far.
        self._target: tuple[torch.device, torch.dtype] = (torch.empty(0).device, torch.float32)
        self.select(r_max)

    def select(self, rank: int, scale: Scale = "alpha/b") -> None:
        """Truncate all adapters to their first ``rank`` rows and columns.

        Args:
            rank: 1..r_max.
            scale: The factor of the truncated product.
        """
        self._set((rank,), self.row(rank, scale))
        for r, mask in self._narrower.items():
            mask.select(min(rank, r), scale)

    def select_each(self, ranks: Sequence[int], scale: Scale = "alpha/b") -> None:
        """Truncate the adapters for each example of a batch to a rank of its own.

        Args:
            ranks: One for each example, 1..r_max.
            scale: The factor of the truncated products.
        """
        self._set(tuple(ranks), torch.stack([self.row(rank, scale) for rank in ranks]))
        for r, mask in self._narrower.items():
            mask.select_each([min(rank, r) for rank in ranks], scale)

    def weigh(self, weights: torch.Tensor, rank: int) -> None:
        """Multiply the r_max outputs of A by arbitrary weights, shape (r_max,).

        Args:
            weights: Relative to the layers' own factor.
            rank: The largest with a weight other than zero.
        """
        self._set((rank,), weights)

    def weigh_each(self, weights: torch.Tensor, ranks: Sequence[int]) -> None:
        """Multiply the outputs of A by arbitrary weights for each example.

        Args:
            weights: (examples, r_max), relative to the scale alpha/r.
            ranks: The number of weights other than zero of each.
        """
        self._set(tuple(ranks), weights)

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Return to the present rank or ranks afterwards."""
        ranks, tensor = self.ranks, self.tensor
        with ExitStack() as stack:
            for mask in self._narrower.values():
                stack.enter_context(mask.kept())
            try:
                yield
            finally:
                self._set(ranks, tensor)

    def for_layer(self, r: int) -> RankMask:
        """Return the mask of a layer of rank r, which is this one's where r is r_max."""
        if r == self.r_max:
            return self
        return self._narrower.setdefault(r, RankMask(r, self.rslora))

    def row(self, rank: int, scale: Scale) -> torch.Tensor:
        """Return ``1[i <= b]`` times the scale, relative to the layers' own, shape (r_max,)."""
        # Double precision, since r/b is rarely a binary fraction; ``like`` rounds it once.
        mask = torch.zeros(self.r_max, dtype=torch.float64)
        mask[:rank] = relative_factor(scale, rank, self.r_max, self.rslora)
        return mask

    def like(self, x: torch.Tensor) -> torch.Tensor:
        """Return the mask for outputs of A.

        Args:
            x: (..., r_max), with examples first where each has a rank of its own.

        Returns:
            A tensor to multiply ``x`` by, on its device, in at least single precision.
        """
        self.follow(x.device, _mask_type(x))
        mask = self._cast
        if mask.dim() == 1:
            return mask
        return mask.reshape(len(mask), *[1] * (x.dim() - 2), self.r_max)

    def follow(self, device: torch.device, dtype: torch.dtype) -> None:
        """Keep the mask on this device and in this type from now on."""
        if (device, dtype) != self._target:
            self._target = (device, dtype)
            self._cast = self.tensor.to(*self._target)

    def _set(self, ranks: tuple[int, ...], tensor: torch.Tensor) -> None:
        self.ranks = ranks
        self.tensor = tensor
        self._cast = tensor.to(*self._target)


def _mask_type(x: torch.Tensor) -> torch.dtype:
    """Return single precision, or the type of a tensor that is more precise."""
    return torch.promote_types(x.dtype, torch.float32)


class MaskedLinear(nn.Linear):
    """The down-projection A whose output passes the shared mask; same parameter, same name.

    ``mask`` is that of its own rank, ``shared`` that of the whole model.
    """

    def __init__(self, linear: nn.Linear, shared: RankMask) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.weight, self.bias = linear.weight, linear.bias
        self.shared, self.mask = shared, shared.for_layer(linear.out_features)
        # In a list, so that it is no submodule.
        self._unmasked = [linear]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (..., in_features) to (..., out_features), zero beyond the current rank."""
        down = super().forward(x)
        return (down * self.mask.like(down)).to(down.dtype)

    def without_mask(self) -> nn.Linear:
        """Return the linear map that the mask was put on, with the present parameter."""
        (linear,) = self._unmasked
        linear.weight = self.weight
        return linear.train(self.training)


def install_mask(model: nn.Module, r_max: int, adapter: str = ADAPTER) -> RankMask:
    """Put all layers of an adapter behind one mask, which selects r_max at first.

    Returns:
        The mask; the same one when it is already in place.
    """
    if present := find_mask(model, adapter):
        return present
    layers = list(lora_layers(model, adapter))
    mask = RankMask(r_max, any(layer.use_rslora.get(adapter) for layer in layers))
    for layer in layers:
        layer.lora_A[adapter] = MaskedLinear(cast(nn.Linear, layer.lora_A[adapter]), mask)
    move_mask_to_model(model, adapter)
    return mask


def find_mask(model: nn.Module, adapter: str = ADAPTER) -> RankMask | None:
    """Return the mask of an adapter, None where it has none."""
    for layer in lora_layers(model, adapter):
        down = layer.lora_A[adapter]
        return down.shared if isinstance(down, MaskedLinear) else None
    return None


def remove_mask(model: nn.Module, adapter: str = ADAPTER) -> None:
    """Give all layers of an adapter back to PEFT: plain linear maps of the same parameters."""
    for layer in lora_layers(model, adapter):
        down = layer.lora_A[adapter]
        if isinstance(down, MaskedLinear):
            layer.lora_A[adapter] = down.without_mask()


def move_mask_to_model(model: nn.Module, adapter: str = ADAPTER) -> None:
    """Move the mask to the device of the model, as the first forward pass would."""
    for layer in lora_layers(model, adapter):
        down = layer.lora_A[adapter]
        if isinstance(down, MaskedLinear):
            down.mask.follow(down.weight.device, _mask_type(down.weight))
