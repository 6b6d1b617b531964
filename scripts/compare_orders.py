"""Print what each order of the examples does to the batches of a run; nothing is trained.

Of texts: what a token of the longest tenth of the texts weighs in the loss, which is the mean over
a batch's tokens, in proportion to one of the shortest tenth. Of labels: by how much the share of a
label differs from batch to batch (standard deviation), in proportion to what drawing examples by
lot would give. Both are means over the first epochs.

python scripts/compare_orders.py profile=demo-nlg trainer.batch_size=8
"""

from __future__ import annotations

import math
import statistics
import sys
from collections.abc import Iterator, Sequence

import torch
from torch.utils.data import BatchSampler

from dylora_exp.config import Config, compose
from dylora_exp.models import load, longest_input
from dylora_exp.objectives import Objective, ObjectiveContext, make_objective
from dylora_exp.runner import quiet_libraries
from dylora_exp.tasks import read
from dylora_exp.training import RandomOrderSampler, order_sampler

EPOCHS = 5
ORDERS = ("random", "length_grouped")
Batches = Sequence[Sequence[int]]


def epochs_of(config: Config, lengths: Sequence[int], order: str) -> Iterator[Batches]:
    """Yield the indices of the examples of each batch, for the first epochs in one order."""
    trainer = config.trainer.model_copy(update={"order": order})
    sampler = order_sampler(config.model_copy(update={"trainer": trainer}), lengths)
    torch.manual_seed(config.seed)
    for epoch in range(EPOCHS):
        if isinstance(sampler, RandomOrderSampler):
            sampler.set_epoch(epoch)
        yield list(BatchSampler(sampler, trainer.batch_size, drop_last=False))


def weight_ratio(batches: Batches, terms: Sequence[int]) -> float:
    """Return the mean weight of a term of the longest tenth over that of one of the shortest.

    Args:
        batches: The indices of the examples of each batch.
        terms: How many terms each example has in the mean that is the loss of its batch.
    """
    weights = [0.0] * len(terms)
    for batch in batches:
        total = sum(terms[index] for index in batch)
        for index in batch:
            weights[index] = 1 / total
    ordered = sorted(range(len(terms)), key=terms.__getitem__)
    tenth = max(1, len(terms) // 10)

    def mean(indices: Sequence[int]) -> float:
        count = sum(terms[index] for index in indices)
        return sum(weights[index] * terms[index] for index in indices) / count

    return mean(ordered[-tenth:]) / mean(ordered[:tenth])


def spread_ratio(batches: Batches, labels: Sequence[int]) -> float:
    """Return the standard deviation of a label's share over full batches, over that of a draw.

    Args:
        batches: The indices of the examples of each batch.
        labels: Of each example; the share is that of the most frequent one.
    """
    label = statistics.mode(labels)
    size = len(batches[0])
    shares = [
        sum(labels[index] == label for index in batch) / size
        for batch in batches
        if len(batch) == size
    ]
    share = sum(found == label for found in labels) / len(labels)
    drawn = math.sqrt(share * (1 - share) / size * (len(labels) - size) / (len(labels) - 1))
    return statistics.pstdev(shares, share) / drawn


def count_terms(objective: Objective) -> list[int]:
    """Return how many terms of the loss each training example has."""
    rows = objective.train_set.to_list()
    return [int(objective.terms(objective.collate([row])["labels"])) for row in rows]


def main() -> None:
    """Print a line for each order."""
    config = compose(sys.argv[1:])
    quiet_libraries()
    model, tokenizer = load(config.model, config.task.number_of_outputs, config.hub_cache)
    data = read(config.task)
    objective = make_objective(ObjectiveContext(config, tokenizer, longest_input(model), data))
    if config.task.scored == "texts":
        measure, values = weight_ratio, count_terms(objective)
        says = "a token of the longest tenth weighs {:.2f} of one of the shortest"
    else:
        measure, values = spread_ratio, list(objective.train_set["labels"])
        says = "label shares of batches vary {:.2f} times as much as by lot"
    lengths = list(objective.train_set["length"])
    for order in ORDERS:
        found = [measure(batches, values) for batches in epochs_of(config, lengths, order)]
        print(f"{order}: " + says.format(statistics.fmean(found)))


if __name__ == "__main__":
    main()
