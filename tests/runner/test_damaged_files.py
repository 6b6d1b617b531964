"""Random damage to a run's files: what comes out is the run's own result or one sentence.

Each seed damages a few files of an interrupted or of a completed run, whose neighbour, a run of
another seed, must stay as it is.
"""

import json
import random
import shutil

import pytest

from dylora_exp.config.composition import compose
from dylora_exp.config.run_identity import run_id
from dylora_exp.core.errors import RequestError
from dylora_exp.records.store import RecordStore
from dylora_exp.runner.exporting import export
from dylora_exp.runner.run import RunFailed, run_if_needed
from dylora_exp.training.trainer import MethodTrainer
from tests.support.compared_records import without_times

WORDS = [
    *["trainer.max_steps=6", "trainer.save_steps=2", "trainer.score_every=epoch"],
    *["task.max_train_samples=64", "task.max_eval_samples=20", "ranks.r_max=2"],
]
STEP = MethodTrainer.training_step


def composed(folder, seed=10):
    places = [f"results_dir={folder / 'results'}", f"outputs_dir={folder / 'outputs'}"]
    return compose([*WORDS, *places, f"seed={seed}"])


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A folder of completed runs and one of interrupted ones, of two seeds each."""
    folder = tmp_path_factory.mktemp("runs")

    def stop(trainer, *arguments):
        if trainer.state.global_step == 5:
            raise KeyError("stopped")
        return STEP(trainer, *arguments)

    for seed in (10, 11):
        run_if_needed(composed(folder / "whole", seed))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(MethodTrainer, "training_step", stop)
            with pytest.raises(RunFailed):
                run_if_needed(composed(folder / "cut", seed))
    return folder


def flip(path, draw):
    content = bytearray(path.read_bytes() or b"\0")
    content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    path.write_bytes(content)


def cut_short(path, draw):
    path.write_bytes(path.read_bytes()[: draw.randrange(path.stat().st_size + 1)])


def replace(path, draw):
    nothing = (b"", b"{}", b"[]", b"null", b"\xff\xfe", b"[" * 9999, b'{"a": NaN}')
    path.write_bytes(draw.choice(nothing))


def swap(path, draw):
    """Take the file of the same name of the other run, or of another kind."""
    one, other = (run_id(composed(path, seed)) for seed in (10, 11))
    path.write_bytes(type(path)(str(path).replace(one, other)).read_bytes())


def change(path, draw):
    try:
        tree = json.loads(path.read_text())
        tree[draw.choice(sorted(tree))] = draw.choice([None, -1, "x", [], {}, 1e9, True])
    except (ValueError, TypeError, AttributeError, IndexError):
        return flip(path, draw)
    return path.write_text(json.dumps(tree))


def make_folder(path, draw):
    path.unlink()
    path.mkdir()


def add(path, draw):
    name = draw.choice(["model.safetensors", "scores.json", ".x.tmp", "checkpoint-99", "step-x"])
    (path.parent / name).write_bytes(path.read_bytes())


DAMAGES = (flip, cut_short, replace, swap, change, make_folder, add, lambda path, _: path.unlink())


@pytest.mark.parametrize(
    "seed", [*range(2), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(2, 12))]
)
def test_nothing_damaged_is_believed_and_nothing_valid_is_lost(seed, runs, tmp_path):
    draw = random.Random(seed)
    work = tmp_path / "work"
    shutil.copytree(runs / draw.choice(["cut", "cut", "whole"]), work)
    one, other = (run_id(composed(work, each)) for each in (10, 11))
    for _ in range(draw.choice([1, 1, 2, 3])):
        files = sorted(path for path in work.rglob("*") if path.is_file() and one in str(path))
        draw.choice(DAMAGES)(draw.choice(files), draw)
    neighbour = contents(work, other)
    try:
        outcome = run_if_needed(composed(work))
    except RequestError as error:
        refused = error.problems
    else:
        refused = []
        expected = RecordStore(runs / "whole" / "results").find(one)
        assert without_times(outcome.record) == without_times(expected)
        weights = work / "outputs" / one / "model" / "adapter_model.safetensors"
        whole = runs / "whole" / weights.relative_to(work)
        assert weights.read_bytes() == whole.read_bytes()
        export(one, "1", tmp_path / "exported", work / "results", work / "outputs")
    assert all("\n" not in problem for problem in refused)
    assert contents(work, other) == neighbour
    RecordStore(work / "results").read_all()


def contents(folder, name):
    found = sorted(path for path in folder.rglob("*") if path.is_file() and name in str(path))
    return {path.relative_to(folder): path.read_bytes() for path in found}
