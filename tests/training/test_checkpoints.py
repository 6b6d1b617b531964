"""Damaged checkpoints: the one before is taken, and the end is the same."""

import errno
import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from dylora_exp.config.composition import compose
from dylora_exp.core import locks
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

    models = []

    def stop(trainer, *arguments):
        if trainer.state.global_step == 5:
            models.append(trainer.model)
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
    return folder / "cut" / whole.run_id, whole, weights, models[0]


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
@pytest.mark.slow
def test_the_checkpoint_before_is_taken(damage, said, cut, tmp_path):
    stopped, whole, weights, _ = cut
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
    stopped, whole, *_ = cut
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
    stopped, *_ = cut
    mask = os.umask(0o022)
    os.umask(mask)
    files = [path for path in stopped.rglob("*") if path.is_file() and path.suffix != ".log"]
    assert any(path.suffix == ".safetensors" for path in files)
    assert {path.stat().st_mode & 0o777 for path in files} == {0o666 & ~mask}


def test_a_checkpoint_of_another_run_or_step_is_not_believed(cut, tmp_path):
    stopped, whole, *_ = cut
    shutil.copytree(stopped, tmp_path / "another")
    found = checkpoints.find_resume_point(tmp_path / "another")
    assert found.checkpoint is None and f"of run {whole.run_id}" in found.warnings[0]
    folder = tmp_path / whole.run_id
    shutil.copytree(stopped, folder)
    (folder / "checkpoint-4").rename(folder / "checkpoint-6")
    found = checkpoints.find_resume_point(folder)
    assert found.checkpoint == folder / "checkpoint-2" and "checkpoint-4 of" in found.warnings[0]


class Foreign:
    """An object that no checkpoint holds; torch refuses to make it."""


def sign_again(checkpoint):
    """Write the digests of a checkpoint's files anew, as somebody would who changes one."""
    marker = json.loads((checkpoint / "complete.json").read_text())
    checkpoints.write_marker(checkpoint, marker["seconds"], marker["finished"], marker["drawn"])


def without(name):
    def spoil(path):
        saved = torch.load(path, weights_only=False)
        del saved[name]
        torch.save(saved, path)

    return spoil


def rename_tensors(path):
    save_file({f"other.{name}": tensor for name, tensor in load_file(path).items()}, path)


def widen_tensors(path):
    save_file({name: torch.cat([t, t]) for name, t in load_file(path).items()}, path)


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize(
    ("name", "spoil"),
    [
        ("optimizer.pt", lambda path: torch.save(Foreign(), path)),
        ("optimizer.pt", lambda path: torch.save({}, path)),
        ("optimizer.pt", without("param_groups")),
        ("optimizer.pt", lambda path: path.write_bytes(b"")),
        ("scheduler.pt", lambda path: torch.save(Foreign(), path)),
        ("scheduler.pt", without("last_epoch")),
        ("scheduler.pt", lambda path: path.unlink()),
        ("rng_state.pth", lambda path: torch.save({"python": Foreign()}, path)),
        ("rng_state.pth", without("cpu")),
        ("trainer_state.json", lambda path: path.write_text("[]")),
        ("trainer_state.json", change(global_step=3)),
        ("trainer_state.json", change(surprise=3)),
        ("adapter_model.safetensors", lambda path: path.write_bytes(b"<html>")),
        ("adapter_model.safetensors", rename_tensors),
        ("adapter_model.safetensors", widen_tensors),
        ("epoch_rng.safetensors", rename_tensors),
        ("model.safetensors", lambda path: save_file({"a": torch.ones(1)}, path)),
    ],
)
def test_what_cannot_be_loaded_is_not_resumed_from(name, spoil, signed, cut, tmp_path):
    """Whether the digests are those of what lies there, or, as in old versions, not known."""
    stopped, whole, model = cut[0], cut[1], cut[3]
    folder = tmp_path / whole.run_id
    shutil.copytree(stopped, folder)
    spoil(folder / "checkpoint-4" / name)
    if signed:
        sign_again(folder / "checkpoint-4")
    else:
        drop_digests(folder / "checkpoint-4" / "complete.json")
    found = checkpoints.find_resume_point(folder, model)
    assert found.checkpoint == folder / "checkpoint-2"
    (warning,) = found.warnings
    assert name in warning and "weights_only" not in warning and "\n" not in warning


def link(path, target):
    target.mkdir(parents=True, exist_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(target)


def leave_and_link(path, target):
    """Put what lies at a path elsewhere, and a link to it in its place."""
    path.rename(target)
    path.symlink_to(target)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda folder, other: leave_and_link(folder / "checkpoint-4", other / "checkpoint-4"),
        lambda folder, other: leave_and_link(folder / "checkpoint-4" / "optimizer.pt", other / "o"),
        lambda folder, other: leave_and_link(folder, other / folder.name),
        lambda folder, other: (folder / "checkpoint-6").symlink_to(other / "nowhere"),
        lambda folder, other: (folder / "checkpoint-6").symlink_to(folder / "checkpoint-6"),
        lambda folder, other: (folder / "checkpoint-6").write_text("a file"),
        lambda folder, other: link(folder / "model", other),
        lambda folder, other: link(folder / "predictions", other),
        lambda folder, other: link(folder / "epochs" / "step-3", other),
        lambda folder, other: leave_and_link(folder / "run.log", other / "log"),
    ],
)
def test_nothing_is_written_or_removed_through_a_link(spoil, cut, tmp_path):
    stopped, whole, *_ = cut
    folder, other = tmp_path / "outputs" / whole.run_id, tmp_path / "other"
    shutil.copytree(stopped, folder)
    other.mkdir()
    spoil(folder, other)
    before = {path: path.is_file() and path.read_bytes() for path in tmp_path.rglob("*")}
    words = [*WORDS, "task.max_eval_samples=40", f"outputs_dir={tmp_path / 'outputs'}"]
    with pytest.raises(RequestError, match=r"symbolic link to|a file, expected a folder"):
        run_if_needed(compose([*words, f"results_dir={tmp_path / 'results'}"]))
    after = {path: path.is_file() and path.read_bytes() for path in before if path.exists()}
    assert after == {path: content for path, content in before.items() if path.exists()}
    assert len(after) >= len(before) - 1  # a link that leads nowhere does not exist


def test_a_lock_is_never_written_through_a_link(cut, tmp_path):
    (tmp_path / "precious").write_text("a text")
    (tmp_path / ".lock").symlink_to(tmp_path / "precious")
    with (
        pytest.raises(RequestError, match=r"\.lock: cannot be locked"),
        locks.hold([tmp_path / ".lock"], lambda path: None),
    ):
        pass
    assert (tmp_path / "precious").read_text() == "a text"
