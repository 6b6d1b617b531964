"""The generated texts behind the demo's generation tasks."""

import filecmp
import re
import subprocess
import sys
from pathlib import Path

import pytest

from dylora_exp.config.composition import compose
from dylora_exp.core.errors import RequestError
from dylora_exp.tasks.base import read

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "dylora_exp" / "tasks" / "demo_nlg"
FILES = ["e2e/devset.csv", "e2e/trainset.csv", "webnlg/dev.json", "webnlg/train.json"]


def test_the_script_writes_the_files_that_are_there(tmp_path):
    script = ROOT / "scripts" / "make_demo_texts.py"
    subprocess.run([sys.executable, script, "--to", tmp_path], check=True)
    assert sorted(str(f.relative_to(tmp_path)) for f in tmp_path.rglob("*.*")) == FILES
    assert filecmp.cmpfiles(FOLDER, tmp_path, FILES, shallow=False) == (FILES, [], [])


@pytest.mark.parametrize(("task", "texts"), [("demo-e2e", 3), ("demo-webnlg", 2)])
def test_every_text_says_what_its_context_says(task, texts):
    data = read(compose([f"task={task}"]).task)
    assert (len(data.train), len(data.eval)) == (900, 40)
    pairs = [(row["context"], [row["text"]]) for row in data.train]
    pairs += [(row["context"], row["references"]) for row in data.eval]
    for context, said in pairs:
        # "name : Fern Rock | dogs : yes" or "Fern_Rock : length : 30 metres"
        parts = [part.split(" : ") for part in context.split(" | ")]
        values = {part[-1] for part in parts if part[0] != "dogs"}
        values |= {part[0].replace("_", " ") for part in parts if len(part) == 3}
        for text in said:
            assert [value for value in values if value not in text] == []
            assert ("dog" in text.lower()) == any(part[0] == "dogs" for part in parts)
    assert {len(said) for _, said in pairs[len(data.train) :]} == {texts}


@pytest.mark.parametrize("task", ["demo-e2e", "demo-webnlg"])
def test_no_name_of_the_development_file_is_in_training(task):
    data = read(compose([f"task={task}"]).task)

    def names(rows):
        found = (re.match(r"(?:name : )?(\w+[ _]\w+)", row["context"]) for row in rows)
        return {match[1].replace("_", " ") for match in found}

    assert names(data.eval)
    assert not names(data.eval) & names(data.train)


def test_one_category_is_not_seen_in_training():
    data = read(compose(["task=demo-webnlg"]).task)
    unseen = {row["category"] for row in data.eval if not row["seen"]}
    assert unseen == {"Garden"}
    assert {row["category"] for row in data.eval if row["seen"]} == {"Ship", "Bridge"}


def test_a_package_that_is_not_there_is_one_sentence():
    config = compose(["task=demo-e2e", "task.data_dir='package://no_such_package/texts'"])
    with pytest.raises(RequestError, match="'no_such_package' is not installed"):
        read(config.task)
    config = compose(["task=demo-e2e", "task.data_dir='package://dylora_exp/nothing'"])
    with pytest.raises(RequestError, match="there is no folder"):
        read(config.task)
