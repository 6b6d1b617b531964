"""``docs/cuts.md``: it names every truncation, and its commands run, at tiny sizes."""

import re
import shlex
import typing

import pytest

from dylora_exp.cli.entry import main
from dylora_exp.config import CALIBRATED, RANKS_PER_LAYER, UNWEIGHTED, Truncation, compose
from dylora_exp.records.store import RecordStore
from tests.support.tiny_runs import ROOT, TINY

PAGE = (ROOT / "docs" / "cuts.md").read_text(encoding="utf-8")
COMMANDS = [
    shlex.split(line, comments=True)
    for block in re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL)
    for line in block.splitlines()
]


def test_every_truncation_has_a_section_and_says_what_it_is():
    truncations = typing.get_args(Truncation)
    assert sorted(re.findall(r"^### `(\w+)`$", PAGE, re.MULTILINE)) == sorted(truncations)
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", PAGE, re.MULTILINE))
    assert {name for name, row in rows.items() if "b in every layer" not in row} == RANKS_PER_LAYER
    assert {name for name, row in rows.items() if "training examples" in row} == CALIBRATED
    assert set(rows) >= set(truncations)


def test_the_experiments_score_all_of_them():
    of_lora = [each for each in typing.get_args(Truncation) if each != UNWEIGHTED]
    for name in ("demo-cuts", "mini-mrpc-lora-cuts"):
        cuts = compose([f"experiment={name}"]).method.score
        assert [cut.truncation for cut in cuts] == of_lora


@pytest.mark.slow
def test_its_commands_run_one_after_the_other(tmp_path, capsys):
    to = [f"results_dir={tmp_path / 'results'}", f"outputs_dir={tmp_path / 'outputs'}"]
    for number, (program, command, *words) in enumerate(COMMANDS):
        assert program == "dylora"
        if command == "run":
            assert main(["run", *words, *TINY, "ranks.score=[1,2]", *to]) == 0, words
            run = RecordStore(tmp_path / "results").read_all()[0][-1].run_id
        else:
            words[words.index("RUN")], words[words.index("DIR")] = run, str(tmp_path / f"{number}")
            where = ["--results", str(tmp_path / "results"), "--outputs", str(tmp_path / "outputs")]
            assert main([command, *words, *where]) == 0, capsys.readouterr().err
            assert (tmp_path / f"{number}" / "adapter_config.json").exists()
