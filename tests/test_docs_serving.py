"""The page on serving: each command can be read, and those of this project run."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import peft
import pytest
from peft import PeftConfig

from dylora_exp.cli.entry import main
from dylora_exp.cli.parser import parse
from dylora_exp.config import compose
from dylora_exp.runner import run_if_needed
from tests.support.tiny_runs import ROOT, TINY

PAGE = (ROOT / "docs" / "serving.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", PAGE, re.DOTALL)
LINES = [line for language, text in BLOCKS if not language for line in text.splitlines()]
OURS = [line for line in LINES if line.startswith("dylora ")]
PROGRAMS = {"dylora", "hf", "lm_eval", "vllm", "deploy"}


def test_every_line_is_known():
    assert {line.split()[0] for line in LINES} == PROGRAMS
    for command in OURS:
        parse(shlex.split(command)[1:])


def test_the_exports_run_and_load(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    small = [*TINY, "trainer.max_steps=2", "task.max_eval_samples=16", "ranks.r_max=2"]
    record = run_if_needed(compose([*small, "method=lora"])).record
    for command in OURS:
        if "--merge" not in command:  # merged models: test_exporting.py
            assert main(shlex.split(command.replace("RUN", record.run_id))[1:]) == 0, command
    (snippet,) = [text for language, text in BLOCKS if language == "python"]
    loaded = eval(snippet, vars(peft))
    assert loaded.peft_config["default"].r == record.verdict["chosen"]["rank"]
    assert sorted(path.name for path in Path("ranks").iterdir()) == ["rank-1", "rank-2"]
    # What vLLM and lm-evaluation-harness read: one rank, one alpha, no patterns.
    config = PeftConfig.from_pretrained("ranks/rank-2")
    assert (config.r, config.rank_pattern, config.alpha_pattern) == (2, {}, {})
    listed = capsys.readouterr()
    assert main(["list", "runs"]) == 0
    assert record.verdict["sentence"] in capsys.readouterr().out
    assert listed.out
    saved = json.loads(Path("results", "runs", f"{record.run_id}.json").read_text())
    assert saved["verdict"] == record.verdict and saved["language"] == "en"


def test_hf_takes_the_arguments(tmp_path):
    program = shutil.which("hf", path=Path(sys.executable).parent)
    if program is None:
        pytest.skip("the command hf is not installed")
    (command,) = [line for line in LINES if line.startswith("hf ")]
    (tmp_path / "adapter").mkdir()
    done = subprocess.run(
        [program, *shlex.split(command)[1:]],
        cwd=tmp_path,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "offline mode is enabled" in done.stdout + done.stderr
