"""One run by two processes, started by torchrun, against the same run by one."""

import json
import math
import os
import socket
import subprocess
import sys

import pytest

from dylora_exp.core import processes
from dylora_exp.objectives.torch_parts.batches import SharedBatches, batch_part
from dylora_exp.records.store import RecordStore
from tests.support import watched_runs
from tests.support.choice_items import make_choice_task
from tests.support.small_gpt2 import save_small_gpt2

# 100 examples in batches of 32: the fourth of an epoch has 4 examples, and 5 steps begin a second.
SMALL = [
    *("trainer.max_steps=5", "trainer.save_steps=2", "trainer.batch_size=32"),
    *("task.max_train_samples=100", "task.max_eval_samples=37", "trainer.eval_batch_size=16"),
    *("ranks.score=[1,3,8]", "trainer.threads=1"),
]
CUTS = [f"{{truncation: {t}, scale: alpha/r}}" for t in ("global", "activation", "gradient")]
# The last batch of an epoch has a single example, fewer than there are processes.
ODD = ["task.max_train_samples=97"]
CASES = {
    "odd": ["method=dylora", *ODD],
    "per-example": ["method=dylora", "ranks=per-example", *ODD],
}
SLOW = {
    "random": ["method=dylora", "trainer.order=random", *ODD],
    "nested-dropout": ["method=nested-dropout", "method.examples_per_pass=32"],
    # Three batches, measured by two processes and by one.
    "cuts": ["method=lora", f"method.score=[{','.join(CUTS)}]", "method.calibration_batches=3"],
    "accumulated": ["method=dylora", "trainer.accumulation_steps=2", "trainer.batch_size=16"],
    "strict": ["method=dylora-frozen", "method.freeze=strict"],
    "lora": ["method=lora"],
    "frozen": ["method=dylora-frozen"],
    "micro-batches": [
        *("method=dylora", "ranks.sample_every=micro_batch", "trainer.accumulation_steps=2"),
    ],
    "sandwich": ["method=dylora", "ranks=sandwich"],
    "sorted-lora": ["method=sorted-lora"],
    "matryoshka": ["method=matryoshka"],
    "sorted-again": [
        *("method=sorted-lora-repeated", "method.sort_again=[0.4,0.6]"),
        *("method.row_rates=by_share", "method.loss_power=1"),
    ],
    "distilled": ["method=dylora-distilled", *ODD],
    "droplora": ["method=droplora", "ranks=per-example", *ODD],
    "squeeze": ["method=lora-squeeze", "ranks.score=[1,2]"],
    "nuclear": [
        *("method=lora-nuclear", "method.nuclear_norm=0.01", "trainer.batch_size=16"),
        "trainer.accumulation_steps=2",
    ],
    "finetune": ["method=finetune", "ranks.score=null"],
    "epochs": ["method=dylora", "trainer.score_every=epoch"],
    "four bits": ["method=dylora", "model.quantization=nf4"],
    "eight bits": ["method=dylora", "ranks=per-example", "model.quantization=int8"],
    "half precision": ["method=dylora", "model.dtype=bfloat16"],
    "checkpointing": ["method=dylora", "trainer.gradient_checkpointing=true"],
}


def torchrun(*words, count=2):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        *(sys.executable, "-m", "torch.distributed.run", f"--nproc_per_node={count}"),
        *("--master_addr=127.0.0.1", f"--master_port={port}", *words),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.run(command, capture_output=True, text=True, timeout=500, env=environment)


class Both:
    """The same cases by one process and by two."""

    def __init__(self, folder, cases):
        self.folder = folder
        file = folder / "cases.json"
        file.write_text(json.dumps(cases))
        self.done = torchrun(watched_runs.__file__, str(file), str(folder / "two"))
        assert self.done.returncode == 0, self.done.stderr
        watched_runs.main(cases, folder / "one")

    def notes(self, name):
        """Return what one process saw of a case, and what each of two did."""
        return (
            json.loads((self.folder / "one" / f"{name}-notes-0.json").read_text()),
            [
                json.loads((self.folder / "two" / f"{name}-notes-{index}.json").read_text())
                for index in range(2)
            ],
        )

    def records(self, name):
        return [
            RecordStore(self.folder / count / name / "results").read_all()[0][0]
            for count in ("one", "two")
        ]


def compare(both, name):
    alone, together = both.notes(name)
    assert len(alone) == len(together[0]) == len(together[1]) > 0
    for one, *two in zip(alone, *together, strict=True):
        step, index, ranks, loss, ids = one
        assert [note[:2] for note in two] == [[step, index]] * 2
        rows = [batch_part(len(ids), place, 2).rows for place in range(2)]
        for note, part in zip(two, rows, strict=True):
            # These stack the batch at several ranks, and so each process its own part.
            if name not in ("nested-dropout", "distilled"):
                assert note[2] == (ranks if len(ranks) <= 1 else [ranks[row] for row in part])
            width = len(note[4][0])  # padded to the longest of its own
            assert note[4] == [ids[row][:width] for row in part]
        # Each loss is weighed so that their mean is that of all examples.
        assert math.isclose(sum(note[3] for note in two) / 2, loss, abs_tol=1e-5)
    one, two = both.records(name)
    assert two.run_id == one.run_id
    for ours, theirs in zip(one.ranks, two.ranks, strict=True):
        assert (ours.rank, ours.truncation, ours.scale) == (
            *(theirs.rank, theirs.truncation, theirs.scale),
        )
        assert ours.metrics == theirs.metrics
        assert ours.layer_ranks == theirs.layer_ranks
    assert one.training.get("drawn_ranks") == two.training.get("drawn_ranks")
    assert (one.timing["steps"], one.parameters) == (two.timing["steps"], two.parameters)
    assert len(one.epochs) == len(two.epochs)
    assert two.environment["processes"] == 2
    assert set(json.loads(one.to_json())) == set(json.loads(two.to_json()))


def prepare(tmp_path_factory, cases):
    folder = tmp_path_factory.mktemp("processes")
    for count in ("one", "two"):
        (folder / count).mkdir()
    return Both(folder, cases)


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    cases = {name: {"words": [*SMALL, *words]} for name, words in CASES.items()}
    cases["resumed"] = {"words": [*SMALL, "method=dylora", "seed=3"], "kill_at": [3, 4]}
    return prepare(tmp_path_factory, cases)


@pytest.mark.parametrize("name", CASES)
def test_two_processes_do_as_one(name, both):
    compare(both, name)


def test_two_processes_go_on_as_one(both):
    """Killed at steps 3 and 4: the last piece of each begins at the checkpoint of step 4 or 2."""
    alone, together = both.notes("resumed")
    assert alone[0][0] == together[0][0][0] > 0
    compare(both, "resumed")


@pytest.mark.slow
def test_two_processes_go_on_in_the_random_order_that_they_began(tmp_path_factory):
    """With the batches of one process, and with the batches of a run that was not interrupted."""
    # Two batches an epoch: the checkpoint is within the second.
    random = ["trainer.order=random", "task.max_train_samples=64", "trainer.save_steps=3"]
    words = [*SMALL, "method=dylora", "seed=3", *random]
    cases = {"whole-random": {"words": words}, "resumed-random": {"words": words, "kill_at": [4]}}
    both = prepare(tmp_path_factory, cases)
    alone, together = both.notes("resumed-random")
    compare(both, "resumed-random")
    whole, whole_of_two = both.notes("whole-random")
    assert alone[0][0] == 3
    assert [note[4] for note in alone] == [note[4] for note in whole[3:]]
    for resumed, uninterrupted in zip(together, whole_of_two, strict=True):
        assert resumed == uninterrupted[3:]


def test_only_the_main_process_prints_and_leaves_files(both):
    assert both.done.stdout.count("dylora") == 0  # execute itself prints nothing
    left = {
        path.relative_to(both.folder / "two" / "odd").as_posix()
        for path in (both.folder / "two" / "odd").rglob("*")
        if path.is_file()
    }
    ours = {
        path.relative_to(both.folder / "one" / "odd").as_posix()
        for path in (both.folder / "one" / "odd").rglob("*")
        if path.is_file()
    }
    assert left == ours
    log = next((both.folder / "two" / "odd").rglob("run.log")).read_text()
    assert log.count(" begins in process ") == 1


@pytest.mark.slow
def test_every_method_by_two_processes(tmp_path_factory):
    cases = {name: {"words": [*SMALL, *words]} for name, words in SLOW.items()}
    both = prepare(tmp_path_factory, cases)
    for name in SLOW:
        compare(both, name)


@pytest.mark.slow
def test_texts_are_decoded_by_two_processes_as_by_one(tmp_path_factory):
    folder = tmp_path_factory.mktemp("texts")
    model = folder / "model"
    save_small_gpt2(model)
    words = [
        *("profile=demo-nlg", "trainer.max_steps=3", "task.max_train_samples=64"),
        *("task.max_eval_samples=13", "trainer.eval_batch_size=4", "task.metrics=[bleu]"),
        *(f"model.name_or_path={model}", "ranks.score=[1,4]", "trainer.threads=1"),
        *("task.decode.max_new_tokens=8", "method.dropout=0", "trainer.batch_size=8"),
    ]
    both = prepare(tmp_path_factory, {"texts": {"words": words}})
    compare(both, "texts")
    one, two = (
        sorted((both.folder / count / "texts").rglob("predictions/*.jsonl"))
        for count in ("one", "two")
    )
    assert [path.name for path in one] == [path.name for path in two] != []

    def texts(path):
        lines = map(json.loads, path.read_text().splitlines())
        return sorted(pair for line in lines for pair in line.get("texts", []))

    assert [texts(path) for path in one] == [texts(path) for path in two]


@pytest.mark.slow
def test_choices_are_scored_by_two_processes_as_by_one(tmp_path_factory):
    words = [
        *make_choice_task(tmp_path_factory.mktemp("choices"), 37),
        *("method=dylora", "ranks.r_max=4", "ranks.score=[1,4]", "trainer.max_steps=3"),
        *("trainer.batch_size=8", "trainer.eval_batch_size=4", "trainer.threads=1"),
    ]
    both = prepare(tmp_path_factory, {"choices": {"words": words}})
    compare(both, "choices")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "code", "expected"),
    [
        (["trainer.batch_size=33"], 2, "trainer.batch_size: found 33 with 2 processes"),
        (["task=mrcp"], 2, "did you mean 'mrpc'"),
        (["trainer.learning_rate=1e30", "trainer.max_steps=30"], 1, "run failed: "),
    ],
)
def test_what_goes_wrong_is_said_once_and_ends_all(words, code, expected, tmp_path):
    to = [f"results_dir={tmp_path / 'results'}", f"outputs_dir={tmp_path / 'outputs'}"]
    done = torchrun("-m", "dylora_exp", "run", *SMALL, *words, *to)
    assert done.returncode != 0
    said = [line for line in done.stderr.splitlines() if line.startswith("dylora: ")]
    assert len(said) == 1 and expected in said[0], done.stderr
    assert f"exitcode  : {code}" in done.stderr


SHARED = """
import sys
from dylora_exp.core import *

def outcome(main, worker):
    try:
        return run_distributed(main, worker, lambda error: OSError(f"recorded {error}"))
    except Exception as error:
        return f"{type(error).__name__} {error}"

def work():
    start_workers()
    return gather(process_index())

class Unpicklable(Exception):
    def __reduce__(self):
        raise TypeError

def fail():
    start_workers()
    raise Unpicklable("of main")

def leave():
    raise ValueError("of a worker")

if sys.argv[1] == "together":
    results = [outcome(work, work), outcome(fail, lambda: None), outcome(leave, work)]
    print("\\n", process_index(), results, end="\\n", flush=True)
else:
    outcome(work, leave)
"""


def test_results_and_errors_of_the_main_process_are_those_of_all(tmp_path):
    (tmp_path / "script.py").write_text(SHARED)
    done = torchrun(str(tmp_path / "script.py"), "together")
    assert done.returncode == 0, done.stderr
    lines = sorted(line.split(" ", 2)[1:] for line in done.stdout.splitlines() if "[" in line)
    of_main = "[[0, 1], 'Unpicklable of main', 'ValueError of a worker']"
    of_worker = "[[0, 1], 'RuntimeError Unpicklable: of main', 'ValueError of a worker']"
    assert lines == [["0", of_main], ["1", of_worker]]


@pytest.mark.slow
def test_a_worker_that_fails_alone_reports_and_ends_all(tmp_path):
    """The main process waits for it in a collective operation."""
    (tmp_path / "script.py").write_text(SHARED)
    done = torchrun(str(tmp_path / "script.py"), "worker")
    assert done.returncode != 0
    assert done.stderr.count("dylora: run failed: recorded of a worker") == 1


def test_batches_are_shared_without_loss_and_repetition():
    order = list(range(23))
    shares = [list(SharedBatches(order, 8, place, 3)) for place in range(3)]
    for number, start in enumerate((0, 8, 16)):
        whole = [row for share in shares for row in share[number]]
        assert whole == order[start : start + 8]
    assert len(SharedBatches(order, 8, 0, 3)) == 3


def test_a_batch_smaller_than_the_number_of_processes():
    parts = [batch_part(1, place, 3) for place in range(3)]
    assert sum(part.counts for part in parts) == 1
    assert all(len(part.rows) == 1 for part in parts)


def test_one_process_is_not_asked_of_a_launcher(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "4")  # as a scheduler may leave it, without the rest
    assert (processes.process_count(), processes.is_main_process()) == (1, True)
    assert processes.gather("x") == ["x"] and processes.broadcast_from_main(lambda: 3) == 3
