"""Runs from config to record, in this process."""

import json
import struct
import subprocess
import sys
import threading
from collections import Counter

import pytest
import torch

from dylora_exp.config.composition import compose
from dylora_exp.config.ranks import Ranks
from dylora_exp.config.run_identity import run_id, setup_id
from dylora_exp.core.errors import RequestError
from dylora_exp.records.store import RecordStore
from dylora_exp.runner import pipeline
from dylora_exp.runner import run as run_module
from dylora_exp.runner.run import RunBusy, RunFailed, run_if_needed
from tests.support.compared_records import without_times

STSB_COLUMNS = "index genre filename year old_index source1 source2 sentence1 sentence2 score"


def test_the_record_holds_what_the_design_promises(tiny_words, tmp_path):
    config = compose(tiny_words)
    outcome = run_if_needed(config)
    record = outcome.record
    assert outcome.fresh
    assert outcome.path == tmp_path / "results" / "runs" / f"{run_id(compose(tiny_words))}.json"
    assert RecordStore(tmp_path / "results").read(record.run_id) == record
    assert (record.status, record.error, record.schema_version) == ("completed", None, 1)
    names = (record.model, record.task, record.method, record.profile, record.seed)
    assert names == ("tiny-roberta", "demo", "dylora", "demo", 10)
    assert [(e.rank, e.truncation, e.scale) for e in record.ranks] == [
        (rank, "leading", "alpha/b") for rank in range(1, 9)
    ]
    assert all(0 <= e.metrics["accuracy"] <= 1 for e in record.ranks)
    # Query and value of 3 layers of width 64 at rank 8, and the head.
    assert record.parameters["trainable"] == 3 * 2 * 8 * 2 * 64 + 64 * 64 + 64 + 2 * 64 + 2
    assert record.parameters["adapter"] == 3 * 2 * 8 * 2 * 64
    ranks = Ranks.from_config(config.ranks)
    drawn = Counter(str(ranks.rank_of_step(10, step)) for step in range(3))
    assert record.training == {"drawn_ranks": drawn}
    (choice,) = record.summary
    curve = {entry.rank: entry.metrics["accuracy"] for entry in record.ranks}
    assert curve[choice["best_rank"]] == max(curve.values())
    assert curve[choice["recommended_rank"]] >= 0.99 * max(curve.values())
    assert min(curve.values()) <= choice["aurac"] <= max(curve.values())
    assert record.timing["steps"] == 3
    assert set(record.timing) == {"train_seconds", "sweep_seconds", "steps"}
    assert record.memory["peak_bytes"] > 10**7
    assert [(s["rows"], s["used"]) for s in record.data] == [(96, 96), (40, 40)]
    assert all(len(source["sha256"]) == 64 for source in record.data)
    expected = {"python", "torch", "transformers", "peft", "project", "git_commit", "dirty"}
    assert set(record.environment) == expected | {"hardware", "processes"}
    assert record.config["seed"] == 10
    assert str(tmp_path) not in outcome.path.read_text()


def test_nothing_but_record_and_model_is_left(tiny_words, tmp_path):
    outcome = run_if_needed(compose(tiny_words))
    folder = tmp_path / "outputs" / outcome.record.run_id
    assert {path.name for path in folder.iterdir()} == {"model", "run.json", "run.log"}
    assert (folder / "model" / "adapter_model.safetensors").is_file()


def test_the_same_config_gives_the_same_record(tiny_words, tmp_path):
    words = [*tiny_words, "method=dylora-frozen"]
    first = run_if_needed(compose(words)).record
    elsewhere = [f"results_dir={tmp_path / 'r2'}", f"outputs_dir={tmp_path / 'o2'}"]
    second = run_if_needed(compose([*words, *elsewhere])).record
    assert without_times(first) == without_times(second)


def test_a_complete_run_is_not_repeated(tiny_words, monkeypatch):
    first = run_if_needed(compose(tiny_words))
    monkeypatch.setattr(pipeline, "train_and_record", None)
    again = run_if_needed(compose(tiny_words))
    assert not again.fresh
    assert again.record == first.record


def test_a_lora_is_scored_in_three_ways(tiny_words):
    record = run_if_needed(compose([*tiny_words, "method=lora", "ranks.score=[2,8]"])).record
    cuts = [(e.rank, e.truncation, e.scale) for e in record.ranks]
    assert cuts == [
        (rank, truncation, scale)
        for truncation, scale in [
            ("leading", "alpha/b"),
            ("leading", "alpha/r"),
            ("svd", "alpha/r"),
        ]
        for rank in (2, 8)
    ]


def test_full_fine_tuning_has_one_entry_without_a_rank(tiny_words):
    record = run_if_needed(compose([*tiny_words, "method=finetune"])).record
    (entry,) = record.ranks
    assert (entry.rank, entry.truncation, entry.scale) == (None, None, None)
    assert record.parameters["trainable"] == record.parameters["total"]


def test_bf16_trains_and_scores(tiny_words):
    record = run_if_needed(compose([*tiny_words, "trainer.bf16=true", "ranks.score=[3]"])).record
    assert record.status == "completed"


def test_a_number_is_learned_as_a_regression(tiny_words, tmp_path):
    lines = [f"{i}\tg\tf\t2012\t{i}\tn\tn\tgood {i}\tbad {i % 7}\t{i % 6}.000" for i in range(60)]
    for name in ("train.tsv", "dev.tsv"):
        (tmp_path / name).write_text("\n".join([STSB_COLUMNS.replace(" ", "\t"), *lines]) + "\n")
    record = run_if_needed(compose([*tiny_words, "task=stsb", f"task.data_dir={tmp_path}"])).record
    assert set(record.ranks[0].metrics) == {"pearson", "spearmanr"}
    assert record.parameters["trainable"] == 3 * 2 * 8 * 2 * 64 + 64 * 64 + 64 + 64 + 1


def sst2(folder, first="fine"):
    folder.mkdir(exist_ok=True)
    rows = "".join(f"{first} {i}\t{i % 2}\n" for i in range(40))
    for name in ("train.tsv", "dev.tsv"):
        (folder / name).write_text(f"sentence\tlabel\n{rows}")
    return [f"task.data_dir={folder}", "task=sst2"]


def test_other_data_under_the_same_config_is_not_taken_for_the_same_run(tiny_words, tmp_path):
    words = [*tiny_words, *sst2(tmp_path / "a")]
    run_if_needed(compose(words))
    assert not run_if_needed(compose([*words, *sst2(tmp_path / "b")])).fresh
    with pytest.raises(RequestError, match=r"'train\.tsv' in .* is not the file that"):
        run_if_needed(compose([*words, *sst2(tmp_path / "c", first="other")]))


def test_checkpoints_made_from_other_data_are_not_resumed_from(tiny_words, tmp_path):
    words = [*tiny_words, *sst2(tmp_path / "a")]
    config = compose(words)
    folder = tmp_path / "outputs" / run_id(config)
    (folder / "checkpoint-2").mkdir(parents=True)
    (folder / "checkpoint-2" / "complete.json").write_text('{"seconds": 1}')
    (folder / "run.json").write_text("{}")
    assert run_if_needed(config).record.timing["steps"] == 3


def test_checkpoints_made_before_an_option_existed_are_resumed_from(tiny_words, tmp_path):
    config = compose([*tiny_words, "trainer.save_steps=1"])
    folder = tmp_path / "outputs" / run_id(config)

    def stop(*_):
        raise ZeroDivisionError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dylora_exp.runner.pipeline.score_all_ranks", stop)
        with pytest.raises(RunFailed):
            run_if_needed(config)
    note = json.loads((folder / "run.json").read_text())
    del note["config"]["trainer"]["label_smoothing"]
    (folder / "run.json").write_text(json.dumps(note))
    assert run_if_needed(config).record.timing["steps"] == 3
    assert "training was finished before: checkpoint-3" in (folder / "run.log").read_text()


def test_a_tracker_that_fails_loses_no_run(tiny_words, monkeypatch, tmp_path):
    wandb = pytest.importorskip("wandb")

    def broken(*_, **__):
        raise ConnectionError("gone")

    monkeypatch.setattr(wandb, "Table", broken)
    record = run_if_needed(compose([*tiny_words, "tracker=wandb", "tracker.mode=offline"])).record
    assert record.status == "completed"
    log = (tmp_path / "outputs" / record.run_id / "run.log").read_text()
    assert "tracker: ConnectionError: gone" in log


def test_a_failure_leaves_a_failed_record_and_is_tried_again(tiny_words, monkeypatch, tmp_path):
    def broken(*_):
        raise ZeroDivisionError("the first line\nthe second")

    config = compose(tiny_words)
    monkeypatch.setattr(pipeline, "train_and_record", broken)
    with pytest.raises(RunFailed, match="ZeroDivisionError: the first line"):
        run_if_needed(config)
    record = RecordStore(tmp_path / "results").read(run_id(config))
    assert (record.status, record.ranks) == ("failed", [])
    assert record.error == "ZeroDivisionError: the first line"
    assert "Traceback" in (tmp_path / "outputs" / record.run_id / "error.log").read_text()
    monkeypatch.undo()
    assert run_if_needed(config).record.status == "completed"


def test_a_run_that_another_process_does_is_waited_for_or_skipped(tiny_words, capsys):
    config = compose(tiny_words)
    lock = RecordStore(config.results_dir).lock_path(run_id(config))
    lock.parent.mkdir(parents=True)
    code = (
        "import fcntl, sys, time; file = open(sys.argv[1], 'w'); "
        "fcntl.flock(file, fcntl.LOCK_EX); print('held', flush=True); time.sleep(600)"
    )
    command = [sys.executable, "-c", code, str(lock)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(RunBusy, match="is being done by another process"):
            run_if_needed(compose([*tiny_words, "running=skip"]))
        with pytest.raises(RunBusy):
            run_if_needed(config, wait=False)
        threading.Timer(2, other.kill).start()
        assert run_if_needed(config).fresh  # the dead owner's lock is taken over
    assert capsys.readouterr().out.count("waiting") == 1
    assert not lock.exists()


def test_a_full_disk_in_the_work_is_a_failure_and_no_wrong_request(tiny_words, monkeypatch):
    def full(*_):
        raise RequestError("outputs: cannot be written to (No space left on device).")

    monkeypatch.setattr(pipeline, "train_and_record", full)
    with pytest.raises(RunFailed, match="No space left"):
        run_if_needed(compose(tiny_words))


def test_threads_are_those_of_the_run_alone(tiny_words, tmp_path):
    before = torch.get_num_threads()
    record = run_if_needed(compose([*tiny_words, "trainer.threads=2", "ranks.score=[1]"])).record
    assert "2 threads" in record.environment["hardware"]
    elsewhere = f"results_dir={tmp_path / 'r2'}"
    record = run_if_needed(compose([*tiny_words, "ranks.score=[2]", elsewhere])).record
    assert f"{before} threads" in record.environment["hardware"]


def test_a_wrong_request_writes_nothing(tmp_path, tiny_words):
    words = [*tiny_words, "task=sst2", f"task.data_dir={tmp_path / 'none'}", "ranks.r_max=99"]
    with pytest.raises(RequestError) as error:
        run_if_needed(compose(words))
    assert len(error.value.problems) == 2
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_model_that_does_not_match_leaves_no_folder(tmp_path, tiny_words):
    """It is found only when the model is loaded, with the run's locks held."""
    config = compose([*tiny_words, "model.targets=[nonsense]"])
    with pytest.raises(RequestError, match=r"model\.targets.*nonsense"):
        run_if_needed(config)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    assert not (tmp_path / "outputs" / run_id(config)).exists()


def test_the_record_of_a_process_that_was_faster_is_found_under_the_lock(
    tiny_words, monkeypatch, tmp_path
):
    """Another process completes the run after this one has looked and before it has the lock."""
    config = compose(tiny_words)
    first = run_if_needed(config)
    text = first.path.read_text()
    first.path.unlink()
    checked = run_module.check_all

    def check_slowly(config):
        data = checked(config)
        first.path.write_text(text)
        return data

    monkeypatch.setattr(run_module, "check_all", check_slowly)
    monkeypatch.setattr(pipeline, "train_and_record", None)
    again = run_if_needed(config)
    assert not again.fresh and again.record == first.record


def wandb_records(log):
    """Read W&B's offline file: a LevelDB log of protocol buffers."""
    from wandb.proto import wandb_internal_pb2

    content, position, message = log.read_bytes(), 7, b""
    while position + 7 <= len(content):
        if 32768 - position % 32768 < 7:
            position += 32768 - position % 32768
            continue
        _, length, kind = struct.unpack_from("<IHB", content, position)
        message += content[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(message)
            yield record
            message = b""


def test_wandb_offline_keeps_group_and_scores_in_the_run_folder(tiny_words, tmp_path):
    pytest.importorskip("wandb")
    outcome = run_if_needed(compose([*tiny_words, "tracker=wandb", "tracker.mode=offline"]))
    folder = tmp_path / "outputs" / outcome.record.run_id / "wandb"
    (log,) = folder.glob("offline-run-*/*.wandb")
    scored, groups, config, tags, summary, artifacts = {}, set(), {}, set(), {}, []
    for record in wandb_records(log):
        tags |= set(record.run.tags)
        artifacts += [each for each in (record.artifact, record.request.log_artifact.artifact)
                      if each.name]  # fmt: skip
        for item in record.summary.update:
            summary[item.key or "/".join(item.nested_key)] = json.loads(item.value_json)
        if record.run.run_id:
            groups.add((record.run.run_id, record.run.run_group, record.run.job_type))
            config |= {item.key: item.value_json for item in record.run.config.update}
        items = {item.key or item.nested_key[0]: item for item in record.history.item}
        if "rank" in items:
            (name,) = [name for name in items if name.endswith("accuracy")]
            assert name == "leading-alpha-over-b/accuracy"
            rank = json.loads(items["rank"].value_json)
            scored[rank] = json.loads(items[name].value_json)
    made = outcome.record
    assert scored == {entry.rank: entry.metrics["accuracy"] for entry in made.ranks}
    assert groups == {(made.run_id, setup_id(compose([*tiny_words, "seed=42"])), "dylora")}
    assert json.loads(config["seed"]) == 10
    assert json.loads(config["method"]) == made.config["method"]
    assert tags == {"tiny-roberta", "demo", "dylora"}  # the profile has the task's name
    chosen, (cut,) = made.verdict["chosen"], made.summary
    assert summary["recommended_rank"] == chosen["rank"]
    assert summary["best"] == made.verdict["best"]["value"]
    assert summary["aurac"] == summary["leading-alpha-over-b/aurac"] == cut["aurac"]
    assert summary["verdict"] == made.verdict["sentence"]
    (adapter,) = [each for each in artifacts if each.name == f"adapter-{made.run_id}"]
    saved = {entry.path for entry in adapter.manifest.contents}
    assert {"adapter_config.json", "adapter_model.safetensors"} <= saved
