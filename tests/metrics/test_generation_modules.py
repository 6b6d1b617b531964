import evaluate
import pytest

from dylora_exp.core.errors import RequestError
from dylora_exp.metrics.generation import TASKS, Scorer
from dylora_exp.metrics.generation_modules import GenerationMetric, generation_metrics

DATA = {
    "predictions": ["a b c d e", ""],
    "references": [["a b c d x", "a b"], ["c d"]],
}


def test_the_modules_say_what_the_scorer_says_and_can_be_combined():
    names = ["bleu", "nist"]
    modules = evaluate.combine([GenerationMetric("e2e", name) for name in names])
    assert modules.compute(**DATA) == Scorer("e2e", names).score(*DATA.values())


def test_a_module_is_used_again_and_has_a_signature_and_reasons(monkeypatch, tmp_path):
    metric = GenerationMetric("dart", "ter")
    assert metric.compute(**DATA) == metric.compute(**DATA) == {"ter": pytest.approx(0.6)}
    assert metric.signature == Scorer("dart", ["ter"]).signature
    monkeypatch.setenv("PATH", str(tmp_path))
    meteor = GenerationMetric("dart", "meteor")
    assert meteor.compute(**DATA) == {"meteor": None}
    assert "no Java" in meteor.missing["meteor"]
    meteor.close()


@pytest.mark.parametrize("task", TASKS)
def test_there_is_a_module_for_each_metric_of_a_task(task):
    assert [module.scorer.names for module in generation_metrics(task)] == [
        [name] for name in TASKS[task]
    ]


def test_an_unknown_metric_is_named():
    with pytest.raises(RequestError, match="metrics: 'ter' is not one of"):
        GenerationMetric("e2e", "ter")
