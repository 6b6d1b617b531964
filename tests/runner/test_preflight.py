"""What is checked before a run, and that it is checked without the heavy libraries."""

import json
import subprocess
import sys

import pytest

from dylora_exp.config.composition import compose
from dylora_exp.core.errors import RequestError
from dylora_exp.runner.preflight import check, check_all
from dylora_exp.runner.run import run_if_needed

HEAVY = ("torch", "transformers", "peft")


def loaded_by(code, *arguments):
    """Return which heavy libraries a piece of code imports."""
    report = f"import json, sys; print(json.dumps([m for m in {HEAVY} if m in sys.modules]))"
    command = [sys.executable, "-c", f"{code}\n{report}", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("method", ["dylora", "finetune", "flop"])
def test_a_good_config_is_checked_without_heavy_libraries(method):
    code = (
        "import sys\nfrom dylora_exp.config import compose\nfrom dylora_exp.runner import check\n"
        "check(compose([f'method={sys.argv[1]}']), fetch=False)"
    )
    assert loaded_by(code, method) == []


def test_a_finished_run_is_answered_without_heavy_libraries(tiny_words):
    run_if_needed(compose(tiny_words))
    code = (
        "import sys\nfrom dylora_exp.config import compose\n"
        "from dylora_exp.runner import run_if_needed\n"
        "assert not run_if_needed(compose(sys.argv[1:])).fresh"
    )
    assert loaded_by(code, *tiny_words) == []


def test_all_problems_are_listed_at_once_and_nothing_is_written(tmp_path):
    (tmp_path / "file").write_text("")
    words = ["ranks.r_max=99", f"outputs_dir={tmp_path / 'file' / 'x'}", "task=sst2"]
    words += [f"task.data_dir={tmp_path / 'none'}", f"results_dir={tmp_path / 'results'}"]
    with pytest.raises(RequestError) as error:
        check_all(compose(words))
    text = " ".join(error.value.problems)
    assert len(error.value.problems) == 3
    assert "ranks.r_max" in text and "task.data_dir" in text and "cannot be written to" in text
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_data_that_would_have_to_be_fetched_are_not_read():
    assert check(compose(["task=mrpc"]), fetch=False) is None
    assert check(compose([]), fetch=False) is not None


def test_a_longest_input_of_special_tokens_alone_is_refused(tiny_words, tmp_path):
    with pytest.raises(RequestError, match=r"task\.max_length: found 2, expected more than the 2"):
        run_if_needed(compose([*tiny_words, "task.max_length=2"]))
    assert not list(tmp_path.glob("results/runs/*.json"))
    assert run_if_needed(compose([*tiny_words, "task.max_length=3"])).record.status == "completed"


@pytest.mark.parametrize("method", ["lora", "dylora", "nested-dropout", "matryoshka"])
def test_the_smallest_run_there_is(method, tiny_words):
    words = [f"method={method}", "ranks.r_max=1", "task.max_train_samples=1"]
    words += ["task.max_eval_samples=1", "trainer.max_steps=1", "trainer.batch_size=32"]
    assert run_if_needed(compose([*tiny_words, *words])).record.status == "completed"
