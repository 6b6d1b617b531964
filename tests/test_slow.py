"""What takes minutes: the demo's picture, and the making of its backbone."""

import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from dylora_exp.compose import compose
from dylora_exp.run import execute

ROOT = Path(__file__).resolve().parent.parent

pytestmark = pytest.mark.slow


def test_the_demo_shows_the_papers_picture(tmp_path):
    words = [f"results_dir={tmp_path / 'results'}", f"outputs_dir={tmp_path / 'outputs'}"]
    accuracy = {}
    for method in ("lora", "dylora"):
        for entry in execute(compose([*words, f"method={method}"])).record.ranks:
            way = (method, entry.truncation, entry.scale, entry.rank)
            accuracy[way] = entry.metrics["accuracy"]
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
