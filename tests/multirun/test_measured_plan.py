"""``dylora reproduce --plan --measure``: which runs are one shape, and what they take."""

import json
import math
import re
from pathlib import Path

import pytest

from dylora_exp.cli.entry import main
from dylora_exp.config import compose
from dylora_exp.core import RequestError
from dylora_exp.methods import make_method
from dylora_exp.multirun import measured_plan
from dylora_exp.multirun.gpus import find_gpu, gpus, scaling_to
from dylora_exp.multirun.reproduction_plan import ReproduceRequest, make_plan
from dylora_exp.multirun.run_costs import cost_of
from dylora_exp.multirun.run_shapes import shapes_of
from dylora_exp.multirun.run_sizes import batches_of, read_sizes
from dylora_exp.records.record import RankScore
from dylora_exp.records.store import RecordStore
from dylora_exp.reporting.specs import tables as spec
from dylora_exp.runner import measure
from dylora_exp.runner.time_fits import Line, Measurement
from tests.support.records import make_record
from tests.support.tables import use_own_files

TABLE = """
title: T
caption: C
rows:
  - {{label: LoRA, method: lora, truncation: leading, scale: alpha/b}}
  - {{label: other, method: {method}, truncation: leading, scale: alpha/b}}
blocks:
  - {{heading: "Rank = {{rank}}", ranks: [1, 2]}}
profiles:
  demo:
    seeds: [10, 42]
    set: [trainer.max_steps=20, ranks.r_max=2, task.max_train_samples=64, task.max_eval_samples=16]
    columns:
      - {{heading: Demo task, task: demo, metric: accuracy}}
"""


def measurement(**changes):
    values = {
        "training": Line(3600.0, 0.0),
        "scoring": Line(0.0, 0.0),
        "per_cut": 0.0,
        "new_token": 0.0,
        "memory": Line(2e9, 0.0),
        "start": 0.0,
        "trainable": 1e6,
        "adapter": 1e6,
        "rank": 2,
        "tokens": (100, 300),
        "layers": (1, 3),
        "depth": 12,
    }
    return Measurement(**(values | changes))


@pytest.fixture
def tables(tmp_path, monkeypatch):
    """Tables 'one' and 'two', which share the runs of plain LoRA."""
    folder = tmp_path / "table"
    folder.mkdir()
    for name, method in (("one", "dylora"), ("two", "nested-dropout")):
        (folder / f"{name}.yaml").write_text(TABLE.format(method=method))
    use_own_files(tmp_path, monkeypatch, spec)
    monkeypatch.chdir(tmp_path)


def shapes(*runs):
    return shapes_of({str(i): compose(run) for i, run in enumerate(runs)})


def test_methods_of_one_rank_a_step_are_one_shape():
    own = [["profile=paper", f"method={name}"] for name in ("lora", "dylora", "dylora-frozen")]
    more = [["profile=paper", "method=dylora", f"ranks.r_max={r}", "seed=3"] for r in (4, 64)]
    tasks = [["profile=paper", "method=lora", f"task={name}"] for name in ("cola", "stsb", "mnli")]
    (shape,) = shapes(*own, *more, *tasks)
    assert len(shape.runs) == 8
    assert shape.config.ranks.r_max == 64  # the dearest stands for all


@pytest.mark.parametrize(
    "other",
    [
        ["method=nested-dropout"],
        ["method=finetune"],
        ["method=flop"],
        ["method=dylora-distilled"],
        ["ranks.sample_every=example"],
        ["method.freeze=strict"],
        ["trainer.batch_size=16"],
        ["trainer.bf16=true"],
        ["model.dtype=bfloat16"],
        ["trainer.gradient_checkpointing=true"],
        ["ranks.r_max=512"],
        ["model=roberta-large"],
        ["model.targets=[query,key,value]"],
    ],
)
def test_what_costs_another_time_is_another_shape(other):
    first = ["profile=paper", "method=dylora"]
    assert len(shapes(first, [*first, *other])) == 2


def test_a_run_takes_its_steps_and_its_cuts():
    config = compose(
        [
            *("profile=mini", "task=mrpc", "method=lora", "trainer.epochs=3"),
            *("trainer.accumulation_steps=2", "ranks.score=[1,8]"),
        ]
    )
    sizes = read_sizes(config)
    batches = batches_of(config, sizes)
    measured = measurement(
        training=Line(1.0, 0.5), scoring=Line(2.0, 0.25), per_cut=7.0, start=5.0, rank=8
    )
    cost = cost_of(config, sizes, batches, measured)
    steps = 3 * math.ceil(math.ceil(3668 / 32) / 2)
    mean = sum(batches.trained) / len(batches.trained)
    assert cost.training == pytest.approx(steps * 2 * (1 + 0.5 * mean))
    cuts = 2 * len(config.method.score)
    assert cost.scoring == pytest.approx(cuts * (7 + 7 * 2 + 0.25 * sum(batches.scored)))
    assert cost.seconds == pytest.approx(5 + cost.training + cost.scoring)
    assert cost.disk == 4e6 + 30_000
    assert cost.checkpoints == 2 * 12e6


def test_texts_take_the_time_of_their_tokens_and_cuts_that_of_their_training():
    config = compose(["profile=paper-nlg", "task=e2e", "method=dylora"])
    sizes = read_sizes(config)
    cost = cost_of(config, sizes, batches_of(config, sizes), measurement(new_token=0.5))
    # 16 texts are done with the longest of them, which is longer than most.
    each = cost.scoring / 4 / 630 / 0.5
    assert sizes.new_lengths.at(0.8) < each < 64
    further = compose(
        ["method=lora-continued", "task.max_train_samples=320", "trainer.max_steps=100"]
    )
    sizes = read_sizes(further)
    measured = measurement(training=Line(1.0, 0.0))
    lower = sum(cut.rank < 8 for cut in measured_cuts(further))
    share = further.method.continue_share
    cost = cost_of(further, sizes, batches_of(further, sizes), measured)
    assert cost.training == 100 + lower * math.ceil(share * 100)


def measured_cuts(config):
    return make_method(config).cuts()


def dylora(capsys, *words):
    code = main(["reproduce", *words])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_each_table_and_the_total_have_their_runs_once(capsys, tables, monkeypatch):
    seen = []

    def measure(config, sample):
        seen.append((config, sample))
        if config.method.name == "nested-dropout":
            raise RequestError("model.config: no such thing.")
        return measurement()

    monkeypatch.setattr("dylora_exp.runner.measure", measure)
    words = ["all", "--plan", "--measure", "--jobs", "2", "trainer.threads=3"]
    code, out, _ = dylora(capsys, *words)
    rows = {
        found[0]: found[1:]
        for found in (re.split(r" {2,}", line) for line in out.splitlines())
        if found[0] in ("table", "one", "two", "total")
    }
    assert code == 0
    assert rows["table"][:3] == ["runs", "to do", "hours"]
    assert rows["one"] == ["4", "4", "80.0", "0 %", "2.0 GB", "16.1 MB"]  # 20 steps of an hour
    assert rows["two"][:3] == ["4", "4", "40.0 + ?"]
    assert rows["total"][:3] == ["6", "6", "80.0 + ?"]
    assert "2 at a time: 40.0 hours if they do not slow each other" in out
    assert "2 runs, unknown: model.config: no such thing." in out
    assert "1 and 3 of 12 layers, steps of 100 and 300 tokens" in out
    assert "Lengths of texts are from the data: demo." in out
    # One of each shape, with what was said of the hardware.
    assert [config.trainer.threads for config, _ in seen] == [3, 3]
    assert all(low < high for _, each in seen for low, high in (each.lengths, each.eval_lengths))


def test_what_is_done_takes_nothing(capsys, tables, monkeypatch):
    monkeypatch.setattr("dylora_exp.runner.measure", lambda config, sample: measurement())
    plan = make_plan(ReproduceRequest("one", "demo", Path("results"), Path("outputs")))
    for item in plan.items:
        if item.run.method == "lora":
            config = compose(item.run.overrides())
            ranks = [
                RankScore(rank, cut.truncation, cut.scale, {"accuracy": 0.5}, 0.1)
                for rank in (1, 2)
                for cut in config.method.score
            ]
            timing = {"train_seconds": 30.0, "sweep_seconds": 10.0}
            RecordStore(Path("results")).write(make_record(config, ranks=ranks, timing=timing))
    out = dylora(capsys, "one", "--plan", "--measure")[1]
    row = next(line.split() for line in out.splitlines() if line.startswith("one"))
    assert row[1:4] == ["4", "2", "40.0"]
    assert "By records of runs that are alike, 2 runs would take" in out


def test_hours_are_scaled_to_a_gpu_and_say_so(capsys, tables, monkeypatch):
    monkeypatch.setattr("dylora_exp.runner.measure", lambda config, sample: measurement())
    monkeypatch.setattr("dylora_exp.runner.matmul_speed", lambda dtype: 19.5e11)
    out = dylora(capsys, "one", "--plan", "--measure", "--gpu", "A100")[1]
    row = next(line.split() for line in out.splitlines() if line.startswith("one"))
    assert row[3] == "8.0"  # of 80: ten times as fast
    assert "Hours are scaled, not measured: to a100 by its published throughput" in out
    assert "10 times as fast in float32, against 1.950 TFLOP/s here" in out


def test_low_precision_is_held_against_low_precision(monkeypatch):
    speeds = {"torch.float32": 1e12, "torch.bfloat16": 2e12}
    monkeypatch.setattr("dylora_exp.runner.matmul_speed", lambda dtype: speeds[str(dtype)])
    config = compose(["profile=paper", "trainer.bf16=true"])
    assert scaling_to(find_gpu("H100"), config).factor == pytest.approx(989 / 2)
    assert all(gpu.bfloat16 > gpu.float32 and gpu.source for gpu in gpus().values())


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["one", "--measure"], "--measure: found without --plan"),
        (["one", "--plan", "--gpu", "a100"], "--gpu: found without --measure"),
        (
            ["one", "--plan", "--measure", "--gpu", "a1000"],
            "--gpu: 'a1000' is not one of a10, a100",
        ),
    ],
)
def test_a_wrong_request_is_one_sentence(words, expected, capsys, tables):
    code, out, err = dylora(capsys, *words)
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert expected in err


@pytest.mark.slow
def test_a_plan_is_about_right(capsys, tmp_path, monkeypatch):
    """Within a factor: other work on the machine slows the run, and not what is measured."""
    monkeypatch.chdir(tmp_path)
    words = ["trainer.max_steps=150", "task.max_train_samples=640", "trainer.threads=1"]
    config = compose(["method=dylora", *words])
    assert main(["run", "method=dylora", *words]) == 0
    record = json.loads(next((tmp_path / "results/runs").glob("*.json")).read_text())
    sizes = read_sizes(config)
    batches = batches_of(config, sizes)
    sample = measured_plan._sample(config, [batches], [sizes])
    cost = cost_of(config, sizes, batches, measure(config, sample))
    for found, real in (
        (cost.training, record["timing"]["train_seconds"]),
        (cost.scoring, record["timing"]["sweep_seconds"]),
    ):
        assert real / 8 < found < 3 * real
