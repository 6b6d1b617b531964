"""Print what the optimizer does to the factors A and B beside what the gradients ask for.

How much of A's movement falls on rows that the rank of a step leaves out (AdamW's momentum and
weight decay go on there where ``method.freeze`` is ``released``), and how far AdamW of transformers
4.4, which the released code used, is from torch's after the same steps.

python scripts/compare_updates.py profile=demo
"""

from __future__ import annotations

import itertools
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.data import BatchSampler
from transformers import get_linear_schedule_with_warmup

from dylora_exp.adapters import factors, lora_layers
from dylora_exp.config import Config, compose
from dylora_exp.methods import Batch, make_method
from dylora_exp.models import load, longest_input
from dylora_exp.objectives import ObjectiveContext, make_objective
from dylora_exp.runner import quiet_libraries
from dylora_exp.tasks import read
from dylora_exp.training import order_sampler

STEPS = 60


class TransformersAdamW(torch.optim.Optimizer):
    """AdamW as transformers 4.4 has it: eps before the bias correction, decay after the step.

    ``m = b1 m + (1 - b1) g``, ``v = b2 v + (1 - b2) g^2``,
    ``p = p - lr sqrt(1 - b2^t) / (1 - b1^t) m / (sqrt(v) + eps)``, ``p = p - lr decay p``. Torch's
    has ``p = p - lr decay p`` first, and eps beside ``sqrt(v / (1 - b2^t))``.
    """

    def __init__(self, groups: Any, betas: tuple[float, float], eps: float) -> None:
        super().__init__(groups, {"lr": 1.0, "weight_decay": 0.0, "betas": betas, "eps": eps})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        """Take a step."""
        for group in self.param_groups:
            (beta1, beta2), rate = group["betas"], group["lr"]
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if not state:
                    state |= {"t": 0, "m": torch.zeros_like(parameter)}
                    state["v"] = torch.zeros_like(parameter)
                state["t"] += 1
                state["m"].lerp_(parameter.grad, 1 - beta1)
                state["v"].mul_(beta2).addcmul_(parameter.grad, parameter.grad, value=1 - beta2)
                size = rate * math.sqrt(1 - beta2 ** state["t"]) / (1 - beta1 ** state["t"])
                parameter.addcdiv_(state["m"], state["v"].sqrt() + group["eps"], value=-size)
                parameter.mul_(1 - rate * group["weight_decay"])


@dataclass(frozen=True)
class Trained:
    """The factors after some steps.

    Attributes:
        factors: A and B of every layer, flat.
        idle_share: The part of the movement of all A's rows that fell on rows which took no part in
            the step, as sums of norms over rows, layers and steps.
    """

    factors: torch.Tensor
    idle_share: float


def batches(config: Config, lengths: Sequence[int]) -> Iterator[list[int]]:
    """Yield the indices of the examples of one batch after another."""
    torch.manual_seed(config.seed)
    sampler = order_sampler(config, lengths)
    for _ in itertools.count():
        yield from BatchSampler(sampler, config.trainer.batch_size, drop_last=False)


def train(config: Config, make_optimizer: Callable[..., torch.optim.Optimizer]) -> Trained:
    """Take the first steps of a run with an optimizer."""
    torch.manual_seed(config.seed)
    backbone, tokenizer = load(config.model, config.task.number_of_outputs, config.hub_cache)
    data = ObjectiveContext(config, tokenizer, longest_input(backbone), read(config.task))
    objective, method, options = make_objective(data), make_method(config), config.trainer
    model = method.attach(backbone).train()
    callbacks = method.callbacks(model)
    trained = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    spared = [p for n, p in trained if n.endswith("bias") or "LayerNorm" in n]
    decayed = [p for n, p in trained if not any(p is each for each in spared)]
    groups = [
        {"params": decayed, "lr": options.learning_rate, "weight_decay": options.weight_decay},
        {"params": spared, "lr": options.learning_rate, "weight_decay": 0.0},
    ]
    betas = options.adam_beta1, options.adam_beta2
    optimizer = make_optimizer(
        method.optimizer_groups(groups), betas=betas, eps=options.adam_epsilon
    )
    steps = options.max_steps or STEPS
    schedule = get_linear_schedule_with_warmup(
        optimizer, options.warmup_steps or round(options.warmup_ratio * steps), steps
    )
    layers = [factors(layer) for layer in lora_layers(model)]
    idle = total = 0.0
    order = batches(config, list(objective.train_set["length"]))
    for step, indices in enumerate(itertools.islice(order, STEPS)):
        before = [a.detach().clone() for a, _ in layers]
        inputs = objective.collate([objective.train_set[index] for index in indices])
        for _ in method.forward_passes(Batch(step, 0, 0, len(indices))):
            method.loss(model, inputs, objective.loss).backward()
        if options.max_grad_norm:
            torch.nn.utils.clip_grad_norm_([p for _, p in trained], options.max_grad_norm)
        for callback in callbacks:
            callback.on_pre_optimizer_step(None, None, None)
        optimizer.step()
        schedule.step()
        model.zero_grad()
        assert method.mask is not None
        (rank,) = method.mask.ranks
        first = rank - 1 if getattr(method.settings, "update", "") == "row" else 0
        for old, (a, _) in zip(before, layers, strict=True):
            moved = (a.detach() - old).norm(dim=1)
            total += moved.sum().item()
            idle += (moved.sum() - moved[first:rank].sum()).item()
    return Trained(torch.cat([f.detach().flatten() for pair in layers for f in pair]), idle / total)


def main() -> None:
    """Print a line for each kind of update, and the distance of the two optimizers."""
    quiet_libraries()
    for method, says in (("dylora", "1..b"), ("dylora-frozen", "b")):
        ours = train(compose([*sys.argv[1:], f"method={method}"]), torch.optim.AdamW)
        print(f"{method}: {ours.idle_share:.0%} of A's movement is of rows other than {says}")
    theirs = train(compose([*sys.argv[1:], f"method={method}"]), TransformersAdamW)
    distance = ((theirs.factors - ours.factors).norm() / ours.factors.norm()).item()
    print(f"{method}: AdamW of transformers 4.4 is {distance:.1%} from torch's in A and B")


if __name__ == "__main__":
    main()
