"""Gradient checkpointing: the same gradients and weights, bit by bit, and who cannot have it."""

import pytest
import torch

from dylora_exp.config import compose
from dylora_exp.core import RequestError
from dylora_exp.models import check_checkpointing
from dylora_exp.models.loading import load
from dylora_exp.runner.run import run_if_needed
from dylora_exp.training.trainer import MethodTrainer
from tests.support.compared_records import without_times
from tests.support.tiny_llama import save_tiny_llama

FEW = ["trainer.max_steps=5", "task.max_train_samples=40", "task.max_eval_samples=24",
       "trainer.batch_size=8", "trainer.threads=1"]  # fmt: skip
DROPOUT = "model.overrides={hidden_dropout_prob: 0.1, attention_probs_dropout_prob: 0.1}"
METHODS = [
    ["method=dylora", DROPOUT],
    ["method=dylora", "ranks=per-example"],
    ["method=dylora", "ranks=sandwich", "trainer.accumulation_steps=2"],
    ["method=nested-dropout", "method.examples_per_pass=16"],
    ["method=sorted-lora"],
    ["method=matryoshka"],
    ["method=dylora-frozen", "method.freeze=strict"],
    ["method=lora", "method.dropout=0.1"],
    ["method=dylora", "model.dtype=bfloat16", "trainer.bf16=true"],
    ["method=dylora", "model.quantization=nf4"],
    ["method=dylora", "ranks=per-example", "model.quantization=int8"],
    ["method=dylora", "trainer.score_every=epoch", "trainer.epochs=2", "trainer.max_steps=null"],
    ["method=finetune"],
    ["method=flop", "method.target_sparsity=0.6"],
]
ORDINARY = METHODS[1]


@pytest.fixture
def passes(monkeypatch):
    """How often each step of training ran a layer forward."""
    counts, step = [], MethodTrainer.training_step

    def counted(trainer, model, *rest):
        calls = [0]
        blocks = [m for n, m in model.named_modules() if n.endswith(".0.intermediate")]
        hook = blocks[0].register_forward_pre_hook(lambda *_: calls.__setitem__(0, calls[0] + 1))
        loss = step(trainer, model, *rest)
        hook.remove()
        counts.append(calls[0])
        return loss

    monkeypatch.setattr(MethodTrainer, "training_step", counted)
    return counts


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(words, id=" ".join(words), marks=[] if words is ORDINARY else pytest.mark.slow)
        for words in METHODS
    ],
)
def test_training_is_the_same_bit_by_bit(words, passes, tmp_path):
    found = []
    for asked in ("false", "true"):
        place = tmp_path / asked
        to = [f"results_dir={place / 'results'}", f"outputs_dir={place / 'outputs'}"]
        config = compose([*FEW, *words, f"trainer.gradient_checkpointing={asked}", *to])
        record = run_if_needed(config).record
        model = place / "outputs" / record.run_id / "model"
        files = sorted(file.name for file in model.glob("*.safetensors"))
        found.append((without_times(record), [(model / file).read_bytes() for file in files]))
    assert found[0][1] and found[0] == found[1]
    half = len(passes) // 2
    # Each pass is computed a second time.
    assert [2 * count for count in passes[:half]] == passes[half:]


@pytest.mark.slow
def test_texts_are_decoded_after_it(tmp_path):
    save_tiny_llama(tmp_path / "llama")
    records = []
    for asked in ("false", "true"):
        words = [
            *("task=demo-e2e", "profile=demo-nlg", f"model.name_or_path={tmp_path / 'llama'}"),
            *("model.targets=[q_proj,v_proj]", "model.overrides=null", "model.fused=null"),
            *("trainer.max_steps=4", "task.max_train_samples=40", "task.max_eval_samples=4"),
            *("task.metrics=[bleu]", "task.decode.max_new_tokens=6", "method=dylora"),
            *(f"results_dir={tmp_path / asked}", f"outputs_dir={tmp_path / asked / 'o'}"),
        ]
        config = compose([*words, f"trainer.gradient_checkpointing={asked}"])
        records.append(without_times(run_if_needed(config).record))
    assert records[0] == records[1]


def test_a_model_that_does_not_support_it_is_refused():
    backbone, _ = load(compose([]).model, 2)
    check_checkpointing(backbone)
    backbone.supports_gradient_checkpointing = False
    with pytest.raises(RequestError, match=r"^trainer.gradient_checkpointing: a model of type rob"):
        check_checkpointing(backbone)


def test_its_checkpoints_are_not_reentrant(tmp_path):
    """Those would need gradients of the inputs, and warn of frozen layers below adapters."""
    from dylora_exp.methods.base import make_method
    from dylora_exp.training.arguments import training_arguments

    method = make_method(compose(["trainer.gradient_checkpointing=true"]))
    arguments = training_arguments(method, tmp_path)
    assert arguments.activation_checkpointing
    assert arguments.activation_checkpointing_kwargs == {"use_reentrant": False}
    plain = training_arguments(make_method(compose([])), tmp_path)
    assert not plain.activation_checkpointing
    assert torch.is_grad_enabled()
