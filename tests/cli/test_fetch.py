"""Fetching from publishers, played by files on this machine."""

import hashlib

import pytest

from dylora_exp.cli.entry import main
from dylora_exp.cli.fetch import FetchFailed, fetch
from dylora_exp.config.composition import compose
from dylora_exp.config.overrides import options
from dylora_exp.config.run_identity import run_id
from dylora_exp.config.schema import PublishedFile, TaskConfig


def published(tmp_path, content=b"mr,ref\n", sha256=True):
    source = tmp_path / "source"
    source.write_bytes(content)
    digest = hashlib.sha256(b"mr,ref\n").hexdigest() if sha256 else None
    file = PublishedFile(name="e2e/devset.csv", url=source.as_uri(), sha256=digest)
    return TaskConfig(name="e2e", objective="generation", published=[file])


def left(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


@pytest.mark.parametrize("known", [True, False])
def test_a_file_is_put_in_place_and_says_whether_it_was_checked(known, tmp_path):
    target = tmp_path / "data"
    ((path, checked),) = fetch(published(tmp_path, sha256=known), target)
    assert (path.read_bytes(), checked) == (b"mr,ref\n", known)
    assert left(target) == ["e2e/devset.csv"]


def test_what_is_there_and_right_is_not_fetched_again(tmp_path):
    task = published(tmp_path)
    fetch(task, tmp_path / "data")
    (tmp_path / "source").unlink()
    fetch(task, tmp_path / "data")


def test_what_is_there_and_damaged_is_fetched_again(tmp_path):
    task = published(tmp_path)
    ((path, _),) = fetch(task, tmp_path / "data")
    path.write_bytes(b"mr")
    fetch(task, tmp_path / "data")
    assert path.read_bytes() == b"mr,ref\n"


def test_another_file_than_expected_is_refused_and_nothing_is_left(tmp_path):
    with pytest.raises(FetchFailed, match=r"its sha256 is .*, expected"):
        fetch(published(tmp_path, b"other"), tmp_path / "data")
    assert left(tmp_path / "data") == []


def test_a_file_that_cannot_be_had_is_one_sentence(tmp_path):
    task = published(tmp_path)
    (tmp_path / "source").unlink()
    with pytest.raises(FetchFailed, match="could not be fetched"):
        fetch(task, tmp_path / "data")
    assert left(tmp_path / "data") == []


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["fetch", "e3e"], "did you mean 'e2e'?"),
        (["get", "e2e"], "data: 'get' is not one of fetch"),
        (["fetch", "mrpc"], "HF_HUB_OFFLINE: it is set, so the hub is not asked"),
    ],
)
def test_a_wrong_request_is_one_sentence(words, expected, tmp_path, capsys):
    assert main(["data", *words, "--to", str(tmp_path)]) == 2
    assert expected in capsys.readouterr().err


def test_every_task_that_is_generated_says_where_its_files_are():
    for name in options("task"):
        task = compose([f"task={name}"]).task
        if task.scored == "texts" and not task.data_dir:
            assert {file.url.split(":")[0] for file in task.published} == {"https"}
            assert all(file.name.startswith(f"{name}/") for file in task.published)


def test_what_comes_with_the_project_needs_no_fetching(tmp_path, capsys):
    assert main(["data", "fetch", "demo", "demo-e2e", "demo-webnlg", "--to", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert out.count("comes with the project, there is nothing to fetch") == 3
    assert left(tmp_path) == []


def test_where_files_are_published_is_no_part_of_a_run():
    config = compose(["task=e2e"])
    before = run_id(config)
    config.task.published = []
    assert run_id(config) == before
