"""Encoded data are kept for the next run of a process, and only where nothing differs."""

import random
import types

import numpy as np
import pytest
import torch
from datasets import Dataset

from dylora_exp.config.composition import compose
from dylora_exp.objectives import encoded_data
from dylora_exp.objectives.base import ObjectiveContext
from dylora_exp.objectives.encoded_data import encode_once
from dylora_exp.objectives.generation import IGNORED, GenerationObjective
from dylora_exp.tasks.base import TaskData
from tests.support.small_gpt2 import END, small_tokenizer

ROWS = [
    {"context": "name : The Punter", "text": "The Punter is a pub."},
    {"context": f"A : is : {END}", "text": f"{END}B is  C.\n"},
    {"context": "", "text": ""},
    {"context": "Café : é", "text": " begins with a space"},
]


@pytest.fixture(autouse=True)
def nothing_kept():
    encoded_data._KEPT.clear()


class Encoder:
    """Counts how often it is asked."""

    def __init__(self):
        self.calls = 0

    def __call__(self, data):
        self.calls += 1
        return data.map(lambda row: {"length": len(row["text"])})


def test_the_same_is_encoded_once():
    encode = Encoder()
    for _ in range(3):  # each run reads its data and loads its tokenizer anew
        found = encode_once(encode, Dataset.from_list(ROWS), small_tokenizer(), ["task", 8])
        assert found["length"] == [20, len(ROWS[1]["text"]), 0, 20]
        found.set_format("torch")  # which is not seen by the next
    assert encode.calls == 1


def with_another_token():
    tokenizer = small_tokenizer()
    tokenizer.add_tokens(["Punter"])
    return tokenizer


def with_another_side():
    tokenizer = small_tokenizer()
    tokenizer.padding_side = "left"
    return tokenizer


@pytest.mark.parametrize(
    "other",
    [
        (ROWS[::-1], small_tokenizer(), ["task", 8]),
        (ROWS[:3], small_tokenizer(), ["task", 8]),
        ([{"text": row["text"], "prompt": row["context"]} for row in ROWS], small_tokenizer(), []),
        (ROWS, with_another_token(), ["task", 8]),
        (ROWS, with_another_side(), ["task", 8]),
        (ROWS, small_tokenizer(), ["task", 9]),
        (ROWS, small_tokenizer(), ["task", "8"]),
    ],
)
def test_anything_else_is_encoded_anew(other):
    encode = Encoder()
    encode_once(encode, Dataset.from_list(ROWS), small_tokenizer(), ["task", 8])
    rows, tokenizer, settings = other
    encode_once(encode, Dataset.from_list(rows), tokenizer, settings)
    assert encode.calls == 2


def test_a_tokenizer_that_cannot_say_what_it_is_and_old_data_are_not_kept():
    encode, unknown = Encoder(), types.SimpleNamespace()
    for _ in range(2):
        encode_once(encode, Dataset.from_list(ROWS), unknown, [])
    assert encode.calls == 2 and not encoded_data._KEPT
    for number in range(9):
        encode_once(encode, Dataset.from_list(ROWS), small_tokenizer(), number)
    assert len(encoded_data._KEPT) == encoded_data._MOST
    encode_once(encode, Dataset.from_list(ROWS), small_tokenizer(), 8)
    assert encode.calls == 11


def objective(*words):
    scored = [
        {"context": "A", "references": ["B"], "category": "", "seen": True, "where": "file:2"}
    ]
    data = TaskData(Dataset.from_list(ROWS), Dataset.from_list(scored), [], [])
    config = compose(["model=tiny-gpt2", "task=e2e", *words])
    return GenerationObjective(ObjectiveContext(config, small_tokenizer(), 128, data))


def test_runs_that_differ_in_seed_and_method_share_what_they_encode(monkeypatch):
    first = objective("seed=1")
    monkeypatch.setattr(GenerationObjective, "encode", lambda *_: pytest.fail("encoded again"))
    second = objective("seed=2", "method=lora", "ranks.r_max=4")
    assert second.train_set.to_list() == first.train_set.to_list()
    monkeypatch.undo()
    assert objective("task.max_length=12").train_set.to_list() != first.train_set.to_list()


def random_states():
    return random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()


def test_encoding_draws_nothing_so_that_kept_data_leave_the_run_as_it_is():
    before = random_states()
    objective()
    assert random_states() == before


def test_texts_together_are_encoded_as_one_at_a_time():
    found, tokenizer = objective(), small_tokenizer()
    end = [tokenizer.eos_token_id]

    def alone(text):
        return tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True)

    for row, example in zip(found.train_set, ROWS, strict=True):
        prompt = alone(example["context"]) + end
        text = alone(f" {example['text']}") + end
        assert row["input_ids"] == (prompt + text)[:128]
        assert row["labels"] == ([IGNORED] * len(prompt) + text)[:128]
        assert row["length"] == len(row["input_ids"])
