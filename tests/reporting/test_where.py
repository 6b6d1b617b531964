import pytest

from dylora_exp.core.errors import RequestError
from dylora_exp.reporting.analysis.where import Where


def select(results, text):
    return Where.parse(text).select(results.store.read_all()[0])


@pytest.fixture
def three(results):
    results.demo("lora", 10, 0.6)
    results.demo("dylora", 10, 0.7)
    results.demo("dylora", 42, 0.8, status="failed", error="out of memory")
    return results


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("", 3),
        ("method=dylora", 2),
        ("method=dylora,seed=42", 1),
        ("method=dylora,lora", 3),
        ("status=completed", 2),
        ("model=tiny-roberta,task=demo,profile=demo", 3),
        ("ranks.r_max=8", 3),
        ("trainer.learning_rate=5e-3", 3),
        ("trainer.bf16=false", 3),
        ("ranks.weights=null", 3),
        ("trainer.label_smoothing=0", 3),
        ("ranks.r_max=4", 0),
    ],
)
def test_records(three, text, count):
    assert len(select(three, text)[0]) == count


def test_ranks_and_metrics_cut_a_record_down(three):
    (record,), _ = select(three, "method=lora,rank=1,8,metric=accuracy")
    assert {score.rank for score in record.ranks} == {1, 8}
    found, _ = select(three, "method=lora,metric=f1")
    assert found == []


def test_a_value_that_no_record_has_is_said(three):
    found, (warning,) = select(three, "method=dylroa")
    assert found == []
    assert warning == "--where: no record has method 'dylroa'; did you mean 'dylora'?"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("taks=mrpc", "--where: 'taks' is no key of a record; did you mean 'task'?"),
        (
            "ranks.rmax=4",
            "--where: 'ranks.rmax' is no key of a record; did you mean 'ranks.r_max'?",
        ),
        ("mrpc", "--where: found 'mrpc', expected key=value."),
        ("task=a,task=b", "--where: 'task' is there twice; several values are task=a,b."),
    ],
)
def test_wrong_requests(text, sentence):
    with pytest.raises(RequestError) as error:
        Where.parse(text)
    assert error.value.problems == [sentence]


def test_paths_are_no_keys():
    for key in ("results_dir", "ranks"):
        with pytest.raises(RequestError, match="is no key of a record"):
            Where.parse(f"{key}=x")
