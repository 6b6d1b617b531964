import pytest

from dylora_exp.reporting.analysis.resolution import examples_of, one_example
from tests.support.records import make_record

TRAIN, DEV = {"file": "train.tsv", "rows": 3668}, {"file": "dev.tsv", "rows": 408}
TEXTS = {"file": "devset.csv", "entries": 4672, "rows": 4672, "contexts": 547}


def record(*data, reader="glue", **task):
    return make_record(data=[*data], config={"seed": 1, "task": {"reader": reader, **task}})


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (record(TRAIN, DEV), 408),
        (record(TRAIN, DEV, max_eval_samples=100), 100),
        (record(TRAIN, DEV, max_eval_samples=1000), 408),
        (record(TRAIN, {**DEV, "used": 50}), 50),
        (record(TRAIN, TEXTS), 547),  # scored by context, not by reference
        (record(TRAIN, {**TEXTS, "used": 200}), 200),
        (record(max_eval_samples=100), None),
        (record(TRAIN, {"file": "dev.tsv"}), None),
        (record(TRAIN, {"rows": "many"}), None),
        (record(TRAIN, {"rows": 0}), None),
        (make_record(), None),
    ],
)
def test_examples(found, expected):
    assert examples_of(found) == expected


@pytest.mark.parametrize(
    ("metric", "reader", "expected"),
    [
        ("accuracy", "glue", 1 / 408),
        ("f1", "glue", 1 / 408),
        ("matthews_correlation", "glue", 2 / 408),  # from -1 to 1
        ("pearson", "glue", 2 / 408),
        ("bleu", "e2e", 1 / 408),
        ("bleu", "dart", 100 / 408),
        ("cider", "e2e", 10 / 408),
        ("ter", "webnlg", 0.8 / 408),  # without a highest value: of the score itself
        ("ter_unseen", "webnlg", 0.8 / 408),
        ("of_somebody_else", "glue", 0.8 / 408),
    ],
)
def test_one_example(metric, reader, expected):
    found = one_example(metric, [record(TRAIN, DEV, reader=reader)], [0.5, -0.8])
    assert found == pytest.approx(expected)


def test_the_run_with_the_fewest_examples_counts_and_unknown_ones_do_not():
    known = [record(TRAIN, DEV), record(TRAIN, DEV, max_eval_samples=100), make_record()]
    assert one_example("accuracy", known, [0.5]) == 1 / 100
    assert one_example("accuracy", [make_record()], [0.5]) == 0
