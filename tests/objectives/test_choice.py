"""The log-likelihoods of options against a sum by hand, in one pass and apart."""

import dataclasses

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from dylora_exp import metrics
from dylora_exp.config.composition import compose
from dylora_exp.core.errors import RequestError
from dylora_exp.models.loading import load
from dylora_exp.objectives.base import ObjectiveContext
from dylora_exp.objectives.choice import ChoiceObjective
from dylora_exp.objectives.torch_parts.choosing import (
    OptionSet,
    option_log_likelihoods,
    packing_keeps_scores,
)
from dylora_exp.tasks.base import read
from tests.support.choice_items import make_choice_task, make_items, write_items

TOKENS = {"vocab_size": 97, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2}
SHAPE = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
HEADS = {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8}
WIDE = {"initializer_range": 0.3, "max_position_embeddings": 128}
# Whether one row can hold the options of an item, by architecture.
MODELS = {
    "llama": (SHAPE | HEADS, True),
    "qwen2": (SHAPE | HEADS, True),
    "mistral": (SHAPE | HEADS | {"sliding_window": 64}, True),
    "gemma3_text": (SHAPE | HEADS | {"sliding_window": 64, "layer_types": None}, True),
    "gpt2": ({"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128}, True),
    "gpt_neox": (SHAPE | {"num_attention_heads": 4}, True),
    "opt": ({**SHAPE, "ffn_dim": 48, "num_attention_heads": 4, "word_embed_proj_dim": 32}, True),
    "phi3": (SHAPE | HEADS, True),
    "mamba": ({"hidden_size": 32, "num_hidden_layers": 2}, False),
    # A window that is shorter than an item.
    "mistral-window": (SHAPE | HEADS | {"sliding_window": 8}, False),
}


def make_model(name):
    settings, _ = MODELS[name]
    torch.manual_seed(0)
    config = AutoConfig.for_model(name.split("-")[0], **{**WIDE, **TOKENS, **settings})
    return AutoModelForCausalLM.from_config(config).eval()


def items(count=12):
    torch.manual_seed(3)

    def ids(size):
        return torch.randint(3, 97, (size,)).tolist()

    found = []
    for number in range(count):
        prompt = ids(3 + number)
        rests = [ids(1 + (number + option) % 5) for option in range(2 + number % 3)]
        rests[-1] = rests[0] if number % 4 == 0 else [rests[0][0], *rests[-1]]
        found.append(OptionSet([(prompt, rest) for rest in rests], f"item {number}"))
    # Prompts of their own, as WinoGrande's; and options of a token each, as BoolQ's.
    found.append(OptionSet([(ids(4), [5, 6]), (ids(6), [5, 6])], "prompts"))
    same = ids(9)
    found.append(OptionSet([(same, [7]), (same, [8]), (same, [7])], "one token"))
    return found


@torch.no_grad()
def by_hand(model, item):
    values = []
    for index in item.of_option:
        ids, start = item.sequences[index]
        logits = model(input_ids=torch.tensor([ids])).logits[0].double()
        steps = logits.log_softmax(-1)
        values.append(sum(float(steps[at - 1, ids[at]]) for at in range(start, len(ids))))
    return values


@pytest.mark.parametrize("name", MODELS)
def test_both_ways_give_the_likelihoods_of_rows_of_their_own(name):
    model, all_items = make_model(name), items()
    expected = [by_hand(model, item) for item in all_items]
    assert packing_keeps_scores(model, all_items) == MODELS[name][1]
    for packed in (False, True) if MODELS[name][1] else (False,):
        for size in (1, 5):
            found = option_log_likelihoods(model, all_items, size, packed)
            for one, other in zip(found, expected, strict=True):
                assert one == pytest.approx(other, rel=1e-5)
                best = max(range(len(one)), key=one.__getitem__)
                assert best == max(range(len(other)), key=other.__getitem__)


def test_options_of_the_same_tokens_tie_and_the_first_is_chosen():
    model, all_items = make_model("llama"), items()
    for item, values in zip(all_items, option_log_likelihoods(model, all_items, 3, True),
                            strict=True):  # fmt: skip
        for index, sequence in enumerate(item.of_option):
            assert values[index] == values[item.of_option.index(sequence)]
    assert metrics.chosen_option("accuracy", [-1.0, -1.0, -2.0], ["a", "b", "c"]) == 0


def test_the_chosen_option_by_length():
    values, options = [-6.0, -8.0, -9.0], ["éé", "abc", "ééé"]
    assert metrics.chosen_option("accuracy", values, options) == 0
    assert metrics.chosen_option("accuracy_norm", values, options) == 1  # -3, -2.67, -3
    assert metrics.chosen_option("accuracy_bytes", values, options) == 0  # -1.5, -2.67, -1.5


def objective(words, **changes):
    config = compose(words)
    config.task.__dict__.update(changes)
    backbone, tokenizer = load(config.model, None)
    setting = ObjectiveContext(config, tokenizer, 256, read(config.task))
    return ChoiceObjective(setting), backbone, setting


def test_a_training_sequence_is_prompt_right_option_and_end(tmp_path):
    words = make_choice_task(tmp_path, 5)
    found, _, setting = objective(words)
    tokenizer = setting.tokenizer
    for row, item in zip(found.train_set, make_items(5, 0), strict=True):
        prompt = f"Question: {item['question']}\nAnswer:"
        whole = f"{prompt} {item['options'][item['right']]}"
        start = len(tokenizer.encode(prompt))
        assert row["input_ids"] == [*tokenizer.encode(whole), tokenizer.eos_token_id]
        assert row["labels"] == [-100] * start + row["input_ids"][start:]
    everything, _, _ = objective(words, loss_on="all")
    assert everything.train_set["labels"][0] == everything.train_set["input_ids"][0]


def test_an_item_that_is_too_long_is_refused_with_its_line(tmp_path):
    words = make_choice_task(tmp_path, 3)
    rows = make_items(3, 1)
    rows[1]["question"] = "pub " * 300
    write_items(tmp_path / "test.jsonl", rows)
    with pytest.raises(
        RequestError, match=r"test.jsonl:2: the prompt and its longest option have "
    ):
        objective(words)


def test_scores_of_a_whole_sweep_need_no_packing(tmp_path):
    found, backbone, setting = objective(make_choice_task(tmp_path, 12))
    values = found.log_likelihoods(backbone)
    assert found.packed
    again = ChoiceObjective(dataclasses.replace(setting))
    again.packed = False
    for one, other in zip(values, again.log_likelihoods(backbone), strict=True):
        assert one == pytest.approx(other, rel=1e-5)
    scores = found._metrics(values)
    right = [item["right"] for item in make_items(12, 1)]
    best = [max(range(len(one)), key=one.__getitem__) for one in values]
    assert scores["accuracy"] == sum(a == b for a, b in zip(best, right, strict=True)) / 12
