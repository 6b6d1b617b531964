"""The order of the examples: what decides it, what it does to the loss, what training sees."""

import random
import runpy
import statistics
from collections import Counter

import pytest
import torch
from torch.utils.data import BatchSampler

from dylora_exp.config.composition import compose
from dylora_exp.config.run_identity import identity, recompute_run_id, run_id
from dylora_exp.core.drawing import draw_permutation
from dylora_exp.core.errors import RequestError
from dylora_exp.methods.base import make_method
from dylora_exp.models.loading import load
from dylora_exp.objectives.base import ObjectiveContext, make_objective
from dylora_exp.tasks.base import read
from dylora_exp.training.example_order import RandomOrderSampler, order_sampler
from dylora_exp.training.trainer import train
from tests.support.tiny_runs import ROOT

COMPARE = runpy.run_path(str(ROOT / "scripts" / "compare_orders.py"))


def sampler(lengths, *words):
    return order_sampler(compose(list(words)), lengths)


def epoch(number, count=50, *words):
    found = sampler([1] * count, "trainer.order=random", *words)
    found.set_epoch(number)
    return list(found)


def batches_of(lengths, size, order):
    found = sampler(lengths, f"trainer.order={order}", f"trainer.batch_size={size}")
    return list(BatchSampler(found, size, drop_last=False))


def test_the_default_is_that_of_the_records_made_before_and_names_no_other_run():
    assert compose([]).trainer.order == "length_grouped"
    for profile in ("demo", "demo-nlg", "mini", "mini-nlg"):
        config = compose([f"profile={profile}"])
        assert config.trainer.order == "length_grouped"
        older = identity(config)
        del older["trainer"]["order"]
        assert recompute_run_id(older) == run_id(config)
        assert run_id(compose([f"profile={profile}", "trainer.order=random"])) != run_id(config)


@pytest.mark.parametrize("profile", ["paper", "paper-nlg"])
def test_the_paper_is_reproduced_in_a_random_order(profile):
    assert compose([f"profile={profile}"]).trainer.order == "random"


def test_other_orders_are_refused():
    with pytest.raises(RequestError, match=r"trainer\.order: 'sorted' is not one of length_gr"):
        compose(["trainer.order=sorted"])


def test_seed_and_epoch_alone_decide_a_random_order():
    first = epoch(0)
    assert sorted(first) == list(range(50))
    torch.manual_seed(1)
    state = torch.get_rng_state()
    words = ["trainer.batch_size=3", "trainer.accumulation_steps=2", "method=lora", "ranks.r_max=4"]
    assert epoch(0, 50, *words) == first
    assert torch.equal(torch.get_rng_state(), state)
    long_first = sampler(list(range(50, 0, -1)), "trainer.order=random")
    assert list(long_first) == list(long_first) == first
    # No seed's epoch is another's, as where the two are added.
    orders = [
        tuple(epoch(number, 50, f"seed={seed}")) for seed in (10, 11, 110) for number in (0, 1)
    ]
    assert len(set(orders)) == 6


def test_a_permutation_is_what_it_was():
    """A run that goes on with another version must see the examples that it would have seen."""
    assert draw_permutation(10, 10, "order", 0) == [1, 0, 5, 3, 2, 9, 7, 4, 6, 8]


def test_every_order_of_a_few_examples_is_as_likely():
    count = 12_000
    found = Counter(tuple(draw_permutation(4, seed, "order", 0)) for seed in range(count))
    assert len(found) == 24
    # Chi-square with 23 degrees of freedom: 49.7 in one of a thousand.
    assert sum((n - count / 24) ** 2 / (count / 24) for n in found.values()) < 49.7


@pytest.mark.parametrize("order", ["random", "length_grouped"])
def test_the_last_batch_has_what_is_left(order):
    batches = batches_of([5] * 21, 8, order)
    assert [len(batch) for batch in batches] == [8, 8, 5]
    assert sorted(index for batch in batches for index in batch) == list(range(21))


def test_a_token_of_a_long_text_weighs_much_less_in_groups_and_about_the_same_by_lot():
    """The loss is the mean over a batch's tokens: a token weighs 1 / (tokens of its batch).

    In groups a batch of b texts has about b times the length of each, so that the weights are as
    1 / length. By lot a text of length l is with b - 1 others of mean length m: l + (b - 1) m.
    """
    drawn = random.Random(0)
    lengths = [drawn.randint(10, 60) for _ in range(8000)]
    ordered = sorted(lengths)
    short, long = statistics.fmean(ordered[:800]), statistics.fmean(ordered[-800:])
    others = 7 * statistics.fmean(lengths)
    weigh = COMPARE["weight_ratio"]
    grouped = weigh(batches_of(lengths, 8, "length_grouped"), lengths)
    assert grouped == pytest.approx(short / long, rel=0.05)
    by_lot = weigh(batches_of(lengths, 8, "random"), lengths)
    assert by_lot == pytest.approx((short + others) / (long + others), rel=0.03)
    assert grouped < 0.25 < 0.8 < by_lot


def test_labels_that_go_with_a_length_come_in_batches_of_like_labels_in_groups():
    drawn = random.Random(0)
    lengths = [drawn.randint(10, 60) for _ in range(8000)]
    labels = [int(drawn.random() < (0.8 if length > 35 else 0.2)) for length in lengths]
    spread = COMPARE["spread_ratio"]
    assert spread(batches_of(lengths, 32, "random"), labels) == pytest.approx(1, abs=0.15)
    # The share of a label is .2 or .8 and not .5: a deviation of .3 beside one of .088.
    expected = (0.3**2 + 0.2 * 0.8 / 32) ** 0.5 / (0.5 * 0.5 / 32) ** 0.5
    found = spread(batches_of(lengths, 32, "length_grouped"), labels)
    assert found == pytest.approx(expected, rel=0.1)


def test_training_sees_the_order_of_each_epoch(tmp_path):
    """20 examples in batches of 8, for two epochs and a batch."""
    words = ["trainer.order=random", "trainer.batch_size=8", "trainer.max_steps=7"]
    config = compose(["task.max_train_samples=20", *words])
    backbone, tokenizer = load(config.model, labels=2)
    method = make_method(config)
    objective = make_objective(ObjectiveContext(config, tokenizer, 64, read(config.task)))
    all_rows = [tuple(row) for row in objective.train_set["input_ids"]]
    assert len(set(all_rows)) == 20
    seen, collate = [], objective.collate

    def noted(rows):
        seen.append([all_rows.index(tuple(row["input_ids"])) for row in rows])
        return collate(rows)

    objective.collate = noted
    train(method.attach(backbone), objective, method, tmp_path)
    expected = []
    for number in range(3):
        of_epoch = RandomOrderSampler(20, config.seed)
        of_epoch.set_epoch(number)
        expected += list(BatchSampler(of_epoch, 8, drop_last=False))
    assert seen[:7] == expected[:7]
    assert expected[:3] != expected[3:6]
