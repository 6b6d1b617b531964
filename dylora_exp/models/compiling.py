"""``torch.compile`` for a model at every rank: one graph for training and one for scoring.

The rank is a tensor that the graph reads (``RankMask``), and sizes are symbols, so that neither
another rank nor other lengths nor a short last batch compile anything anew. Decoding is not
compiled: it runs on merged weights, and its cache grows with every token.
"""

from __future__ import annotations

import weakref
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import nn

from dylora_exp.config import Config

BACKEND = "inductor"
_compiled: weakref.WeakSet[nn.Module] = weakref.WeakSet()


def compile_where_asked(model: nn.Module, config: Config) -> None:
    """Compile the calls of a model, in place: names and weights stay as they are."""
    if config.trainer.compile and model not in _compiled:
        # Otherwise sizes that happen to be equal, such as batch and r_max, would have to stay so.
        # The setting has no public name; torch's own advice about such guards is to set it here.
        from torch.fx.experimental import _config

        _config.use_duck_shape = False
        model.compile(dynamic=True, backend=BACKEND)
        _compiled.add(model)


def eager(model: nn.Module) -> AbstractContextManager[object]:
    """Return a context in which a model is called as it is, compiled or not."""
    # Asking torch's compiler anything loads it, which takes seconds.
    return torch.compiler.set_stance("force_eager") if model in _compiled else nullcontext()


def eager_for_one(model: nn.Module, examples: int) -> AbstractContextManager[object]:
    """Return ``eager`` for a single example: a graph for any number takes two or more."""
    return eager(model) if examples == 1 else nullcontext()
