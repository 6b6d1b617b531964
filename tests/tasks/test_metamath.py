"""MetaMathQA to train, GSM8K to score: two data sets, in files and on the hub."""

import json

import datasets
import pytest

from dylora_exp.config.composition import compose
from dylora_exp.core.errors import RequestError
from dylora_exp.tasks.base import checksums, read, repositories

TRAIN = [
    {"query": "Is it 1?", "response": "Yes.\nThe answer is: 1", "type": "GSM_AnsAug"},
    {"query": "q" * 700, "response": "r" * 599, "type": "GSM_AnsAug"},  # 1,300 with the space
    {"query": "q" * 700, "response": "r" * 600, "type": "GSM_AnsAug"},
]
TEST = [{"question": "q" * 2000, "answer": "Yes.\n#### 1"}]
PROMPT = "Question: Is it 1? Think step by step.\nAnswer:"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "GSM8K").mkdir()
    (tmp_path / "MetaMathQA-395K.json").write_text(json.dumps(TRAIN))
    (tmp_path / "GSM8K" / "test.jsonl").write_text(json.dumps(TEST[0]) + "\n")
    return tmp_path


def check(data):
    assert data.train["prompt"][0] == PROMPT
    assert data.train["completion"][0] == TRAIN[0]["response"]
    assert [len(text) for text in data.train["completion"]][1:] == [599]
    assert data.eval["reference"][:] == ["Yes.\n#### 1"]  # of a question of any length
    assert [source.get("left_out") for source in data.sources] == [1, None]


def test_long_items_of_the_training_file_alone_are_left_out(folder):
    task = compose(["task=metamath", f"task.data_dir={folder}"]).task
    check(read(task))
    assert set(checksums(task)) == {"MetaMathQA-395K.json", "test.jsonl"}
    none = compose(
        ["task=metamath", f"task.data_dir={folder}", "task.train_where='query == 1'"]
    ).task
    with pytest.raises(RequestError, match=r"no examples in it, task\.train_where leaves out 3\."):
        read(none)


def test_files_of_ones_own_are_named_by_their_contents_too(folder):
    files = f"{{train: {folder}/MetaMathQA-395K.json, eval: {folder}/GSM8K/test.jsonl}}"
    task = compose(["task=metamath", f"task.data_files={files}"]).task
    check(read(task))
    assert set(checksums(task)) == {"MetaMathQA-395K.json", "test.jsonl"}


def test_a_wrong_expression_is_named_before_and_a_wrong_column_with_its_row(folder):
    with pytest.raises(RequestError, match=r"task\.train_where: found 'query <', which is no expr"):
        compose(["task=metamath", "task.train_where='query <'"])
    words = ["task=metamath", f"task.data_dir={folder}", "task.train_where=qery"]
    with pytest.raises(RequestError, match=r"395K\.json: entry 1: task\.train_where.*'query'\?"):
        read(compose(words).task)


def test_the_hub_has_them_in_two_data_sets(monkeypatch):
    asked = []

    def load_dataset(path, name, split):
        asked.append((path, name, split))
        return datasets.Dataset.from_list(TRAIN if "Meta" in path else TEST)

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    task = compose(["task=metamath"]).task
    data = read(task)
    check(data)
    assert asked == [
        ("meta-math/MetaMathQA", None, "train"),
        ("openai/gsm8k", "main", "test"),
    ]
    assert [source["dataset"] for source in data.sources] == [
        "meta-math/MetaMathQA/None:train",
        "openai/gsm8k/main:test",
    ]
    names = [source.name for source in repositories(task)]
    assert names == ["meta-math/MetaMathQA", "openai/gsm8k"]
    assert [source.name for source in repositories(compose(["task=gsm8k"]).task)] == names[1:]
