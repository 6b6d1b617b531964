"""Every command of the pages under docs/: that it runs, in the order of the page."""

import re
import shlex
import shutil

import pytest
from peft import PeftModel

from dylora_exp.cli.entry import main
from dylora_exp.records.store import RecordStore
from tests.support.stock_adapters import TINY_ROBERTA, train_stock
from tests.support.tiny_runs import FEW, ROOT

PAGE = ROOT / "docs" / "my-adapter.md"


def blocks(language):
    text = PAGE.read_text(encoding="utf-8")
    return [code for name, code in re.findall(r"```(\w*)\n(.*?)```", text, re.DOTALL)
            if name == language]  # fmt: skip


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder in which the page's files have the names that it gives them."""
    data = tmp_path / "GLUE_DIR" / "SST-2"
    data.mkdir(parents=True)
    rows = [f"the food is {('tasty', 'stale')[i % 2]} {i}\t{i % 2}" for i in range(20)]
    for name in ("train.tsv", "dev.tsv"):
        (data / name).write_text("\n".join(["sentence\tlabel", *rows]) + "\n")
    shutil.copytree(TINY_ROBERTA, tmp_path / "BASE_DIR")
    train_stock(TINY_ROBERTA, tmp_path / "my-adapter", r=4, target_modules=["query", "value"])
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_page_on_ones_own_adapter_runs(place):
    for command in "".join(blocks("")).splitlines():
        words = shlex.split(command)
        if "RUN" in words:
            (run, *_) = RecordStore("results").read_all()[0]
            words[words.index("RUN")] = run.run_id
        assert main([*words[1:], *(FEW if words[1] == "run" else [])]) == 0, command
    found = {}
    exec(blocks("python")[0], found)
    assert isinstance(found["model"], PeftModel)
    assert found["model"].peft_config["default"].r == 2


def test_links_lead_somewhere():
    text = PAGE.read_text(encoding="utf-8")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for target, section in re.findall(r"\]\((?!http)([^)#]+)#?([^)]*)\)", text):
        assert (PAGE.parent / target).exists(), target
        titles = [
            t.lower().replace(" ", "-") for t in re.findall(r"^#+ (.+)$", readme, re.MULTILINE)
        ]
        assert not section or section in titles
    assert "docs/my-adapter.md" in readme
