"""Runs of solutions and of instructions, from files of one's own to the record."""

import json

import pytest

from dylora_exp.cli.entry import main
from dylora_exp.config.composition import compose
from dylora_exp.metrics import extract_answer, parse_number
from dylora_exp.objectives.torch_parts import decoding
from dylora_exp.records.store import RecordStore
from dylora_exp.runner.run import run_if_needed
from tests.support.compared_records import without_times
from tests.support.small_gpt2 import save_small_gpt2

ROWS = [{"question": f"Is it {n}?", "answer": f"It is {n}.\n\nYes.\n#### {n}"} for n in range(1, 7)]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    save_small_gpt2(folder)
    return folder


def words(model, place, *more):
    for name in ("train", "test"):
        folder = place / "data" / "gsm8k"
        folder.mkdir(parents=True, exist_ok=True)
        lines = [json.dumps(row) + "\n" for row in ROWS]
        (folder / f"{name}.jsonl").write_text("".join(lines))
    return [
        "model=tiny-gpt2", f"model.name_or_path={model}", "task=gsm8k",
        f"task.data_dir={place}/data", "task.decode.max_new_tokens=12", "ranks.r_max=2",
        "trainer.max_steps=3", "trainer.batch_size=4", "trainer.eval_batch_size=2",
        f"results_dir={place}/results", f"outputs_dir={place}/outputs", *more,
    ]  # fmt: skip


def test_a_run_of_solutions_keeps_texts_and_scores_their_answers(model, tmp_path):
    record = run_if_needed(compose(words(model, tmp_path))).record
    assert [entry.rank for entry in record.ranks] == [1, 2]
    assert [(each["file"], each["rows"]) for each in record.data] == [
        ("train.jsonl", 6),
        ("test.jsonl", 6),
    ]
    assert record.scoring["extract"] == "marked"
    folder = tmp_path / "outputs" / record.run_id / "predictions"
    for entry in record.ranks:
        assert set(entry.metrics) == {"exact_match", "peft_match", "no_answer"}
        lines = (folder / f"leading-alphab-rank-{entry.rank}.jsonl").read_text().splitlines()[1:]
        texts = dict(pair for line in lines for pair in json.loads(line)["texts"])
        found = [extract_answer(texts[index]) for index in range(6)]
        numbers = [None if answer is None else parse_number(answer) for answer in found]
        right = sum(number == index for index, number in enumerate(numbers, 1))
        assert entry.metrics["exact_match"] == pytest.approx(right / 6)
        assert entry.metrics["no_answer"] == pytest.approx(numbers.count(None) / 6)


@pytest.mark.slow
def test_a_killed_run_decodes_what_it_has_not_decoded_yet(model, tmp_path, monkeypatch):
    whole = run_if_needed(compose(words(model, tmp_path / "whole"))).record
    original, calls = decoding._decode_batch, []

    def counted(*arguments):
        calls.append(1)
        if len(calls) == 5:  # of three batches a rank
            raise KeyboardInterrupt
        return original(*arguments)

    monkeypatch.setattr(decoding, "_decode_batch", counted)
    config = compose(words(model, tmp_path / "killed"))
    with pytest.raises(KeyboardInterrupt):
        run_if_needed(config)
    again = run_if_needed(config).record
    assert len(calls) == 5 + 2
    assert without_times(again) == without_times(whole)


def test_a_run_of_instructions_is_scored_by_likelihood_and_chosen_by_the_lowest_loss(
    model, tmp_path, capsys
):
    lines = [json.dumps({"prompt": f"A : {n}", "completion": f" is {n}"}) for n in range(8)]
    files = [tmp_path / name for name in ("train.jsonl", "eval.jsonl")]
    for file in files:
        file.write_text("\n".join(lines) + "\n")
    more = [
        "task=instructions", f"task.data_files={{train: {files[0]}, eval: {files[1]}}}",
        "trainer.learning_rate=0.05", "trainer.max_steps=8", "method=lora",
    ]  # fmt: skip
    given = [word for word in words(model, tmp_path, *more) if not word.startswith("task.d")]
    assert main(["run", *given, more[1]]) == 0
    (record,) = RecordStore(tmp_path / "results").read_all()[0]
    losses = {entry.metrics["loss"] for entry in record.ranks}
    assert record.verdict["best"]["value"] == pytest.approx(min(losses))
    assert record.verdict["metric"] == "loss"
    assert f"Loss {record.verdict['chosen']['value']:.2f}" in capsys.readouterr().out
