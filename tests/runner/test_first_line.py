"""What a run says before it imports torch, which takes seconds."""

import os
import subprocess
import sys

import pytest

from dylora_exp.config import compose, run_id
from dylora_exp.training import newest_step

# Whatever imports torch fails in this process.
CODE = """
import importlib.abc, importlib.machinery, sys

class Refused(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name, *_):
        if name in ("torch", "transformers"):
            return importlib.machinery.ModuleSpec(name, self)

    def create_module(self, spec):
        raise ImportError(f"{spec.name} is refused")

    def exec_module(self, module):
        pass

sys.meta_path.insert(0, Refused())
from dylora_exp.cli import main
sys.exit(main(sys.argv[1:]))
"""


def first_line(tmp_path, *words):
    overrides = ["profile=demo", f"results_dir={tmp_path}/r", f"outputs_dir={tmp_path}/o"]
    command = [sys.executable, "-c", CODE, "run", *words, *overrides]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.stdout, done.stderr
    return done.stdout.splitlines()[0]


@pytest.mark.parametrize("multirun", [[], ["-m"]])
def test_a_run_says_that_it_begins_before_torch_is_imported(tmp_path, multirun):
    name = run_id(compose(["profile=demo"]))
    assert first_line(tmp_path, *multirun) == f"run {name}: loading tiny-roberta ..."


def test_a_run_says_where_it_resumes(tmp_path):
    name = run_id(compose(["profile=demo"]))
    folder = tmp_path / "o" / name
    for step in (9, 50, 100):
        (folder / f"checkpoint-{step}").mkdir(parents=True)
    for step in (9, 50):  # the last one was being written when the run was killed
        (folder / f"checkpoint-{step}" / "complete.json").write_text("{}")
    (folder / "checkpoint-last").mkdir()
    (folder / "checkpoint-last" / "complete.json").write_text("{}")
    assert newest_step(folder) == 50
    assert newest_step(tmp_path) is None
    expected = f"run {name}: resuming from step 50, loading tiny-roberta ..."
    assert first_line(tmp_path) == expected


def test_quiet_says_nothing(tmp_path):
    with pytest.raises(AssertionError):
        first_line(tmp_path, "-q")


def test_a_terminal_is_told_before_data_are_read(tmp_path):
    ours, theirs = os.openpty()
    command = [sys.executable, "-c", CODE, "run", "task=sst2", "task.data_dir=gone"]
    done = subprocess.run(
        command, stdout=theirs, stderr=subprocess.PIPE, text=True, cwd=tmp_path, check=False
    )
    assert done.returncode == 2 and "there is no folder 'gone'" in done.stderr
    assert os.read(ours, 1000).decode().endswith(": loading tiny-roberta ...\r\n")
    os.close(ours)
    os.close(theirs)
