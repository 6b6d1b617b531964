"""A PEFT LoRA used at a chosen rank: dynamic ones, and stock ones of any origin."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TypeVar

from peft import PeftModel
from torch import nn

from dylora_exp import adapters
from dylora_exp.config import Scale, Truncation, powers_of_two
from dylora_exp.core import RequestError
from dylora_exp.dynamic.adapter import (
    Adapter,
    check_rank,
    check_scale,
    check_truncation,
    find_adapter,
)
from dylora_exp.dynamic.handle import find_handle

Value = TypeVar("Value")


def set_rank(model: nn.Module, rank: int, scale: Scale | None = None) -> None:
    """Set the LoRA of a PeftModel to its first ``rank`` rows and columns, until told otherwise.

    ``set_rank(model, r)`` returns to full rank. A dynamic adapter that is trained draws another
    rank at its next step. ``model.merge_adapter()`` and ``merge_and_unload()`` merge this rank::

        set_rank(model, 2)
        model.generate(**inputs)

    Args:
        model: A PeftModel with one active LoRA adapter on linear layers, of one rank r.
        rank: 1..r.
        scale: ``alpha/b``, ``alpha/r`` or ``alpha/sqrt(b)``; by default that of ``make_dynamic``,
            or ``alpha/b``, its default, where the model is stock (``alpha/r`` for rsLoRA).

    Raises:
        RequestError: When the model's adapter has no ranks to choose, or an argument is wrong.
    """
    adapter = find_adapter(model)
    rank, scale = check_rank(rank, adapter.r), scale_of(adapter, scale, "leading")
    adapter.install_mask().select(rank, scale)


@contextmanager
def at_rank(
    model: nn.Module,
    rank: int,
    truncation: Truncation = "leading",
    scale: Scale | None = None,
) -> Iterator[None]:
    """Show the LoRA of a PeftModel at a rank, and restore rank and parameters exactly afterwards.

    A stock adapter is stock again::

        with at_rank(model, 2, truncation="svd"):
            trainer.evaluate()

    Args:
        model: A PeftModel with one active LoRA adapter on linear layers, of one rank r.
        rank: 1..r.
        truncation: ``leading`` rows and columns, or ``svd``, the best approximation of B A by this
            rank, layer by layer.
        scale: By default as in ``set_rank`` for ``leading``, and ``alpha/r`` for ``svd``, with
            which it is the best approximation of what full rank computes.

    Raises:
        RequestError: When the model's adapter has no ranks to choose, or an argument is wrong.
    """
    adapter = find_adapter(model)
    rank, truncation = check_rank(rank, adapter.r), check_truncation(truncation)
    scale = scale_of(adapter, scale, truncation)
    with ExitStack() as stack:
        if adapter.mask is None:
            stack.callback(adapter.remove_mask)
        mask = adapter.install_mask()
        stack.enter_context(mask.kept())
        if truncation == "svd":
            stack.enter_context(adapters.rotated(adapter.model, adapter.name))
        mask.select(rank, scale)
        yield


def rank_curve(
    model: nn.Module,
    evaluate: Callable[[PeftModel], Value],
    ranks: Iterable[int] | None = None,
    truncation: Truncation = "leading",
    scale: Scale | None = None,
) -> dict[int, Value]:
    """Return what a function of the model returns at each rank, by rank.

    The model is in evaluation mode meanwhile::

        rank_curve(model, lambda model: trainer.evaluate()["eval_loss"])  # {1: 2.31, 2: 2.27, ...}

    Args:
        model: A PeftModel with one active LoRA adapter on linear layers, of one rank r.
        evaluate: Called with the model; what it returns, a number or a dict, is kept.
        ranks: Default the powers of two below r, and r.
        truncation: As in ``at_rank``.
        scale: As in ``at_rank``.

    Raises:
        RequestError: When the model's adapter has no ranks to choose, or an argument is wrong.
    """
    adapter = find_adapter(model)
    r = adapter.r
    if ranks is None:
        ranks = powers_of_two(r)
    if not isinstance(ranks, Iterable):
        raise RequestError(f"ranks: found {ranks!r}, expected several, such as [1, {r}].")
    chosen = list(dict.fromkeys(check_rank(rank, r) for rank in ranks))
    if not chosen:
        raise RequestError("ranks: found none, expected at least one rank.")
    modes = [(module, module.training) for module in adapter.model.modules()]
    values = {}
    try:
        for rank in chosen:
            with at_rank(adapter.model, rank, truncation, scale):
                values[rank] = evaluate(adapter.model.eval())
    finally:
        for module, training in modes:
            module.training = training
    return values


def scale_of(adapter: Adapter, scale: Scale | None, truncation: Truncation) -> Scale:
    """Return the scale that is asked for, or the one that goes with adapter and truncation.

    Raises:
        RequestError: When it is unknown, or not defined for the adapter.
    """
    if scale is not None:
        return check_scale(scale, adapter.config)
    if truncation == "svd":
        return "alpha/r"
    if handle := find_handle(adapter):
        return handle.scale
    return "alpha/r" if adapter.config.use_rslora else "alpha/b"
