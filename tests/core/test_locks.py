"""Locks between processes, the owner of which may be killed."""

import os
import subprocess
import sys
import threading

import pytest

from dylora_exp.core import locks
from dylora_exp.core.errors import RequestError

OWNER = """
import sys
from pathlib import Path
from dylora_exp.core import locks
with locks.hold([Path(sys.argv[1])], busy=lambda path: None):
    print("held", flush=True)
    sys.stdin.readline()
"""


class Busy(Exception):
    pass


def refuse(path):
    raise Busy(path)


@pytest.fixture
def owner():
    """Start processes that hold a lock until a line or a signal ends them."""
    started = []

    def start(path):
        process = subprocess.Popen(
            [sys.executable, "-c", OWNER, str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        assert process.stdout.readline() == "held\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_a_lock_is_held_for_as_long_as_the_context_lasts(tmp_path):
    path = tmp_path / "inner" / ".lock"
    assert not locks.is_held(path)
    with locks.hold([path], refuse):
        assert locks.is_held(path)
        assert locks.owner(path).startswith(f"process {os.getpid()} on ")
    assert not locks.is_held(path)
    assert not path.exists()


def test_another_process_is_named_and_refused(tmp_path, owner):
    path = tmp_path / ".lock"
    process = owner(path)
    before = path.read_bytes()
    assert locks.is_held(path)
    assert f"process {process.pid} on " in locks.owner(path)
    with pytest.raises(Busy), locks.hold([path], refuse):
        pytest.fail("held by two")
    assert path.read_bytes() == before
    process.communicate("\n")
    with locks.hold([path], refuse):
        pass


def test_the_lock_of_a_killed_process_is_taken_over(tmp_path, owner):
    path = tmp_path / ".lock"
    process = owner(path)
    process.kill()
    process.communicate()
    assert path.exists() and not locks.is_held(path)
    with locks.hold([path], refuse):
        assert f"process {os.getpid()} on " in locks.owner(path)


def test_nothing_is_held_while_waiting_for_another_lock(tmp_path, owner):
    free, taken = tmp_path / ".free", tmp_path / ".taken"
    process = owner(taken)
    seen = []

    def busy(path):
        seen.append((path, locks.is_held(free), free.exists()))
        threading.Timer(0.2, process.communicate, ["\n"]).start()

    with locks.hold([free, taken], busy):
        assert locks.is_held(free) and locks.is_held(taken)
    assert seen == [(taken, False, False)]


def test_waiting_takes_no_lock(tmp_path, owner):
    path = tmp_path / ".lock"
    process = owner(path)
    seen = []

    def busy(busy_path):
        seen.append(busy_path)
        threading.Timer(0.2, process.communicate, ["\n"]).start()

    locks.wait([path, tmp_path / ".other"], busy)
    assert seen == [path]
    assert list(tmp_path.iterdir()) == []


def test_asking_writes_nothing_and_a_foreign_note_is_no_error(tmp_path):
    path = tmp_path / ".lock"
    assert not locks.is_held(path) and list(tmp_path.iterdir()) == []
    path.write_text("not a note")
    assert locks.owner(path) == "another process"


def test_a_folder_that_cannot_hold_a_lock_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(RequestError, match="cannot be locked"),
        locks.hold([tmp_path / "file" / ".lock"], refuse),
    ):
        pass
