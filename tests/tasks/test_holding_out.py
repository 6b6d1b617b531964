"""A held-out part of the training data shares no input with what is trained on."""

import pytest
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st

from dylora_exp.config.composition import compose
from dylora_exp.core.errors import RequestError
from dylora_exp.tasks.base import read
from dylora_exp.tasks.holding_out import split_off


@settings(max_examples=40, deadline=None)
@given(
    texts=st.lists(st.sampled_from("abcdefgh"), min_size=2, max_size=30).filter(
        lambda texts: len(set(texts)) > 1
    ),
    share=st.floats(0.01, 0.99),
)
def test_every_example_is_on_one_side_and_equal_inputs_on_the_same(texts, share):
    data = Dataset.from_dict({"text": [[text] for text in texts], "label": range(len(texts))})
    trained, held = split_off(data, share)
    assert sorted([*trained["label"], *held["label"]]) == list(range(len(texts)))
    one, other = ({text for (text,) in part["text"]} for part in (trained, held))
    assert one and other and not one & other
    assert abs(len(other) - share * len(set(texts))) <= 1


def test_texts_about_a_context_are_its_references():
    contexts = [f"c{number}" for number in (1, 2, 1, 3, 2)]
    data = Dataset.from_dict({"context": contexts, "text": list("abcde")})
    trained, held = split_off(data, 0.9)
    pairs = dict(zip(held["context"], held["references"], strict=True))
    known = {"c1": ["a", "c"], "c2": ["b", "e"], "c3": ["d"]}
    assert len(pairs) == 2
    assert pairs == {name: known[name] for name in pairs}
    (left,) = set(known) - set(pairs)
    assert list(trained["text"]) == known[left]


def test_equal_inputs_alone_cannot_be_held_out():
    data = Dataset.from_dict({"prompt": ["a", "a"], "completion": ["b", "c"]})
    with pytest.raises(RequestError, match=r"task\.held_out: the training examples all have"):
        split_off(data, 0.5)


@pytest.mark.parametrize("profile", ["demo", "demo-nlg", "demo-choice"])
def test_a_task_is_scored_on_what_is_held_out(profile):
    whole = read(compose([f"profile={profile}"]).task)
    limits = ["task.max_train_samples=40", "task.max_eval_samples=5"]
    part = read(compose([f"profile={profile}", "task.held_out=0.25", *limits]).task)
    name = next(each for each in ("context", "prompt", "text") if each in whole.train.column_names)
    assert set(map(str, part.eval[name])) < set(map(str, whole.train[name]))
    assert set(part.eval.column_names) == set(whole.eval.column_names)
    # The demo's generator makes no more examples than the limit says.
    assert len(part.eval) == 5 and len(part.train) in (30, 40)
    train, scored = part.sources
    assert {**train, "used": 0} == {**scored, "used": 0}


def test_another_split_would_change_nothing():
    with pytest.raises(RequestError, match=r"task\.eval_split: it would change nothing"):
        compose(["profile=demo-nlg", "task.held_out=0.1", "task.eval_split=test"])
