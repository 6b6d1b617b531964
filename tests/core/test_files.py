"""Files written whole or not at all."""

import hashlib
import os

import pytest

from dylora_exp.core.errors import RequestError
from dylora_exp.core.files import (
    apply_umask,
    check_writable,
    file_sha256,
    reading,
    unfinished,
    write_atomically,
)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "file.json"
    write_atomically(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_atomically(path, "new \ud800")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_cannot_be_written_to_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RequestError, match=r"file/x: cannot be written to"):
        check_writable(tmp_path / "file" / "x")


def test_a_folder_is_created_only_where_asked(tmp_path):
    check_writable(tmp_path / "a" / "b", create=False)
    assert list(tmp_path.iterdir()) == []
    check_writable(tmp_path / "a" / "b")
    assert list((tmp_path / "a" / "b").iterdir()) == []


def test_unfinished_files_are_found_below_a_folder(tmp_path):
    write_atomically(tmp_path / "a" / "done.json", "{}")
    left = tmp_path / "a" / ".done.json.x1.tmp"
    left.write_text("{")
    assert unfinished(tmp_path) == [left]


def test_a_digest_is_that_of_the_bytes(tmp_path):
    (tmp_path / "file").write_bytes(b"\x00\r\n")
    assert file_sha256(tmp_path / "file") == hashlib.sha256(b"\x00\r\n").hexdigest()


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o002, 0o664), (0o077, 0o600)])
def test_files_honour_the_umask(mask, mode, tmp_path):
    before = os.umask(mask)
    try:
        write_atomically(tmp_path / "new", "")
        (tmp_path / "private").write_text("")
        (tmp_path / "private").chmod(0o600)
        apply_umask(tmp_path)
        assert os.umask(mask) == mask
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {mode}


def test_a_file_that_cannot_be_read_is_not_one_that_is_missing(tmp_path):
    sentence = r"file: cannot be read \(Input/output error\)"
    with pytest.raises(RequestError, match=sentence), reading(tmp_path / "file"):
        raise OSError(5, "Input/output error")
    for path in (tmp_path / "nothing", tmp_path):
        with pytest.raises(FileNotFoundError), reading(path):
            path.read_bytes()
