"""The loss of held-out completions, against one text after the other in double precision."""

import contextlib
import math
from types import SimpleNamespace

import pytest
import torch
from datasets import Dataset

from dylora_exp.config.composition import compose
from dylora_exp.config.run_identity import run_id
from dylora_exp.core.errors import RequestError, TrainingDiverged
from dylora_exp.objectives.base import ObjectiveContext
from dylora_exp.objectives.likelihood import LikelihoodObjective
from dylora_exp.tasks.base import TaskData
from tests.support.small_gpt2 import small_gpt2, small_tokenizer

PAIRS = [
    ("name : The Punter | Type : pub", " The Punter is a pub."),
    ("A : is : B", " B."),
    ("name : Pub", " The pub is The Punter, a pub.\n\n It is a pub."),
    ("B", " A"),
    ("", "The Punter"),
]


def make_objective(tokenizer, *words, pairs=PAIRS, window=256):
    config = compose(["model=tiny-gpt2", "task=instructions", *words])
    rows = [
        {"prompt": prompt, "completion": completion, "where": f"file:{line}"}
        for line, (prompt, completion) in enumerate(pairs, 1)
    ]
    data = TaskData(Dataset.from_list(rows), Dataset.from_list(rows), [], [])
    return LikelihoodObjective(ObjectiveContext(config, tokenizer, window, data))


def score(objective, model):
    """Return the metrics of a model as it is."""
    method = SimpleNamespace(at_cut=lambda *_: contextlib.nullcontext())
    return objective.score(model, method, None, None).metrics


@torch.no_grad()
def reference(model, tokenizer, pairs, loss_on):
    """Return the loss of a token by the probability of each, text by text without padding."""
    total, count = 0.0, 0
    end = tokenizer.eos_token_id
    for prompt, completion in pairs:
        before = tokenizer.encode(prompt) or [end]
        ids = [*before, *tokenizer.encode(completion), end]
        logits = model(torch.tensor([ids])).logits[0].double()
        for place in range(1 if loss_on == "all" else len(before), len(ids)):
            probability = logits[place - 1].softmax(dim=-1)[ids[place]].item()
            total -= math.log(probability)
            count += 1
    return total / count


@pytest.mark.parametrize("loss_on", ["completion", "all"])
def test_the_loss_is_that_of_each_text_by_itself(loss_on):
    tokenizer = small_tokenizer()
    model = small_gpt2(tokenizer)
    expected = reference(model, tokenizer, PAIRS, loss_on)
    for size in (1, 2, 5):
        words = [f"trainer.eval_batch_size={size}", f"task.loss_on={loss_on}"]
        found = score(make_objective(tokenizer, *words), model)
        assert found["loss"] == pytest.approx(expected, rel=1e-6)
        assert found["perplexity"] == pytest.approx(math.exp(expected), rel=1e-5)
    turned = make_objective(tokenizer, f"task.loss_on={loss_on}", pairs=PAIRS[::-1])
    assert score(turned, model)["loss"] == pytest.approx(expected, rel=1e-6)


def test_smoothing_is_of_training_alone():
    tokenizer = small_tokenizer()
    model = small_gpt2(tokenizer)
    plain, smoothed = (
        score(make_objective(tokenizer, f"trainer.label_smoothing={e}"), model) for e in (0, 0.1)
    )
    assert plain == smoothed


def test_a_perplexity_too_big_for_a_number_is_undefined():
    tokenizer = small_tokenizer()
    model = small_gpt2(tokenizer)
    with torch.no_grad():
        model.lm_head.weight.mul_(1e5)
    found = score(make_objective(tokenizer), model)
    assert math.isfinite(found["loss"]) and found["perplexity"] is None


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_outputs_that_are_not_finite_are_no_scores(value):
    tokenizer = small_tokenizer()
    model = small_gpt2(tokenizer)
    with torch.no_grad():
        model.lm_head.weight[:, 0] = value
    with pytest.raises(TrainingDiverged):
        score(make_objective(tokenizer), model)


def test_what_is_cut_is_counted_and_a_text_of_which_nothing_is_left_is_named():
    tokenizer = small_tokenizer()
    whole = make_objective(tokenizer)
    longest = max(row["length"] for row in whole.rows)
    assert whole.scoring()["cut_texts"] == 0
    assert whole.scoring()["tokens"] == sum(whole.tokens)
    cut = make_objective(tokenizer, f"task.max_length={longest - 1}")
    assert cut.scoring()["cut_texts"] == 1
    assert cut.scoring()["tokens"] == sum(whole.tokens) - 1
    assert make_objective(tokenizer, window=longest - 1).scoring()["cut_texts"] == 1
    first = len(tokenizer.encode(PAIRS[0][0]))
    with pytest.raises(
        RequestError, match=r"^file:1: the prompt leaves no room .* task\.max_length"
    ):
        make_objective(tokenizer, f"task.max_length={first}")


def test_lower_is_better_and_the_task_needs_its_templates():
    config = compose(["task=instructions"])
    assert (config.task.headline, config.task.metrics) == ("loss", ["loss", "perplexity"])
    assert run_id(config) != run_id(compose(["task=instructions", "task.loss_on=all"]))
    with pytest.raises(RequestError, match=r"task\.completion: found nothing"):
        compose(["task=instructions", "task.completion=null"])
    with pytest.raises(RequestError, match=r"'accuracy' scores .*which this task has not"):
        compose(["task=instructions", "task.metrics=[loss,accuracy]"])
