"""Plain PEFT LoRA adapters that can be used at any rank.

Each ``lora_A`` becomes an ``nn.Linear`` subclass around the same parameter whose r-wide output is
multiplied by a mask shared by all layers. With ``m_i = 1[i <= b] * r/b`` PEFT's own factor alpha/r
turns into alpha/b, and the layer computes Eq. 7: ``h = W0 x + (alpha/b) B[:, :b] A[:b] x``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora import LoraLayer
from torch import nn
from transformers import PreTrainedModel

from dylora_exp.config import Config, Scale
from dylora_exp.core import RequestError, first_line
from dylora_exp.models import has_transposed_weights, name_matches, split_fused

_ADAPTER = "default"


class RankMask:
    """The rank, or the rank of each example, at which all adapters of a model work at present.

    The tensor is replaced, never changed in place: graphs that wait for their backward pass, and
    checkpointed segments that will be run again, still hold the former one. It is cast when it is
    replaced, so that a compiled forward pass reads one tensor, whatever the rank.
    """

    def __init__(self, r_max: int) -> None:
        self.r_max = r_max
        # Where the model's activations have been so far, and their type.
        self._place: tuple[torch.device, torch.dtype] = (torch.empty(0).device, torch.float32)
        self.select(r_max)

    def select(self, rank: int, scale: Scale = "alpha/b") -> None:
        """Truncate all adapters to their first ``rank`` rows and columns.

        Args:
            rank: 1..r_max.
            scale: The factor of the truncated product.
        """
        self._set((rank,), self.row(rank, scale))

    def select_each(self, ranks: Sequence[int], scale: Scale = "alpha/b") -> None:
        """Give each example of a batch a rank of its own.

        Args:
            ranks: One for each example, 1..r_max.
            scale: The factor of the truncated products.
        """
        self._set(tuple(ranks), torch.stack([self.row(rank, scale) for rank in ranks]))

    def weigh(self, weights: torch.Tensor, rank: int) -> None:
        """Multiply the r_max outputs of A by weights of one's own, shape (r_max,).

        Args:
            weights: Relative to the scale alpha/r.
            rank: The largest with a weight other than zero.
        """
        self._set((rank,), weights)

    def row(self, rank: int, scale: Scale) -> torch.Tensor:
        """Return ``1[i <= b]`` times r/b (``alpha/b``) or 1 (``alpha/r``), shape (r_max,)."""
        # Double precision, since r/b is rarely a binary fraction; ``like`` rounds it once.
        mask = torch.zeros(self.r_max, dtype=torch.float64)
        mask[:rank] = self.r_max / rank if scale == "alpha/b" else 1.0
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
        """Keep the mask where it will be multiplied, from now on."""
        if (device, dtype) != self._place:
            self._place = (device, dtype)
            self._cast = self.tensor.to(*self._place)

    def _set(self, ranks: tuple[int, ...], tensor: torch.Tensor) -> None:
        self.ranks = ranks
        self.tensor = tensor
        self._cast = tensor.to(*self._place)


def _mask_type(x: torch.Tensor) -> torch.dtype:
    """Return single precision, or the type of a tensor that is more precise."""
    return torch.promote_types(x.dtype, torch.float32)


class MaskedLinear(nn.Linear):
    """The down-projection A whose output passes the shared mask; same parameter, same name."""

    def __init__(self, linear: nn.Linear, mask: RankMask) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.weight, self.bias = linear.weight, linear.bias
        self.mask = mask

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (..., in_features) to (..., r_max), zero beyond the current rank."""
        down = super().forward(x)
        return (down * self.mask.like(down)).to(down.dtype)


def attach_lora(backbone: PreTrainedModel, config: Config, init: str) -> PeftModel:
    """Add PEFT's LoRA at rank r_max (Eq. 4) to the targets.

    The head of a classifier is trained in full, that of a language model stays as it is.

    Args:
        backbone: The model to adapt.
        config: The run's.
        init: How A starts: ``kaiming_uniform`` or ``gaussian``.

    Raises:
        RequestError: When a target can be neither adapted nor split.
    """
    split_fused(backbone, config.model)
    _check_linear(backbone, config.model.targets)
    lora = LoraConfig(
        task_type=config.task.peft_task_type,
        r=config.ranks.r_max,
        lora_alpha=config.method.alpha,
        lora_dropout=config.method.dropout,
        init_lora_weights="gaussian" if init == "gaussian" else True,
        target_modules=list(config.model.targets),
        # PEFT adds to it in place.
        modules_to_save=list(config.model.head) if config.task.trains_head else None,
        fan_in_fan_out=has_transposed_weights(backbone, config.model.targets),
    )
    try:
        return get_peft_model(backbone, lora)
    except ValueError as error:
        raise RequestError(f"model.targets: PEFT refuses them: {first_line(error)}") from error


def _check_linear(backbone: PreTrainedModel, targets: Sequence[str]) -> None:
    """Refuse layers whose adapters do not send their input through an A that can be masked."""
    others = (nn.Embedding, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.MultiheadAttention)
    for name, module in backbone.named_modules():
        if isinstance(module, others) and any(name_matches(name, target) for target in targets):
            raise RequestError(
                f"model.targets: '{name}' is of type {type(module).__name__}, only linear layers "
                "can be shown at every rank."
            )


def save_adapter(model: PeftModel, folder: Path, base: str) -> None:
    """Save the adapter and the trained head, naming its base so that it means the same anywhere.

    Args:
        model: A model with adapters.
        folder: Where to.
        base: The base's name; PEFT would note where it lies on this machine.
    """
    model.peft_config[_ADAPTER].base_model_name_or_path = base
    # Otherwise PEFT asks the hub whether the vocabulary was changed.
    model.save_pretrained(folder, save_embedding_layers=False)
    (folder / "README.md").unlink(missing_ok=True)  # an empty form; an export has its own card


def lora_layers(model: nn.Module) -> Iterator[LoraLayer]:
    """Yield the adapted layers in the model's order."""
    for module in model.modules():
        if isinstance(module, LoraLayer) and _ADAPTER in module.lora_A:
            yield module


def factors(layer: LoraLayer) -> tuple[nn.Parameter, nn.Parameter]:
    """Return A (r_max, d_in) and B (d_out, r_max) of a layer."""
    return layer.lora_A[_ADAPTER].weight, layer.lora_B[_ADAPTER].weight


def install_mask(model: nn.Module, r_max: int) -> RankMask:
    """Put all adapters of a model behind one mask, at r_max to begin with.

    Returns:
        The mask; the same one when it is already in place.
    """
    mask = RankMask(r_max)
    for layer in lora_layers(model):
        down = layer.lora_A[_ADAPTER]
        if isinstance(down, MaskedLinear):
            return down.mask
        layer.lora_A[_ADAPTER] = MaskedLinear(down, mask)
    move_mask_to_model(model)
    return mask


def move_mask_to_model(model: nn.Module) -> None:
    """Bring the mask of a model to where the model is; a forward pass would do it by itself."""
    for layer in lora_layers(model):
        down = layer.lora_A[_ADAPTER]
        if isinstance(down, MaskedLinear):
            down.mask.follow(down.weight.device, _mask_type(down.weight))


@torch.no_grad()
def singular_factors(a: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Rotate factors into the singular basis of their product, which does not change.

    With ``B A = U S V^T`` the new factors are ``A = sqrt(S) V^T`` and ``B = U sqrt(S)``, so that
    their first b rows and columns are the best rank-b approximation of the product
    (Eckart-Young). Worked out in float64 on the r x r core of two QR decompositions.

    Args:
        a: (r, d_in).
        b: (d_out, r).

    Returns:
        The new A and B, in the shapes and types of the old.
    """
    q_b, core_b = torch.linalg.qr(b.double())
    q_a, core_a = torch.linalg.qr(a.double().T)
    u, s, vh = torch.linalg.svd(core_b @ core_a.T)
    root = s.sqrt()
    new_a = root[:, None] * (vh @ q_a.T)
    new_b = (q_b @ u) * root
    return new_a.to(a.dtype), new_b.to(b.dtype)


@torch.no_grad()
def rotate(layer: LoraLayer) -> None:
    """Rotate a layer's factors into their singular basis, in place."""
    a, b = factors(layer)
    new_a, new_b = singular_factors(a, b)
    a.data.copy_(new_a)
    b.data.copy_(new_b)


@contextmanager
def merged(model: nn.Module) -> Iterator[None]:
    """Fold all adapters, as they stand, into the weights of their layers, and take them out again.

    Many forward passes at one rank, as in decoding, then cost what the base model costs. PEFT's own
    merging knows nothing of the mask. Layers whose weights are quantised stay as they are.
    """
    layers = [layer for layer in lora_layers(model) if _weight(layer).is_floating_point()]
    kept = [_weight(layer).detach().clone() for layer in layers]
    try:
        for layer in layers:
            _weight(layer).data += _product(layer)
            layer.merged_adapters.append(_ADAPTER)
        yield
    finally:
        for layer, value in zip(layers, kept, strict=True):
            _weight(layer).data.copy_(value)
            layer.merged_adapters.clear()


def _weight(layer: LoraLayer) -> nn.Parameter:
    weight: nn.Parameter = layer.get_base_layer().weight
    return weight


@torch.no_grad()
def _product(layer: LoraLayer) -> torch.Tensor:
    """Return what an adapter adds to its layer's weight, in the shape and type of that."""
    a, b = factors(layer)
    down = layer.lora_A[_ADAPTER]
    rows = down.mask.like(a)[:, None] if isinstance(down, MaskedLinear) else 1.0
    product = layer.scaling[_ADAPTER] * (b.float() @ (rows * a.float()))
    weight = _weight(layer)
    return (product.T if layer.fan_in_fan_out else product).to(weight.dtype)
