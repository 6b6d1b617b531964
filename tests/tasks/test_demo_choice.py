"""The generated choice task: items can only be answered by reading, splits share none."""

import re
from collections import Counter

import pytest

from dylora_exp.config.composition import compose
from dylora_exp.core.errors import RequestError
from dylora_exp.tasks.base import read
from dylora_exp.tasks.demo_choice import MAX_ITEMS, QUESTIONS, choice_items


def test_splits_share_no_text_and_a_smaller_count_gives_the_first_items():
    train, evaluation = choice_items("train", 600), choice_items("eval", 300)
    assert not {item["text"] for item in train} & {item["text"] for item in evaluation}
    assert choice_items("train", 50) == train[:50]
    assert len({(item["text"], item["question"]) for item in train}) == 600


def test_no_rule_that_does_not_read_finds_the_right_option():
    items = choice_items("eval", MAX_ITEMS)
    places = Counter(item["answer"] for item in items)
    assert all(0.2 < places[place] / len(items) < 0.3 for place in range(4))
    for item in items:
        said = [bool(re.search(rf"\b{each}\b", item["text"])) for each in item["options"]]
        asked = next(
            values
            for question, values in QUESTIONS.values()
            if item["question"].startswith(question.partition("{")[0])
        )
        fits = [option in asked for option in item["options"]]
        assert len(set(item["options"])) == 4
        assert sum(said) == 3 and sum(fits) == 2  # either alone leaves several
        both = [number for number in range(4) if said[number] and fits[number]]
        assert both == [item["answer"]]


def test_the_task_reads_what_its_templates_make():
    task = compose(["profile=demo-choice"]).task.model_copy(update={"max_train_samples": 20})
    data = read(task)
    row, item = data.train[3], choice_items("train", 20)[3]
    assert row["prompts"] == [f"{item['text']} {item['question']}"]
    assert row["completions"] == [f" {option}" for option in item["options"]]
    assert row["label"] == item["answer"]
    assert [source["used"] for source in data.sources] == [20, 500]
    assert data.sources[0]["dataset"] == "demo-choice/train"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["task.max_eval_samples=3001"], "max_eval_samples: found 3001, the demo task has at most"),
        (["task.label=anwser"], "demo-choice/train: .*anwser"),
    ],
)
def test_what_the_generator_has_not_is_refused(words, sentence):
    with pytest.raises(RequestError, match=sentence):
        read(compose(["profile=demo-choice", *words]).task)
