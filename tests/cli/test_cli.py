"""The command as a user meets it: output, exit codes, one sentence for each mistake."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from importlib.metadata import version

import pytest

from dylora_exp.cli import commands
from dylora_exp.cli.commands.list import LISTS
from dylora_exp.cli.entry import main


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def dylora(capsys, *words):
    code = main(list(words))
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def sst2(folder, train="fine\t1\nbad\t0\n"):
    folder.mkdir(parents=True)
    for name in ("train.tsv", "dev.tsv"):
        (folder / name).write_text(f"sentence\tlabel\n{train}")
    return folder


TINY = ["trainer.max_steps=2", "task.max_train_samples=64", "task.max_eval_samples=16"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["task=mrcp"], ["task: 'mrcp' is not one of arc-challenge, arc-easy, boolq, cola"]),
        (["ranks.r_max=0"], ["ranks.r_max: found 0, expected a number at least 1."]),
        (
            ["model=roberta-base", "ranks.r_max=9000"],
            ["ranks.r_max: found 9000, expected at most 768, the hidden width of model"],
        ),
        (["seed=abc"], ["seed: found 'abc', expected a whole number."]),
        (["ranks=geometric", "ranks.p=0"], ["ranks.p: found 0, expected a number above 0 and"]),
        (["ranks=geometric", "ranks.p=1.5"], ["ranks.p: found 1.5, expected a number above 0 and"]),
        (["ranks=powers", "ranks.score=[3]"], ["ranks.score: found 3, expected ranks 1, 2, 4, 8"]),
        (
            ["ranks=custom", "ranks.weights=[1,-1,1,0,0,0,0,0]"],
            ["ranks.weights: found -1.0, expected weights of at least 0."],
        ),
        (
            ["ranks=custom", "ranks.weights=[1,1,1,0,0,0,0,0]"],
            ["ranks.weights: they sum to 3, expected 1."],
        ),
        (["method.score=[]"], ["method.score: found an empty list"]),
        (["model.targets=[]"], ["model.targets: found an empty list"]),
        (
            ["method=finetune", "method.score=[{truncation: svd}]"],
            ["method.score: method 'finetune' has no such setting, only distilled, droplora"],
        ),
        (
            ["method=matryoshka", "method.score=[{truncation: svd, scale: alpha/r}]"],
            ["expected truncation leading, scale alpha/r, or "],
        ),
        (
            ["method=dylora-frozen", "ranks.sample_every=example"],
            ["ranks.sample_every: found example with method.update=row, expected step"],
        ),
        (["method=sorted-lora", "method.share=1"], ["method.share: found 1, expected a number"]),
        (["method=lora", "method.share=0.5"], ["only sorted-lora has."]),
        (["method.alpha=-1"], ["method.alpha: found -1, expected a number above 0."]),
        (["trainer.learnin_rate=1"], ["did you mean 'trainer.learning_rate'?"]),
        (["task=sst2", "task.data_dir=gone"], ["task.data_dir: there is no folder 'gone'."]),
        (["results_dir=/dev/null/x"], ["/dev/null/x/runs: cannot be written to"]),
        (["outputs_dir=/dev/null/x"], ["/dev/null/x: cannot be written to"]),
        (["task=mrcp", "seed=abc"], ["task: 'mrcp'", "seed: found 'abc'"]),
        (
            ["task=sst2", "task.data_dir=gone", "ranks.r_max=65"],
            ["ranks.r_max: found 65", "there is no folder 'gone'"],
        ),
    ],
)
@pytest.mark.parametrize("command", ["run", "validate"])
def test_a_wrong_request_is_one_sentence_each(words, expected, command, capsys, tmp_path):
    if command == "validate" and "_dir=/dev" in words[0]:
        pytest.skip("validate writes nothing, so it asks for no folder")
    code, out, err = dylora(capsys, command, *words)
    lines = err.splitlines()
    assert (code, out, len(lines)) == (2, "", len(expected))
    for line, part in zip(lines, expected, strict=True):
        assert line.startswith("dylora: ")
        assert part in line
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize(
    ("train", "expected"),
    [
        ("fine\t1\nshort\n", "train.tsv:3: found 1 columns, expected 2."),
        ("fine\tmaybe\n", "train.tsv:2: found label 'maybe', expected one of 0, 1."),
    ],
)
def test_a_broken_file_is_named_with_its_line(train, expected, capsys, tmp_path):
    folder = sst2(tmp_path / "SST-2", train)
    (folder / "dev.tsv").write_text("sentence\tlabel\nfine\t1\n")
    code, _, err = dylora(capsys, "run", "task=sst2", f"task.data_dir={folder}")
    assert (code, err) == (2, f"dylora: {folder}/{expected}\n")
    assert not (tmp_path / "results" / "runs" / "x.json").exists()
    assert [p for p in tmp_path.rglob("*") if p.is_file() and p.suffix != ".tsv"] == []


def test_run_prints_the_ranks_and_where_the_record_lies_and_then_does_nothing(capsys, tmp_path):
    code, out, _ = dylora(capsys, "run", *TINY, "ranks.score=[1,8]")
    assert code == 0
    assert "accuracy" in out
    (record,) = (tmp_path / "results" / "runs").glob("*.json")
    assert out.splitlines()[-1] == f"record: results/runs/{record.name}"
    content = record.read_bytes()
    code, out, _ = dylora(capsys, "run", *TINY, "ranks.score=[1,8]")
    assert (code, record.read_bytes()) == (0, content)
    assert f"run {record.stem} is complete, nothing to do" in out


@pytest.mark.slow
def test_ranges_and_globs_are_several_runs(capsys, tmp_path):
    words = ["-q", "run", "-m", "seed=range(0,2)", "ranks=glob([u*,g*])", "ranks.score=[1]", *TINY]
    code, out, _ = dylora(capsys, *words)
    assert (code, out.splitlines()[-1]) == (0, "4 runs: 4 done now")
    records = [json.loads(p.read_text()) for p in (tmp_path / "results" / "runs").iterdir()]
    assert {(r["seed"], r["config"]["ranks"]["distribution"]) for r in records} == {
        *((seed, name) for seed in (0, 1) for name in ("uniform", "geometric"))
    }


def test_multirun_makes_every_combination_from_the_glue_root(capsys, tmp_path):
    sst2(tmp_path / "glue" / "SST-2")
    cola = tmp_path / "glue" / "CoLA"
    cola.mkdir()
    for name in ("train.tsv", "dev.tsv"):
        (cola / name).write_text("s\t1\t\tIt works.\ns\t0\t*\tIt work.\n")
    code, _, _ = dylora(
        capsys,
        "run",
        "-m",
        "task=sst2,cola",
        "method=lora,dylora",
        "task.data_dir=glue",
        "ranks.score=[1]",
        *TINY,
    )
    assert code == 0
    records = [json.loads(p.read_text()) for p in (tmp_path / "results" / "runs").iterdir()]
    found = {(r["task"], r["method"], r["seed"]) for r in records}
    assert len(records) == len(found) == 4
    assert {r["status"] for r in records} == {"completed"}


def test_a_failing_job_does_not_stop_the_others(capsys, tmp_path):
    code, _, err = dylora(
        capsys, "run", "-m", "trainer.learning_rate=1e30,1e-3", "trainer.warmup_steps=0",
        "trainer.max_steps=20", "task.max_train_samples=64", "task.max_eval_samples=16",
        "ranks.score=[1]",
    )  # fmt: skip
    assert code == 1
    assert "1 of 2 runs did not complete" in err
    records = [json.loads(p.read_text()) for p in (tmp_path / "results" / "runs").iterdir()]
    assert sorted(r["status"] for r in records) == ["completed", "failed"]
    assert "learning_rate" in next(r["error"] for r in records if r["status"] == "failed")


@pytest.mark.parametrize(("seeds", "expected"), [("1,abc", 1), ("abc,def", 2)])
def test_a_wrong_job_among_good_ones_is_a_failure(seeds, expected, capsys, tmp_path):
    code, _, err = dylora(capsys, "run", "-m", f"seed={seeds}", "ranks.score=[1]", *TINY)
    assert code == expected
    assert "seed=abc ranks.score=[1]" in err
    assert len(list((tmp_path / "results" / "runs").glob("*.json"))) == 2 - expected


def test_a_folder_that_hydra_cannot_make_is_named(capsys):
    code, _, err = dylora(capsys, "run", "hydra.run.dir=/dev/null/x")
    assert (code, err) == (2, "dylora: /dev/null/x: Not a directory.\n")


@pytest.mark.parametrize("what", LISTS)
def test_lists(what, capsys, tmp_path):
    (tmp_path / "results").mkdir()
    code, out, _ = dylora(capsys, "list", what)
    assert code == 0
    expected = {
        "models": "minilm",
        "tasks": "mrpc",
        "methods": "dylora-frozen",
        "ranks": "uniform",
        "experiments": "demo-sandwich",
        "debug": "overfit",
        "tables": "methods",
        "profiles": "mini-nlg",
        "runs": "runs in results",
    }
    assert expected[what] in out


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["tabels"], "did you mean 'tables'?"),
        (["list", "taks"], "did you mean 'tasks'?"),
        (["tables", "12", "--results", "."], "12"),
        (["tables", "2", "--profile", "dem", "--results", "."], "did you mean 'demo'?"),
        (["tables", "2", "--results", "/dev/null/x"], "there is no folder"),
        (["list", "--reslts", "x"], "did you mean '--results'?"),
        (["run", "--confg-dir", "x"], "did you mean '--config-dir'?"),
        (["-q", "list"], "list: '-q' is not one of"),
        (["tables", "2", "x=1", "--json"], "tables: '--json' is not one of"),
        (["export", "x", "y", "--rank", "1", "--to", "z"], "unrecognized arguments: y"),
        (["tables", "2", "--results", "gone"], "--results: there is no folder 'gone'."),
        (["list", "runs", "--results", "x[/b]"], "--results: there is no folder"),
        (["validate", "method.kind=dylor"], "did you mean 'dylora'?"),
        (["run", "-m", "seed=range(3,1)"], "seed: 'range(3,1)' stands for no value."),
        (["run", "-m", "task=glob(x*)"], "task: 'glob(x*)' stands for no value."),
        (["run", "--cfg", "foo"], "invalid choice: 'foo'"),
        (["run", "-m", "hydra/launcher=jblib"], "did you mean 'joblib'?"),
        (["run", "hydra/sweeper=optuna_lr"], "is now a command: dylora search [overrides]"),
        (["search", "hydra/sweeper=optuna_lr"], "is now a command: dylora search [overrides]"),
        (["search", "--trails", "3"], "did you mean '--trials'?"),
        (["run", "hydra=3"], "must be a string or a list"),
        (["run", "hydra.job.chdir=true"], "hydra.job.chdir: runs name their folders themselves"),
        (["reproduce"], "arguments are required: TABLE; see"),
        (["reproduce", "2", "--launcher", ""], "--launcher: '' is not one of gpu_local"),
        (
            ["validate", "model.pretrained=false", "+model.config.hidden_size=abc"],
            "expected a whole number",
        ),
    ],
)
def test_a_wrong_command_is_one_sentence(words, expected, capsys):
    code, out, err = dylora(capsys, *words)
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert expected in err


LAUNCHED = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "x"}


@pytest.mark.parametrize(
    ("variables", "words", "expected"),
    [
        ({}, ["run", "-m", "seed=1,2"], "-m: found with 2 processes (torchrun)"),
        ({}, ["reproduce", "2"], "reproduce: found several processes, expected one"),
        ({"RANK": "2"}, ["list"], "RANK: found '2' in the environment, expected a number from 0"),
        ({"WORLD_SIZE": "x"}, ["list"], "WORLD_SIZE: found 'x' in the environment"),
    ],
)
def test_what_a_launcher_of_processes_cannot_do(variables, words, expected, capsys, monkeypatch):
    for name, value in {**LAUNCHED, "MASTER_PORT": "1", **variables}.items():
        monkeypatch.setenv(name, value)
    try:
        code = main(words)
    except SystemExit as end:
        code = end.code
    err = capsys.readouterr().err
    assert code == 2 and err.startswith(f"dylora: {expected}"), err


def test_a_changed_record_is_not_taken_for_the_run(capsys, tmp_path):
    assert dylora(capsys, "run", *TINY, "ranks.score=[1]")[0] == 0
    (path,) = (tmp_path / "results" / "runs").glob("*.json")
    tree = json.loads(path.read_text())
    tree["config"]["ranks"]["r_max"] = 4
    path.write_text(json.dumps(tree))
    code, _, err = dylora(capsys, "run", *TINY, "ranks.score=[1]")
    assert code == 2 and "but its config is that of run" in err


def test_a_reader_that_leaves_is_no_failure():
    command = f"{sys.executable} -m dylora_exp validate | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode in (0, 141) and done.stderr == ""


def test_no_command_shows_the_help(capsys):
    with pytest.raises(SystemExit) as end:
        main([])
    assert end.value.code == 0
    assert "examples:" in capsys.readouterr().out


def test_the_version_is_that_of_the_package(capsys):
    with pytest.raises(SystemExit) as end:
        main(["--version"])
    assert end.value.code == 0
    assert capsys.readouterr().out == f"dylora-exp {version('dylora-exp')}\n"


def test_a_new_command_is_one_module(tmp_path, monkeypatch, capsys):
    (tmp_path / "hello.py").write_text(
        "HELP = 'greet'\n"
        "def add_arguments(parser): parser.add_argument('--name', default='you')\n"
        "def run(arguments): print('hello', arguments.name); return 7\n"
    )
    monkeypatch.setattr(commands, "__path__", [*commands.__path__, str(tmp_path)])
    assert dylora(capsys, "hello", "--name", "x") == (7, "hello x\n", "")
    with pytest.raises(SystemExit):
        main(["--help"])
    assert re.search(r"hello +greet", capsys.readouterr().out)


@pytest.mark.parametrize("words", [["-q", "run"], ["run", "-q"], ["run", "-v", "--quiet"]])
def test_quiet_prints_the_last_line_alone_wherever_the_flag_stands(words, capsys):
    code, out, _ = dylora(capsys, *words, *TINY, "ranks.score=[1]")
    assert (code, len(out.splitlines())) == (0, 1)
    assert out.startswith("record: ")


def test_overrides_may_stand_among_the_options_and_the_last_one_counts(capsys):
    words = ["seed=1", "--cfg", "job", "seed=2", "-p", "task", "task=mrpc"]
    code, out, _ = dylora(capsys, "run", *words)
    assert code == 0 and "name: mrpc" in out and "seed" not in out
    _, out, _ = dylora(capsys, "run", "seed=1", "--cfg", "job", "seed=2")
    assert "seed: 2\n" in out


def test_validate_says_which_run_it_is(capsys):
    code, out, _ = dylora(capsys, "validate", "method=lora")
    assert code == 0
    assert out.startswith("valid; run ")


def test_a_killed_run_goes_on_and_ends_the_same(capsys, tmp_path):
    """kill -9 in a process of its own, after a checkpoint has been written."""
    words = ["trainer.max_steps=40", "trainer.save_steps=5", "task.max_train_samples=640",
             "task.max_eval_samples=32", "ranks.score=[1,8]", "method.freeze=strict",
             "trainer.threads=1"]  # fmt: skip
    command = [sys.executable, "-m", "dylora_exp", "run", *words]
    process = subprocess.Popen([*command, "outputs_dir=cut", "results_dir=cut"])
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("cut/*/checkpoint-*/complete.json")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    (left,) = tmp_path.glob("cut/runs/*.json")
    assert json.loads(left.read_text())["status"] == "running"
    for folder in ("cut", "whole"):
        where = [f"outputs_dir={folder}", f"results_dir={folder}"]
        assert dylora(capsys, "run", *words, *where)[0] == 0
    (cut,), (whole,) = (list(tmp_path.glob(f"{f}/runs/*.json")) for f in ("cut", "whole"))
    assert cut.name == whole.name
    cut_scores, whole_scores = (
        [(e["rank"], e["metrics"]) for e in json.loads(path.read_text())["ranks"]]
        for path in (cut, whole)
    )
    assert cut_scores == whole_scores
    cut_weights, whole_weights = (
        (tmp_path / f / cut.stem / "model" / "adapter_model.safetensors").read_bytes()
        for f in ("cut", "whole")
    )
    assert cut_weights == whole_weights
    assert not list(tmp_path.rglob("*.tmp"))


def test_answers_that_need_no_model_load_none():
    """A finished run, lists, tables and wrong words are answered without torch."""
    code = (
        "import sys\n"
        "from dylora_exp.cli.entry import main\n"
        "main(['list', 'tasks']); main(['run', 'task=mrcp'])\n"
        "main(['tables', '2', '--results', '.'])\n"
        "assert not {'torch', 'transformers', 'datasets'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
