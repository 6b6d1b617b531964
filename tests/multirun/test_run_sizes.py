"""How many examples there are, how long they are, and in which batches they come."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dylora_exp.config import SIZE_PERCENTILES, compose, options
from dylora_exp.core import RequestError
from dylora_exp.multirun.run_sizes import Lengths, RunSizes, batches_of, read_sizes

GLUE = ["cola", "mnli", "mrpc", "qnli", "qqp", "rte", "sst2", "stsb"]
NLG = ["e2e", "webnlg", "dart"]


@given(st.lists(st.integers(1, 500), min_size=101, max_size=400), st.floats(0, 1))
def test_lengths_are_found_again_between_their_percentiles(values, share):
    kept = Lengths.of(values)
    ordered = np.sort(values)
    # Within a hundredth of the examples on either side.
    low, high = np.clip([share - 0.02, share + 0.02], 0, 1) * (len(values) - 1)
    assert ordered[int(low)] - 1e-6 <= kept.at(share) <= ordered[int(np.ceil(high))] + 1e-6


def test_the_longest_of_a_batch_is_that_of_random_batches():
    kept = Lengths((5, 9, 12, 20, 31, 50, 64, 90, 140))
    drawn = np.random.default_rng(0).random((20_000, 16))
    expected = np.interp(drawn, np.array(SIZE_PERCENTILES) / 100, kept.values).max(axis=1).mean()
    assert kept.longest_of(16) == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize(
    ("order", "padded"), [("random", (1.2, 1.9)), ("length_grouped", (1.0, 1.1))]
)
def test_batches_are_padded_as_the_order_pads_them(order, padded):
    config = compose(["profile=mini", "task=mrpc", f"trainer.order={order}"])
    sizes = read_sizes(config)
    batches = batches_of(config, sizes)
    least = sum(sizes.train_lengths.spread(sizes.train))
    assert padded[0] <= sum(batches.trained) / least <= padded[1]
    assert len(batches.trained) == -(-sizes.train // 32)
    assert len(batches.scored) == -(-sizes.scored // 64)
    assert sum(batches.scored) <= 1.1 * sum(sizes.eval_lengths.spread(sizes.scored))


def test_the_limits_of_a_task_hold():
    config = compose(
        [
            *("profile=paper-nlg", "task.max_length=40", "task.max_train_samples=100"),
            *("task.max_eval_samples=50", "task.decode.max_new_tokens=20"),
        ]
    )
    sizes = read_sizes(config)
    assert (sizes.train, sizes.scored) == (100, 50)
    assert max(sizes.train_lengths.values) == 40
    assert sizes.new_lengths is not None and max(sizes.new_lengths.values) == 20


def test_generated_data_are_read_with_the_models_tokenizer():
    sizes = read_sizes(compose(["task.max_train_samples=300", "task.max_eval_samples=20"]))
    assert (sizes.train, sizes.scored, sizes.source) == (300, 20, "the data")
    assert 5 < sizes.train_lengths.at(0.5) < 60


@pytest.mark.parametrize("task", [*GLUE, *NLG])
def test_the_tasks_of_the_paper_say_how_long_they_are(task):
    profile = "paper-nlg" if task in NLG else "paper"
    sizes = read_sizes(compose([f"profile={profile}", f"task={task}"]))
    assert sizes.source == "task.typical"
    assert 5 < sizes.train_lengths.at(0.5) < 100
    assert (sizes.new_lengths is None) == (task in GLUE)


def test_a_task_without_sizes_and_data_is_unknown_and_a_wrong_folder_is_said():
    assert "instructions" in options("task")
    with pytest.raises(RequestError, match=r"task.typical: task 'hellaswag' has none"):
        read_sizes(compose(["profile=smollm", "task=hellaswag", "task.hub.path=Rowan/hellaswag"]))
    found = read_sizes(compose(["profile=paper", "task.data_dir=gone"]))
    assert isinstance(found, RunSizes)
    assert found.source == "task.typical (not the data: task.data_dir: there is no folder 'gone'.)"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("task.typical.train_tokens=[1,2]", "found 2 numbers, expected 9"),
        ("task.typical.eval_tokens=[9,8,7,6,5,4,3,2,1]", "expected them in ascending order"),
    ],
)
def test_wrong_sizes_are_refused(change, expected):
    with pytest.raises(RequestError, match=expected):
        compose(["task=mrpc", change])
