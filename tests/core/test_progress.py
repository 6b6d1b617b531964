"""Progress in a terminal keeps what matters however narrow it is; in a log it is whole lines."""

import io
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from fcntl import ioctl

import pytest

from dylora_exp.core.progress import progress_bar

PROGRAM = """
from dylora_exp.core.progress import progress_bar
bar = progress_bar(total=12345, initial=12000, unit="step", desc="a-long-method · task · seed 10")
bar.set_postfix_str("ranks 1-128, loss 0.1234", refresh=False)
bar.refresh()
bar.close()
"""


@pytest.mark.parametrize("columns", [80, 120])
def test_a_bar_fits_the_terminal_and_keeps_rank_and_loss(columns):
    parent, child = pty.openpty()
    ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    subprocess.run([sys.executable, "-c", PROGRAM], stderr=child, check=True)
    os.close(child)
    shown = b""
    try:
        while chunk := os.read(parent, 4096):
            shown += chunk
    except OSError:  # the other end is closed
        pass
    os.close(parent)
    lines = [line for line in re.split(r"[\r\n]+|\x1b\[A", shown.decode()) if line.strip()]
    assert all(len(line) <= columns for line in lines)
    assert any("12000/12345" in line and "ranks 1-128, loss 0.1234" in line for line in lines)


@pytest.mark.parametrize(("total", "expected"), [(1, "x: 1/1 step, "), (3, "x: 3/3 steps, ")])
def test_a_log_has_whole_lines(total, expected, monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    bar = progress_bar(total=total, desc="x", unit="step", file=sys.stderr)
    bar.update(total)
    bar.close()
    assert sys.stderr.getvalue().startswith(expected)
