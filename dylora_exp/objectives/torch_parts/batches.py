"""Texts to padded batches, for training and for scoring alike."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sized
from dataclasses import dataclass
from typing import Any

import torch
from datasets import Dataset
from torch.utils.data import BatchSampler, Sampler
from transformers import PreTrainedTokenizerBase


def tokenize(data: Dataset, tokenizer: PreTrainedTokenizerBase, max_length: int) -> Dataset:
    """Turn ``text`` into token ids.

    Args:
        data: Columns ``text`` (one or two texts) and ``label``.
        tokenizer: The backbone's.
        max_length: Longest input in tokens; of a pair, the longer text is cut first.

    Returns:
        A data set of the tokenizer's columns, ``labels`` and ``length`` in tokens. An empty text is
        one end token, where the tokenizer adds none by itself.
    """
    end = tokenizer.pad_token_id if tokenizer.eos_token_id is None else tokenizer.eos_token_id
    instead = {"input_ids": [end], "attention_mask": [1]}

    def encode(rows: dict[str, list[Any]]) -> dict[str, list[Any]]:
        columns = [list(column) for column in zip(*rows["text"], strict=True)]
        # Special tokens that are written out are text.
        encoded = dict(
            tokenizer(*columns, truncation=True, max_length=max_length, split_special_tokens=True)
        )
        for row, ids in enumerate(list(encoded["input_ids"])):
            if not ids:
                for name, column in encoded.items():
                    column[row] = list(instead.get(name, [0]))
        lengths = [len(ids) for ids in encoded["input_ids"]]
        return {**encoded, "labels": rows["label"], "length": lengths}

    return data.map(encode, batched=True, remove_columns=data.column_names, keep_in_memory=True)


class Collator:
    """Pads a list of examples to the longest of them."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, regression: bool) -> None:
        self.tokenizer = tokenizer
        self.label_type = torch.float if regression else torch.long

    def __call__(self, examples: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """Return tensors of shape (examples, tokens), and labels of shape (examples,)."""
        labels = torch.tensor([row["labels"] for row in examples], dtype=self.label_type)
        inputs = [
            {key: value for key, value in row.items() if key not in ("labels", "length")}
            for row in examples
        ]
        return {**self.tokenizer.pad(inputs, return_tensors="pt"), "labels": labels}


@dataclass(frozen=True)
class ScoringBatch:
    """Some examples of a data set: their indices in it, and their padded inputs."""

    indices: list[int]
    inputs: dict[str, torch.Tensor]


def scoring_batches(data: Dataset, collator: Collator, batch_size: int) -> list[ScoringBatch]:
    """Batch a data set once for all ranks, longest examples first, so that padding is least."""
    rows = data.to_list()
    order = sorted(range(len(rows)), key=lambda index: (-rows[index]["length"], index))
    batches = []
    for start in range(0, len(order), batch_size):
        indices = order[start : start + batch_size]
        inputs = collator([rows[index] for index in indices])
        del inputs["labels"]
        batches.append(ScoringBatch(indices, inputs))
    return batches


@dataclass(frozen=True)
class Part:
    """What one process has of a batch.

    Attributes:
        rows: The indices of its examples in the batch, at least one.
        counts: Whether they count. A batch with fewer examples than there are processes gives the
            first example to those that would have none, since all have to take part in a step.
    """

    rows: range
    counts: bool


def batch_part(size: int, process: int, processes: int) -> Part:
    """Share the examples of a batch among processes, as evenly as it goes, in their order."""
    rows = range(size * process // processes, size * (process + 1) // processes)
    return Part(rows or range(1), bool(rows))


class SharedBatches(Sampler[list[int]]):
    """The batches that one process would see, and of each the part of this one.

    Args:
        sampler: Gives the order of the examples, which must be the same in every process.
        batch_size: Over all processes.
        process: The index of this process.
        processes: How many there are.
    """

    def __init__(
        self, sampler: Sampler[int], batch_size: int, process: int, processes: int
    ) -> None:
        self.sampler = sampler
        self.size = batch_size
        self.part = process, processes

    def __len__(self) -> int:
        assert isinstance(self.sampler, Sized)
        return math.ceil(len(self.sampler) / self.size)

    def __iter__(self) -> Iterator[list[int]]:
        for batch in BatchSampler(self.sampler, self.size, drop_last=False):
            yield [batch[row] for row in batch_part(len(batch), *self.part).rows]
