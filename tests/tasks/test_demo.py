from collections import Counter

import pytest

from dylora_exp.config.composition import compose
from dylora_exp.core.errors import RequestError
from dylora_exp.tasks.base import read
from dylora_exp.tasks.demo_text import examples, pretraining_text


def test_examples_are_fixed_balanced_and_disjoint():
    train, evaluation = examples("train", 2000), examples("eval", 1000)
    assert train == examples("train", 2000)
    assert examples("train", 500) == train[:500]
    assert not {text for text, _ in train} & {text for text, _ in evaluation}
    for split in (train, evaluation):
        counts = Counter(label for _, label in split)
        assert abs(counts[0] - counts[1]) <= 1


def test_pretraining_text_depends_on_its_seed():
    assert pretraining_text(20, 0) == pretraining_text(20, 0) != pretraining_text(20, 1)


def test_the_task_generates_what_the_config_says():
    data = read(compose(["task.max_train_samples=30", "task.max_eval_samples=20"]).task)
    assert (len(data.train), len(data.eval)) == (30, 20)
    assert [source["rows"] for source in data.sources] == [30, 20]


def test_more_than_there_is_is_refused():
    with pytest.raises(RequestError) as error:
        read(compose(["task.max_train_samples=10001", "task.max_eval_samples=20000"]).task)
    assert len(error.value.problems) == 2
