"""Outputs that cannot be written to: they change neither records nor what is said of runs."""

import io
import os
import subprocess
import sys

import pytest

from dylora_exp.cli.entry import main
from dylora_exp.core.output import TolerantStream, tolerant_output
from dylora_exp.records import RecordStore

full = pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_characters_that_a_terminal_lacks_are_replaced(encoding):
    written = io.BytesIO()
    stream = TolerantStream(io.TextIOWrapper(written, encoding=encoding))
    assert stream.write("é α/b ━ \ud800\n") == 10
    stream.flush()
    assert written.getvalue() == "é alpha/b ━ \\ud800\n".encode(encoding, "replace")
    assert stream.encoding == encoding and stream.failure is None


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
@pytest.mark.parametrize("flags", [[], ["-m"]])
@pytest.mark.slow
def test_runs_complete_on_any_terminal(encoding, flags, tiny_words, tmp_path, monkeypatch):
    streams = [io.TextIOWrapper(io.BytesIO(), encoding=encoding) for _ in range(2)]
    monkeypatch.setattr(sys, "stdout", streams[0])
    monkeypatch.setattr(sys, "stderr", streams[1])
    assert main(["run", *flags, *tiny_words]) == 0
    out = streams[0].buffer.getvalue().decode(encoding)
    assert "dylora " in out and ("1 run: 1 done now" in out or not flags)
    (record,) = RecordStore(tmp_path / "results").read_all()[0]
    assert record.status == "completed"


@full
@pytest.mark.parametrize("flags", [[], ["-m"]])
@pytest.mark.slow
def test_runs_complete_though_the_disk_of_their_output_is_full(
    flags, tiny_words, tmp_path, monkeypatch, capsys
):
    with monkeypatch.context() as patch, open("/dev/full", "w") as stream:
        patch.setattr(sys, "stdout", stream)
        assert main(["run", *flags, *tiny_words]) == 0
    (record,) = RecordStore(tmp_path / "results").read_all()[0]
    assert record.status == "completed"
    assert "the output cannot be written (No space left on device)" in capsys.readouterr().err


@full
def test_a_command_ends_as_it_does_where_nothing_can_be_printed_at_all():
    code = "import sys; from dylora_exp.cli.entry import main; sys.exit(main(['validate']))"
    with open("/dev/full", "w") as nowhere:
        done = subprocess.run(
            [sys.executable, "-c", code], stdout=nowhere, stderr=nowhere, check=False
        )
    assert done.returncode == 1


def test_streams_are_as_before_afterwards():
    before = sys.stdout, sys.stderr

    def fail():
        with tolerant_output() as output:
            assert sys.stdout is output
            with tolerant_output() as inner:
                assert inner is output
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert (sys.stdout, sys.stderr) == before
