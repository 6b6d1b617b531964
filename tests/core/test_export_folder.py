"""The folder of an export is the old one or the new one, whenever the export is killed."""

import os
import shutil
from pathlib import Path

import pytest

from dylora_exp.core import RequestError, export_folder, locks

NAMES = ("README.md", "adapter_config.json", "adapter_model.safetensors")


def write(folder, text):
    folder.mkdir(parents=True, exist_ok=True)
    for name in NAMES:
        (folder / name).write_text(text)


def export(target, text):
    export_folder.clean_up(target.parent)
    export_folder.check_target(target, force=True)
    with export_folder.work_folder(target) as work:
        write(work / "adapter", text)
        export_folder.replace(target, work / "adapter")


def killed_at(call, target):
    """Export in another process that dies at a call of the file system; return whether it did."""
    child = os.fork()
    if child == 0:
        count = [0]

        def dying(function):
            def call_or_die(*arguments, **options):
                if count[0] == call:
                    os._exit(9)
                count[0] += 1
                return function(*arguments, **options)

            return call_or_die

        Path.rename, Path.mkdir = dying(Path.rename), dying(Path.mkdir)
        Path.write_text, os.link = dying(Path.write_text), dying(os.link)
        shutil.rmtree = dying(shutil.rmtree)
        export(target, "new")
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9


def texts(target):
    return {(target / name).read_text() for name in NAMES}


def test_a_killed_export_leaves_nothing_torn(tmp_path):
    died = 0
    for call in range(100):
        target = tmp_path / str(call) / "x"
        write(target, "old")
        (target / "mine").mkdir()
        (target / "mine" / "notes").write_text("precious")
        if not killed_at(call, target):
            break
        died += 1
        if target.exists():
            assert texts(target) in ({"old"}, {"new"})
        export_folder.clean_up(target.parent)
        assert texts(target) in ({"old"}, {"new"})
        assert (target / "mine" / "notes").read_text() == "precious"
        export(target, "new")
        assert texts(target) == {"new"}
        assert (target / "mine" / "notes").read_text() == "precious"
        assert [path.name for path in target.parent.iterdir()] == ["x"]
    assert died > 8


def test_what_is_left_of_earlier_versions_is_removed(tmp_path):
    write(tmp_path / ".export-a1b2c3" / "adapter", "half")
    export(tmp_path / "x", "new")
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_one_export_to_a_folder_at_a_time(tmp_path):
    with locks.hold([tmp_path / ".export-x.lock"], lambda path: None):
        with pytest.raises(RequestError, match=r"process \d+ on .* exports to '.*x'"):
            export(tmp_path / "x", "new")
        export(tmp_path / "y", "new")


def test_a_link_to_a_folder_stays_one(tmp_path):
    write(tmp_path / "there" / "x", "old")
    (tmp_path / "x").symlink_to(tmp_path / "there" / "x")
    export(tmp_path / "x", "new")
    assert (tmp_path / "x").is_symlink() and texts(tmp_path / "there" / "x") == {"new"}


def test_the_current_folder_is_not_swapped_away(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RequestError, match="is the current folder"):
        export(Path(), "new")
