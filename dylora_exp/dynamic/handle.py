"""A stock PeftModel whose LoRA is trained at a rank drawn anew for each optimizer step."""

from __future__ import annotations

import math
import warnings
import weakref
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.optimizer import (
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)

from dylora_exp import adapters
from dylora_exp.config import Ranks, Scale
from dylora_exp.core import RequestError
from dylora_exp.dynamic.adapter import Adapter, check_scale, find_adapter, rslora_advice

_FORGOTTEN = (
    "no rank was drawn since the last optimizer step, so that the adapter would be trained at one "
    "rank only: give a Trainer callbacks=[DynamicRanks(handle)], or call handle.step() before the "
    "first forward pass of each step of a loop. (To evaluate, call model.eval(); handle.remove() "
    "makes the adapter a plain LoRA again.)"
)
_WITHIN_A_STEP = (
    "handle.step() was called again though no optimizer has made a step since: the micro-batches "
    "of one step should have one rank. Call it once a step, or as handle.step(t) with the number t "
    "of the step. (Optimizers that are not torch's are not noticed.)"
)
# Their models hold them; a model is dynamic once.
_HANDLES: weakref.WeakSet[DynamicLoRA] = weakref.WeakSet()


def make_dynamic(
    peft_model: nn.Module,
    ranks: str | Ranks = "uniform",
    scale: Scale = "alpha/b",
    seed: int = 0,
) -> DynamicLoRA:
    """Make the LoRA of a stock PeftModel dynamic, in place, and return its handle.

    Every optimizer step is then trained at one rank b, drawn from a distribution (DyLoRA,
    Algorithm 1): only the first b rows of A and columns of B compute and move. The parameters stay
    PEFT's own, under their own names, so that optimizers, checkpoints and saving do not change::

        model = get_peft_model(base, LoraConfig(r=8, lora_alpha=16))
        handle = make_dynamic(model, ranks="uniform", seed=0)
        Trainer(model, ..., callbacks=[DynamicRanks(handle)]).train()

    Between the steps the model is at full rank; ``set_rank`` and ``at_rank`` choose another.

    Args:
        peft_model: A PeftModel with one active LoRA adapter on linear layers, of one rank r.
        ranks: The distribution that ranks 1..r are drawn from, by its name or as ``Ranks``.
        scale: Of the truncated product: ``alpha/b`` (the paper's Eq. 7), ``alpha/r``, or
            ``alpha/sqrt(b)``, which makes the adapter an rsLoRA (``use_rslora``): between the
            steps, and where PEFT loads what was saved, it has that of rank r.
        seed: Decides the ranks; the rank of step t depends on nothing but (seed, t).

    Raises:
        RequestError: When the model's adapter has no ranks to choose, or has a handle already, or
            an argument is wrong. The model is unchanged then.
    """
    adapter = find_adapter(peft_model)
    if adapter.config.use_rslora and scale == "alpha/b":
        raise RequestError(
            "model: rsLoRA (use_rslora) has the factor alpha/sqrt(r), which alpha/b is not for a "
            f"drawn rank; make the adapter with {rslora_advice(adapter.config, adapter.r)}, or "
            "give scale='alpha/sqrt(b)'."
        )
    if find_handle(adapter) is not None:
        raise RequestError("model: it is dynamic already; call remove() of its handle first.")
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise RequestError(f"seed: found {seed!r}, expected a whole number of at least 0.")
    ranks, scale = _checked_ranks(ranks, adapter.r), check_scale(scale, adapter.config)
    if scale == "alpha/sqrt(b)" and not adapter.config.use_rslora:
        adapter.use_rslora()
    return DynamicLoRA(adapter, ranks, scale, seed)


def find_handle(adapter: Adapter) -> DynamicLoRA | None:
    """Return the handle of an adapter, None where it has none."""
    mask = adapter.mask
    return next((handle for handle in _HANDLES if handle.mask is mask), None) if mask else None


class DynamicLoRA:
    """The handle of a dynamic adapter: draws the rank of each step. Made by ``make_dynamic``.

    In a loop of one's own, ``step`` comes before the first forward pass of each optimizer step::

        for batch in batches:
            handle.step()
            model(**batch).loss.backward()
            optimizer.step()
            optimizer.zero_grad()

    Attributes:
        model: The PeftModel.
        ranks: The distribution and r_max.
        scale: Of the truncated product.
        seed: Of the draws.
        mask: At which rank the adapter is.
    """

    def __init__(self, adapter: Adapter, ranks: Ranks, scale: Scale, seed: int) -> None:
        self.model, self.ranks, self.scale, self.seed = adapter.model, ranks, scale, seed
        self.mask: adapters.RankMask = adapter.install_mask()
        self._adapter = adapter
        self._next_step = 0
        # Whether a pass was made at the rank that was drawn; None as long as there is none.
        self._used: bool | None = None
        # The optimizers of the adapter that have made a step since the last draw.
        self._stepped: weakref.WeakSet[Optimizer] = weakref.WeakSet()
        me = weakref.ref(self)

        def before(optimizer: Optimizer, *_: Any) -> None:
            if (handle := me()) and optimizer in handle._stepped:
                raise RuntimeError(_FORGOTTEN)

        def after(optimizer: Optimizer, *_: Any) -> None:
            if (handle := me()) and handle._is_trained_by(optimizer):
                handle._stepped.add(optimizer)
                handle._used = None
                handle.select_full_rank()

        hooks = [
            register_optimizer_step_pre_hook(before),
            register_optimizer_step_post_hook(after),
            self.model.register_forward_pre_hook(_ForwardCheck(self)),
        ]
        self._remove_hooks = weakref.finalize(self, _remove, hooks)
        self._remove_hooks.atexit = False
        self.select_full_rank()
        _HANDLES.add(self)

    @property
    def rank(self) -> int:
        """The rank at which the adapter computes now."""
        return max(self.mask.ranks)

    def step(self, t: int | None = None) -> int:
        """Draw the rank of an optimizer step, set the adapter to it and return it.

        Called once for each optimizer step, however many micro-batches are accumulated.

        Args:
            t: The 0-based step, for instance where training resumes; by default the one after the
                last, beginning with 0.

        Raises:
            RequestError: When ``t`` is no such number, or the adapter is merged, disabled or not
                dynamic any more.
        """
        if t is None:
            t = self._next_step
            if self._used:
                warnings.warn(_WITHIN_A_STEP, stacklevel=2)
        elif isinstance(t, bool) or not isinstance(t, int) or t < 0:
            raise RequestError(f"t: found {t!r}, expected the 0-based number of a step.")
        self._check_usable()
        rank = self.ranks.rank_of_step(self.seed, t)
        self._select(rank)
        self._next_step = t + 1
        self._stepped.clear()
        self._used = False
        return rank

    def finish(self) -> None:
        """End a training: return to full rank, with which any pass may be made from now on."""
        self.select_full_rank()
        self._stepped.clear()
        self._used = None

    def select_full_rank(self) -> None:
        """Set the adapter to full rank, at which it is evaluated and saved between the steps."""
        self._select(self.ranks.r_max)

    def state_dict(self) -> dict[str, Any]:
        """Return what a loop of one's own saves beside its model, to resume with the same ranks."""
        return {"next_step": self._next_step, **self._settings()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Resume where ``state_dict`` was called.

        Raises:
            RequestError: When the state is of other settings, under which other ranks are drawn.
        """
        settings = self._settings()
        for name, value in settings.items():
            if name not in state or state[name] != value:
                found = repr(state[name]) if name in state else "nothing"
                raise RequestError(f"state: its {name} is {found}, that of the handle {value!r}.")
        step = state.get("next_step")
        if isinstance(step, bool) or not isinstance(step, int) or step < 0:
            raise RequestError(f"state: its next_step is {step!r}, expected a number of steps.")
        self._next_step = step

    def remove(self) -> None:
        """Make the adapter a stock PEFT LoRA of rank r_max again; its parameters stay."""
        self._remove_hooks()
        self._adapter.remove_mask()
        _HANDLES.discard(self)

    def _settings(self) -> dict[str, Any]:
        weights = list(self.ranks.weights)
        return {"seed": self.seed, "scale": self.scale, "weights": weights}

    def _check_usable(self) -> None:
        if not self._remove_hooks.alive:
            raise RequestError("handle: it was removed; call make_dynamic again.")
        for layer in self._adapter.layers:
            if layer.merged or layer.disable_adapters:
                find_adapter(self.model)  # says what is the matter

    def _is_trained_by(self, optimizer: Optimizer) -> bool:
        name = self._adapter.name
        own = {id(f) for layer in self._adapter.layers for f in adapters.factors(layer, name)}
        return any(id(p) in own for group in optimizer.param_groups for p in group["params"])

    def _select(self, rank: int) -> None:
        self.mask.select(rank, self.scale)
        self._selected = self.mask.tensor

    def _check_drawn(self) -> None:
        # A rank that was chosen by hand (set_rank, at_rank) is for use, in whatever mode.
        by_hand = self.mask.tensor is not self._selected
        if self.model.training and torch.is_grad_enabled() and not by_hand:
            if self._stepped:
                raise RuntimeError(_FORGOTTEN)
            if self._used is not None:
                self._used = True


class _ForwardCheck:
    """Refuses a forward pass of training at a rank that was not drawn; keeps the handle alive.

    A copy of the model, by ``deepcopy`` or pickle, is not trained by the handle: its check is idle.
    """

    def __init__(self, handle: DynamicLoRA | None = None) -> None:
        self.handle = handle

    def __call__(self, *_: Any) -> None:
        # A compiled pass is left to the check of the optimizer.
        if self.handle is not None and not torch.compiler.is_compiling():
            self.handle._check_drawn()

    def __reduce__(self) -> tuple[type[_ForwardCheck], tuple[()]]:
        return _ForwardCheck, ()


def _remove(hooks: list[Any]) -> None:
    for hook in hooks:
        hook.remove()


def _checked_ranks(ranks: Any, r: int) -> Ranks:
    if isinstance(ranks, str):
        return Ranks.of(r, ranks)
    if not isinstance(ranks, Ranks):
        raise RequestError(
            f"ranks: found {ranks!r}, expected the name of a distribution or Ranks, such as "
            f"Ranks.of({r}, 'geometric')."
        )
    if ranks.r_max != r:
        raise RequestError(f"ranks: their r_max is {ranks.r_max}, the adapter's r is {r}.")
    whole = len(ranks.weights) == r and math.isclose(math.fsum(ranks.weights), 1, abs_tol=1e-6)
    if not whole or min(ranks.weights) < 0:
        raise RequestError(
            f"ranks: their weights are no probabilities of ranks 1..{r}; Ranks.of checks them."
        )
    if ranks.sandwich:
        raise RequestError(
            "ranks: sandwich needs a rank for each example, which a Trainer of one's own does not "
            "draw; use ranks without it."
        )
    return ranks
