"""Machines without a network: fetched from a hub played on this machine, then used alone."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from datasets import ClassLabel, Dataset, Features, Value

import dylora_exp
from dylora_exp.cli.entry import main
from dylora_exp.config.composition import compose
from dylora_exp.config.run_identity import run_id
from dylora_exp.core.errors import RequestError
from dylora_exp.core.packages import install_command
from dylora_exp.models.architecture import model_problems, resolve
from dylora_exp.models.loading import load, revision
from dylora_exp.runner.preflight import check
from dylora_exp.runner.run import run_if_needed
from dylora_exp.tasks.base import read
from tests.support.fake_hub import FakeHub, serving

TINY_MODEL = Path(dylora_exp.__file__).parent / "models" / "tiny-roberta"
MODEL = "model=roberta-base"
NOWHERE = "http://127.0.0.1:9"  # no one listens there

# The hub's client waits longer before each new try; here nothing gets better by waiting.
FETCH = """
import contextlib, io, json, sys, time
from dylora_exp.cli.entry import main
time.sleep = lambda seconds: None
for words in json.loads(sys.argv[1]):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(words)
    print(json.dumps([code, out.getvalue(), err.getvalue()]))
"""


def fetching(address, *commands):
    """Run commands in one process that knows the hub by an address; return what each gave."""
    environment = {**os.environ, "HF_ENDPOINT": address, "HF_HUB_OFFLINE": "0"}
    command = [sys.executable, "-c", FETCH, json.dumps(commands)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def parquet(folder, rows):
    labels = ClassLabel(names=["not_equivalent", "equivalent"])
    names = {"sentence1": Value("string"), "sentence2": Value("string"), "label": labels}
    columns = {
        "sentence1": [f"the food is tasty {i}" for i in range(rows)],
        "sentence2": [f"the food is {'tasty' if i % 2 else 'stale'} {i}" for i in range(rows)],
        "label": [i % 2 for i in range(rows)],
    }
    file = folder / "x.parquet"
    Dataset.from_dict(columns, features=Features(names)).to_parquet(file)
    return file.read_bytes()


CARD = """---
configs:
- config_name: ax
  data_files:
  - {split: test, path: ax/test-*}
- config_name: mrpc
  data_files:
  - {split: train, path: mrpc/train-*}
  - {split: validation, path: mrpc/validation-*}
---
# GLUE
"""


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hub-made")
    hub = FakeHub()
    model = {file.name: file.read_bytes() for file in TINY_MODEL.iterdir()}
    others = {"pytorch_model.bin": b"a pickle", "run.py": b"code", "onnx/config.json": b"{}"}
    hub.model = hub.add("model", "roberta-base", {**model, **others})
    weights = model.pop("model.safetensors")
    hub.add("model", "someone/pickled", {**model, "pytorch_model.bin": b"a pickle"})
    hub.add("model", "someone/cut", {**model, "other.safetensors": weights})
    hub.data = hub.add(
        "dataset",
        "nyu-mll/glue",
        {
            "README.md": CARD.encode(),
            "glue.py": b"code",
            "ax/test-00000-of-00001.parquet": parquet(folder, 2),
            "mrpc/train-00000-of-00001.parquet": parquet(folder, 64),
            "mrpc/validation-00000-of-00001.parquet": parquet(folder, 20),
        },
    )
    return hub


@pytest.fixture(scope="module")
def fetched(hub, tmp_path_factory):
    """The prepared folder, and what each command that prepared it gave."""
    folder = tmp_path_factory.mktemp("hub cache")
    to = ["--to", str(folder)]
    with serving(hub) as address:
        commands = {
            "model": ["models", "fetch", "roberta-base", "tiny-roberta", "minilm", *to],
            "again": ["models", "fetch", "roberta-base", *to],
            "data": ["data", "fetch", "mrpc", "rte", "demo", *to],
            "pickled": ["models", "fetch", "someone/pickled", *to],
            "absent": ["models", "fetch", "someone/nothing", *to],
            "old": ["models", "fetch", "roberta-base@v9", *to],
            "at": ["models", "fetch", f"roberta-base@{hub.model}", *to],
            "hub": ["models", "fetch", "nothing", "--hub", *to],
        }
        return folder, dict(zip(commands, fetching(address, *commands.values()), strict=True))


@pytest.fixture
def alone(monkeypatch):
    """Let nothing of this process reach any network."""

    def refuse(*arguments):
        raise AssertionError(f"asked the network: {arguments}")

    monkeypatch.setattr(socket.socket, "connect", refuse)


def left(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_a_model_is_fetched_without_pickles_and_code(fetched, hub):
    folder, said = fetched
    snapshot = folder / "models--roberta-base" / "snapshots" / hub.model
    assert left(snapshot) == left(TINY_MODEL)
    code, out, _ = said["model"]
    assert code == 0
    assert out.splitlines() == [
        f"roberta-base: {snapshot}",
        "tiny-roberta: comes with a Python package, there is nothing to fetch",
        f"minilm: comes with a Python package ({install_command('minilm')}), there is nothing "
        "to fetch",
        f"use it with: hub_cache={folder}",
    ]
    assert not any(path.endswith((".bin", ".py")) for _, path in hub.asked)


def test_what_is_there_is_not_fetched_again(fetched, hub):
    assert fetched[1]["again"][0] == 0
    weights = [path for method, path in hub.asked if method == "GET" and "model.safet" in path]
    assert len(weights) == len(set(weights))


def test_data_are_fetched_once_for_all_tasks_of_a_repository(fetched, hub):
    folder, said = fetched
    snapshot = folder / "datasets--nyu-mll--glue" / "snapshots" / hub.data
    code, out, _ = said["data"]
    assert code == 0
    assert out.splitlines() == [
        f"mrpc: {snapshot}",
        f"rte: {snapshot}",
        "demo: comes with the project, there is nothing to fetch",
        f"use it with: hub_cache={folder}",
    ]
    assert "glue.py" not in left(snapshot)


@pytest.mark.parametrize(
    ("command", "code", "expected"),
    [
        ("pickled", 1, "'someone/pickled': it has no safetensors weights; pickles are not"),
        ("absent", 2, "'someone/nothing': the hub has no such model, or it is private"),
        ("old", 2, "'roberta-base': it has no revision 'v9'."),
        ("hub", 2, "'nothing': the hub has no such model"),
        ("at", 0, ""),
    ],
)
def test_what_the_hub_has_not_is_one_sentence(command, code, expected, fetched):
    found, _, err = fetched[1][command]
    assert found == code
    assert expected in err
    assert err.count("\n") == bool(code)


@pytest.mark.slow
def test_a_fetch_goes_on_where_it_broke_off(hub, tmp_path):
    to = ["--to", str(tmp_path / "cache")]
    with serving(hub) as address:
        hub.cut.add("other.safetensors")
        ((code, _, err),) = fetching(address, ["models", "fetch", "someone/cut", *to])
        hub.cut.clear()
        assert (code, err.count("\n")) == (1, 1), err
        assert "'someone/cut': could not be fetched" in err
        hub.asked.clear()
        ((code, out, _),) = fetching(address, ["models", "fetch", "someone/cut", *to])
    assert (code, "use it with" in out) == (0, True)
    asked = [path for method, path in hub.asked if method == "GET" and "/resolve/" in path]
    assert [path.rpartition("/")[2] for path in asked] == ["other.safetensors"]


def test_a_run_needs_nothing_but_the_prepared_folder(fetched, hub, alone, tiny_words):
    folder, _ = fetched
    words = [*tiny_words, MODEL, "task=mrpc", f"hub_cache={folder}", "trainer.max_steps=1"]
    check(compose(words), fetch=False)
    record = run_if_needed(compose(words)).record
    assert record.status == "completed"
    assert {source["revision"] for source in record.data} == {hub.data}
    assert [source["dataset"] for source in record.data] == [
        "nyu-mll/glue/mrpc:train",
        "nyu-mll/glue/mrpc:validation",
    ]
    assert [source["rows"] for source in record.data] == [64, 20]
    assert record.environment["model_revision"] == hub.model
    assert str(folder) not in record.to_json()


def test_a_merged_export_finds_its_model_in_the_folder(fetched, alone, tiny_words, tmp_path):
    folder, _ = fetched
    words = [*tiny_words, MODEL, "trainer.max_steps=1", f"hub_cache={folder}"]
    run = run_if_needed(compose(words)).record.run_id
    places = ["--results", str(tmp_path / "results"), "--outputs", str(tmp_path / "outputs")]
    to = ["--to", str(tmp_path / "whole")]
    assert main(["export", run, "--rank", "2", "--merge", *to, *places]) == 0
    assert (tmp_path / "whole" / "model.safetensors").is_file()


def test_the_folder_is_no_part_of_a_run(fetched):
    assert run_id(compose([MODEL])) == run_id(compose([MODEL, f"hub_cache={fetched[0]}"]))


def test_hub_names_are_read_from_the_folder(fetched, hub, alone):
    cache = f"hub_cache={fetched[0]}"
    config = compose([MODEL, cache, "ranks.r_max=65"])
    assert resolve(config.model, hub_cache=config.hub_cache).endswith(hub.model)
    (problem,) = model_problems(
        config
    )  # the settings of the model there are known before it is loaded
    assert "expected at most 64" in problem
    backbone, tokenizer = load(config.model, 2, config.hub_cache)
    assert revision(backbone) == {"model_revision": hub.model}
    assert tokenizer("a")["input_ids"]
    at = compose([MODEL, cache, f"model.revision={hub.model}"])
    assert model_problems(at) == []


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["model=gpt2"], "model.name_or_path: 'gpt2' is not in hub_cache '{0}'; on a machine with "
         "a network: dylora models fetch gpt2 --to {0}"),
        (["model.name_or_path=org/name"], "dylora models fetch org/name --to {0}"),
        (["model.name_or_path=name"], "dylora models fetch name --hub --to {0}"),
        ([MODEL, "model.revision=v2"], "'roberta-base' (revision v2) is not in hub_cache '{0}'; on "
         "a machine with a network: dylora models fetch roberta-base@v2 --to {0}"),
        ([MODEL, "model.tokenizer=org/words"], "model.tokenizer: 'org/words' is not in hub_cache"),
        (["task=e2e"], "dylora data fetch e2e --to {0} fetches them"),
    ],
)  # fmt: skip
def test_what_is_not_in_the_folder_is_named_with_the_command(words, expected, fetched, alone):
    with pytest.raises(RequestError) as error:
        check(compose([*words, f"hub_cache={fetched[0]}"]), fetch=False)
    (problem,) = error.value.problems
    assert expected.format(fetched[0]) in problem


def test_an_empty_or_broken_off_folder_is_said(fetched, tmp_path, alone):
    words = ["task=mrpc", "hub_cache="]
    for folder, place in (("", "empty"), (", there is no such folder", "nowhere")):
        (tmp_path / "empty").mkdir(exist_ok=True)
        with pytest.raises(RequestError) as error:
            check(compose([words[0], f"hub_cache={tmp_path / place}"]), fetch=False)
        assert error.value.problems == [
            f"task.data_dir: 'nyu-mll/glue' is not in hub_cache '{tmp_path / place}'{folder}; on a "
            f"machine with a network: dylora data fetch mrpc --to {tmp_path / place}"
        ]
    snapshot = next((fetched[0] / "models--roberta-base" / "snapshots").iterdir())
    weights = snapshot / "model.safetensors"
    place = weights.readlink()
    weights.unlink()
    try:
        (problem,) = model_problems(compose([MODEL, f"hub_cache={fetched[0]}"]))
    finally:
        weights.symlink_to(place)
    assert problem.startswith("model.name_or_path: 'roberta-base' is not whole in hub_cache")


def test_random_weights_need_no_fetching(tmp_path, alone):
    words = [MODEL, "model.pretrained=false", f"hub_cache={tmp_path}"]
    assert model_problems(compose(words)) == []


def test_published_files_are_found_where_fetching_puts_them(tmp_path, alone):
    place = tmp_path / "e2e"
    place.mkdir()
    for name in ("trainset", "testset_w_refs"):
        text = 'mr,ref\n"name[A], food[B]",A has B.\n'
        (place / f"{name}.csv").write_text(text, encoding="utf-8")
    config = compose(["task=e2e", f"hub_cache={tmp_path}"])
    assert read(config.task, config.hub_cache).train["text"] == ["A has B."]


def test_without_a_network_the_command_is_said(monkeypatch):
    with pytest.raises(RequestError) as error:
        load(compose([MODEL]).model, labels=2)
    assert error.value.problems == [
        "model.name_or_path: 'roberta-base' is not on this machine (HF_HUB_OFFLINE is set); on one "
        "with a network: dylora models fetch roberta-base --to DIR, then here: hub_cache=DIR"
    ]
    with pytest.raises(RequestError) as error:
        read(compose(["task=rte"]).task)
    assert error.value.problems == [
        "task.data_dir: 'nyu-mll/glue' is not on this machine (HF_HUB_OFFLINE is set); on one with "
        "a network: dylora data fetch rte --to DIR, then here: hub_cache=DIR"
    ]


def test_fetching_without_a_network_is_one_sentence(tmp_path):
    to = ["--to", str(tmp_path)]
    commands = [["models", "fetch", "all", *to], ["data", "fetch", "mrpc", *to]]
    for code, _, err in fetching(NOWHERE, *commands):
        assert (code, err.count("\n")) == (1, 1)
        assert "could not be fetched (ConnectionRefusedError" in err


def test_fetching_offline_is_a_wrong_request(tmp_path, capsys):
    assert main(["models", "fetch", "roberta-base", "--to", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith("dylora: HF_HUB_OFFLINE: it is set")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["models", "fetch", "robeta-base"], "did you mean 'roberta-base'? A model of the hub: "),
        (["models", "get", "gpt2"], "models: 'get' is not one of fetch"),
        (["data", "fetch", "mrpcc", "al"], "task: 'mrpcc' is not one of all,"),
    ],
)
def test_a_wrong_name_is_one_sentence_each(words, expected, tmp_path, capsys):
    assert main([*words, "--to", str(tmp_path)]) == 2
    assert expected in capsys.readouterr().err


def test_a_local_folder_needs_no_fetching(tmp_path, capsys):
    assert main(["models", "fetch", str(TINY_MODEL), "--to", str(tmp_path)]) == 0
    assert "a folder on this machine, there is nothing to fetch" in capsys.readouterr().out
