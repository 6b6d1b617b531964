"""Damaged checkpoints: the one before is taken, and the end is the same."""

import errno
import json
import os
import shutil
from pathlib import Path

import pytest

from dylora_exp.config.composition import compose
from dylora_exp.core.errors import RequestError
from dylora_exp.runner.run import RunFailed, run_if_needed
from dylora_exp.training import checkpoints
from dylora_exp.training.trainer import MethodTrainer
from tests.support.compared_records import without_times

WORDS = ["trainer.max_steps=6", "trainer.save_steps=2", "task.max_train_samples=96"]
STEPS = MethodTrainer.training_step


class TerminationRequested(Exception):
    pass


@pytest.fixture(scope="module")
def cut(tmp_path_factory):
    """The record of a whole run, and the folder of one that stopped after five steps."""
    folder = tmp_path_factory.mktemp("checkpoints")
    words = [*WORDS, "task.max_eval_samples=40", f"results_dir={folder / 'results'}"]
    whole = run_if_needed(compose([*words, f"outputs_dir={folder / 'whole'}"])).record
    (folder / "results" / "runs" / f"{whole.run_id}.json").unlink()

    def stop(trainer, *arguments):
        if trainer.state.global_step == 5:
            raise TerminationRequested
        return STEPS(trainer, *arguments)

    patch = pytest.MonkeyPatch()
    patch.setattr(MethodTrainer, "training_step", stop)
    with pytest.raises(RunFailed):
        run_if_needed(compose([*words, f"outputs_dir={folder / 'cut'}"]))
    patch.undo()
    names = sorted(path.name for path in (folder / "cut" / whole.run_id).glob("checkpoint-*"))
    assert names == ["checkpoint-2", "checkpoint-4"]
    weights = (folder / "whole" / whole.run_id / "model" / "adapter_model.safetensors").read_bytes()
    return folder / "cut" / whole.run_id, whole, weights


def halve(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def change(**values):
    """Return what changes some values of a marker as a careless hand would."""

    def spoil(path):
        path.write_text(json.dumps(json.loads(path.read_text()) | values))

    return spoil


def drop_digests_and_finish(path):
    drop_digests(path)
    change(finished=True)(path)


def drop_digests(path):
    """As a version wrote it that did not know them."""
    marker = json.loads(path.read_text())
    for key in ("files", "step", "run", "sha256"):
        del marker[key]
    path.write_text(json.dumps(marker))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ({"checkpoint-4/adapter_model.safetensors": halve}, ["resumes from checkpoint-2"]),
        ({"checkpoint-4/optimizer.pt": flip}, ["resumes from checkpoint-2"]),
        (
            {"checkpoint-4/rng_state.pth": lambda path: path.unlink()},
            ["'rng_state.pth' is missing"],
        ),
        ({"checkpoint-4/complete.json": halve}, ["'complete.json' cannot be read"]),
        (
            {"checkpoint-4/complete.json": change(finished=True)},
            ["'complete.json' is not what was"],
        ),
        ({"checkpoint-4/complete.json": change(seconds="1")}, ["'complete.json' cannot be read"]),
        ({"checkpoint-4/complete.json": change(drawn=[])}, ["'complete.json' cannot be read"]),
        ({"checkpoint-4/complete.json": drop_digests_and_finish}, ["training was finished"]),
        (
            {"checkpoint-4/trainer_state.json": halve, "checkpoint-2/scheduler.pt": flip},
            ["starts anew", "starts anew"],
        ),
        ({"checkpoint-4/complete.json": drop_digests}, []),
        ({"checkpoint-4/complete.json": lambda path: path.unlink()}, []),
    ],
)
def test_the_checkpoint_before_is_taken(damage, said, cut, tmp_path):
    stopped, whole, weights = cut
    folder = tmp_path / "outputs" / whole.run_id
    shutil.copytree(stopped, folder)
    for name, spoil in damage.items():
        spoil(folder / name)
    words = [*WORDS, "task.max_eval_samples=40", f"outputs_dir={tmp_path / 'outputs'}"]
    outcome = run_if_needed(compose([*words, f"results_dir={tmp_path / 'results'}"]))
    warnings = [warning for warning in outcome.warnings if "checkpoint" in warning]
    assert len(warnings) == len(said)
    for warning, expected in zip(warnings, said, strict=True):
        assert "is damaged (" in warning and expected in warning
    assert (folder / "model" / "adapter_model.safetensors").read_bytes() == weights
    assert without_times(outcome.record) == without_times(whole)


def test_what_is_no_checkpoint_is_left_alone(tmp_path):
    (tmp_path / "checkpoint-x").mkdir()
    (tmp_path / "checkpoint-3").write_text("a file")
    found = checkpoints.find_resume_point(tmp_path)
    assert (found.checkpoint, found.warnings) == (None, [])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-3", "checkpoint-x"]


def test_a_marker_names_every_file(tmp_path):
    checkpoint = tmp_path / "checkpoint-7"
    checkpoint.mkdir()
    (checkpoint / "weights").write_bytes(b"12")
    checkpoints.write_marker(checkpoint, 1.5, True, {"3": 2})
    found = checkpoints.find_resume_point(tmp_path)
    assert (found.checkpoint, found.warnings) == (checkpoint, [])
    assert (found.marker.finished, found.marker.seconds, found.marker.drawn) == (
        True,
        1.5,
        {"3": 2},
    )
    (checkpoint / "weights").write_bytes(b"13")
    found = checkpoints.find_resume_point(tmp_path)
    assert found.checkpoint is None and "starts anew" in found.warnings[0]


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO, errno.EMFILE])
@pytest.mark.parametrize("name", ["complete.json", "adapter_model.safetensors"])
def test_a_file_that_cannot_be_read_costs_no_checkpoint(name, number, cut, tmp_path, monkeypatch):
    stopped, whole, _weights = cut
    folder = tmp_path / "outputs" / whole.run_id
    shutil.copytree(stopped, folder)
    open_file = Path.open

    def refuse(path, *arguments, **options):
        if path == folder / "checkpoint-4" / name:
            raise OSError(number, os.strerror(number), str(path))
        return open_file(path, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", refuse)
        with pytest.raises(RequestError, match=rf"{name}: cannot be read \({os.strerror(number)}"):
            checkpoints.find_resume_point(folder)
    found = checkpoints.find_resume_point(folder)
    assert (found.checkpoint, found.warnings) == (folder / "checkpoint-4", [])


def test_files_of_checkpoints_and_adapters_have_the_mode_of_the_umask(cut):
    stopped, _, _ = cut
    mask = os.umask(0o022)
    os.umask(mask)
    files = [path for path in stopped.rglob("*") if path.is_file() and path.suffix != ".log"]
    assert any(path.suffix == ".safetensors" for path in files)
    assert {path.stat().st_mode & 0o777 for path in files} == {0o666 & ~mask}


def test_a_checkpoint_of_another_run_or_step_is_not_believed(cut, tmp_path):
    stopped, whole, _ = cut
    shutil.copytree(stopped, tmp_path / "another")
    found = checkpoints.find_resume_point(tmp_path / "another")
    assert found.checkpoint is None and f"of run {whole.run_id}" in found.warnings[0]
    folder = tmp_path / whole.run_id
    shutil.copytree(stopped, folder)
    (folder / "checkpoint-4").rename(folder / "checkpoint-6")
    found = checkpoints.find_resume_point(folder)
    assert found.checkpoint == folder / "checkpoint-2" and "checkpoint-4 of" in found.warnings[0]
