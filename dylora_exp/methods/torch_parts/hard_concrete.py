"""Hard-concrete gates (Louizos, Welling, Kingma 2018, section 2.2), as FLOP uses them.

A gate is a random number in [0, 1] that is 0 or 1 with a probability above zero, and whose
distribution can be moved by gradients: ``z = clamp(1.2 s - 0.1, 0, 1)`` with
``s = sigmoid(logit u + log_alpha)``, u uniform in [0, 1), that is at temperature beta = 1 and with
the limits (-0.1, 1.1).
"""

from __future__ import annotations

import math
from typing import Literal, TypeAlias

import torch
from torch import nn

GateValue: TypeAlias = Literal["expected", "sigmoid"]

_LOW, _HIGH = -0.1, 1.1
_ODDS = _HIGH / -_LOW  # of s at either end of the stretch: 11


class Gates(nn.Module):
    """One hard-concrete gate for each of ``count`` ranks; in evaluation they do not vary.

    Args:
        count: How many.
        drop_rate: m in ``log_alpha ~ N(log((1-m)/m), 0.01)``, close to 0 for gates that start
            open.
        value: What a gate that is kept is in evaluation: ``expected``, its mean, or ``sigmoid``,
            as in FLOP's own code.
    """

    def __init__(self, count: int, drop_rate: float, value: GateValue = "expected") -> None:
        super().__init__()
        self.value = value
        start = torch.full((count,), math.log((1 - drop_rate) / drop_rate))
        self.log_alpha = nn.Parameter(torch.normal(start, 0.01))

    def forward(self) -> torch.Tensor:
        """Return the gates, shape (count,): drawn anew in training, else as ``settled``."""
        return self.drawn() if self.training else self.settled()

    def drawn(self) -> torch.Tensor:
        """Draw the gates from torch's global generator (equations 10 and 11)."""
        logits = torch.rand_like(self.log_alpha).logit() + self.log_alpha
        return ((_HIGH - _LOW) * logits.sigmoid() + _LOW).clamp(0, 1)

    def open_probability(self, shift: float = 0.0) -> torch.Tensor:
        """Return P(z > 0) of each gate (equation 12), shape (count,), were log_alpha shifted."""
        return (self.log_alpha + (math.log(_ODDS) + shift)).sigmoid()

    @torch.no_grad()
    def expected(self) -> torch.Tensor:
        """Return E[z] of each gate, shape (count,).

        The integral of P(z > x) over x in 0..1; with a = exp(log_alpha) it is
        ``a/(a-1) - 1.2 a/(a-1)^2 log((1+11a)/(11+a))``, here in terms of h = log_alpha / 2.
        """
        h = self.log_alpha.double() / 2
        h = h.where(h.abs() > 1e-7, 1e-7)  # both terms are infinite at 0, their sum is 1/2 there
        share = (_ODDS - 1) / (_ODDS + 1)
        lost = (_HIGH - _LOW) / 2 * (share * h.tanh()).atanh() / h.sinh().square()
        return (0.5 + 0.5 / h.tanh() - lost).to(self.log_alpha.dtype)

    @torch.no_grad()
    def sigmoid(self) -> torch.Tensor:
        """Return ``sigmoid(0.8 log_alpha)`` of each gate, shape (count,).

        What FLOP's own code takes for E[z] (``hardconcrete.py``: "we use an empirically validated
        magic number 0.8"). The two differ by less than .007, and not at all at 1/2.
        """
        return (0.8 * self.log_alpha).sigmoid()

    @torch.no_grad()
    def evaluated(self) -> torch.Tensor:
        """Return what each gate is in evaluation where it is kept, shape (count,)."""
        return self.sigmoid() if self.value == "sigmoid" else self.expected()

    @torch.no_grad()
    def kept(self) -> torch.Tensor:
        """Return the indices, in order, of the largest gates, as many as are expected open."""
        count = round(self.open_probability().sum().item())
        return self.log_alpha.topk(count).indices.sort().values

    @torch.no_grad()
    def settled(self) -> torch.Tensor:
        """Return ``evaluated`` for the gates that are kept, 0 for the others, shape (count,)."""
        kept = self.kept()
        return torch.zeros_like(self.log_alpha).index_copy(0, kept, self.evaluated()[kept])
