"""``torch.compile`` for a model at every rank: one graph for training and one for scoring.

The rank is a tensor that the graph reads (``RankMask``), and sizes are symbols, so that neither
another rank nor other lengths nor a short last batch compile anything anew. Decoding is not
compiled: it runs on merged weights, and its cache grows with every token.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from torch import nn
from torch.fx.experimental import _config as symbols

from dylora_exp.config import Config

BACKEND = "inductor"


def compile_where_asked(model: nn.Module, config: Config) -> None:
    """Compile the calls of a model, in place: names and weights stay as they are."""
    if config.trainer.compile and model._compiled_call_impl is None:
        # Otherwise sizes that happen to be equal, such as batch and r_max, would have to stay so.
        symbols.use_duck_shape = False
        model.compile(dynamic=True, backend=BACKEND)


@contextlib.contextmanager
def eager(model: nn.Module) -> Iterator[None]:
    """Call a model as it is, as long as the context lasts."""
    compiled = model._compiled_call_impl
    model._compiled_call_impl = None
    try:
        yield
    finally:
        model._compiled_call_impl = compiled


def eager_for_one(model: nn.Module, examples: int) -> contextlib.AbstractContextManager[None]:
    """Call a model as it is with a single example: a graph for any number takes two or more."""
    return eager(model) if examples == 1 else contextlib.nullcontext()
