"""``trainer.compile``: one graph for all ranks."""

import shutil

import pytest
import torch
from torch._dynamo.utils import counters

from dylora_exp.config.composition import compose
from dylora_exp.models import compiling
from dylora_exp.objectives.classification import ClassificationObjective
from dylora_exp.runner.run import run_if_needed
from dylora_exp.training.trainer import MethodTrainer

# Four batches an epoch, the last of a single example, of many lengths; seed 0 draws every rank.
WORDS = ["seed=0", "trainer.max_steps=18", "task.max_train_samples=97", "task.max_eval_samples=70"]


@pytest.fixture
def graphs(monkeypatch):
    """The number of graphs that were compiled by the end of each step and of each scored way."""
    torch._dynamo.reset()
    counters.clear()
    seen = {"step": [], "cut": [], "ranks": []}
    step, score = MethodTrainer.training_step, ClassificationObjective.score

    def count():
        return counters["stats"]["unique_graphs"]

    def noted_step(trainer, *arguments):
        loss = step(trainer, *arguments)
        seen["step"].append(count())
        seen["ranks"] += trainer.method.mask.ranks if trainer.method.mask else []
        return loss

    def noted_score(objective, *arguments):
        scored = score(objective, *arguments)
        seen["cut"].append(count())
        return scored

    monkeypatch.setattr(MethodTrainer, "training_step", noted_step)
    monkeypatch.setattr(ClassificationObjective, "score", noted_score)
    yield seen
    torch._dynamo.reset()


@pytest.mark.parametrize(
    ("words", "backend"),
    [
        (["method=dylora"], "eager"),
        pytest.param(["method=dylora", "ranks=per-example"], "eager", marks=pytest.mark.slow),
        pytest.param(["method=dylora"], "aot_eager", marks=pytest.mark.slow),
        pytest.param(
            ["method=dylora"],
            "inductor",
            marks=[
                pytest.mark.slow,
                pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler"),
            ],
        ),
    ],
)
@pytest.mark.slow
def test_no_rank_and_no_length_compiles_anew(words, backend, graphs, tiny_words, monkeypatch):
    monkeypatch.setattr(compiling, "BACKEND", backend)
    words = [*tiny_words, *WORDS, *words]
    record = run_if_needed(compose([*words, "trainer.compile=true"])).record
    assert set(graphs["ranks"]) == set(range(1, 9))
    assert [entry.rank for entry in record.ranks] == list(range(1, 9))
    first = graphs["step"][0]
    assert first >= 1
    assert graphs["step"] == [first] * 18  # nothing after the first step
    assert len(set(graphs["cut"])) == 1  # nothing after the first rank that is scored
    # No graph break: a training graph, one without gradients for scoring.
    assert graphs["cut"][-1] == 2
    before = graphs["cut"][-1]
    plain = run_if_needed(compose(words)).record
    assert graphs["cut"][-1] == before
    assert plain.run_id != record.run_id
    for one, other in zip(record.ranks, plain.ranks, strict=True):
        assert one.metrics == pytest.approx(other.metrics, abs=0.03)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["lora", "dylora-frozen"])
def test_other_methods_compile(method, graphs, tiny_words, monkeypatch):
    monkeypatch.setattr(compiling, "BACKEND", "eager")
    record = run_if_needed(
        compose([*tiny_words, f"method={method}", "trainer.compile=true"])
    ).record
    assert record.status == "completed"
    assert graphs["step"][0] == graphs["step"][-1] >= 1
