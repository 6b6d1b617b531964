"""Training through the real Trainer: the schedule of ranks, interruption and resume."""

from collections import Counter

import pytest
import torch
from transformers import TrainerCallback

from dylora_exp.adapters.layers import factors, lora_layers
from dylora_exp.config.composition import compose
from dylora_exp.core.errors import TrainingDiverged
from dylora_exp.methods.base import make_method
from dylora_exp.models.loading import load
from dylora_exp.objectives.base import ObjectiveContext, make_objective
from dylora_exp.objectives.torch_parts.batches import Collator, scoring_batches, tokenize
from dylora_exp.tasks.base import read
from dylora_exp.training.arguments import optimizer_steps
from dylora_exp.training.checkpoints import find_resume_point
from dylora_exp.training.trainer import train


class Killed(Exception):
    pass


class Spy(TrainerCallback):
    """Notes the rank of every step, and stops like a kill would."""

    def __init__(self, mask, kill_at=None):
        self.mask = mask
        self.kill_at = kill_at
        self.ranks = {}

    def on_pre_optimizer_step(self, args, state, control, model=None, **_):
        self.norm = sum(p.grad.norm() ** 2 for p in model.parameters() if p.grad is not None).item()
        self.ranks[state.global_step] = self.mask and self.mask.ranks
        if state.global_step == self.kill_at:
            raise Killed


def trained(folder, *words, kill_at=None):
    config = compose(
        [
            "task.max_train_samples=64",
            "trainer.max_steps=9",
            "trainer.batch_size=8",
            "trainer.save_steps=3",
            *words,
        ]
    )
    torch.manual_seed(config.seed)
    backbone, tokenizer = load(config.model, labels=2)
    method = make_method(config)
    model = method.attach(backbone)
    spy = Spy(getattr(method, "mask", None), kill_at)
    method_callbacks = method.callbacks
    method.callbacks = lambda model: [*method_callbacks(model), spy]
    objective = make_objective(ObjectiveContext(config, tokenizer, 64, read(config.task)))
    result = train(model, objective, method, folder)
    return model, method, spy, result


def weights(model):
    return {n: p.detach().clone() for n, p in model.named_parameters() if p.requires_grad}


def test_every_step_has_the_rank_that_the_ranks_object_says(tmp_path):
    _, method, spy, result = trained(tmp_path)
    assert result.steps == 9
    assert spy.ranks == {step: (method.ranks.rank_of_step(10, step),) for step in range(9)}
    assert len(set(spy.ranks.values())) > 2
    assert method.drawn == Counter(rank for (rank,) in spy.ranks.values())


def test_one_rank_for_all_micro_batches_of_a_step(tmp_path):
    _, method, spy, result = trained(tmp_path, "trainer.accumulation_steps=3")
    assert result.steps == 9
    assert spy.ranks == {step: (method.ranks.rank_of_step(10, step),) for step in range(9)}


def test_a_rank_for_each_micro_batch_where_asked_for(tmp_path):
    words = ["trainer.accumulation_steps=2", "ranks.sample_every=micro_batch"]
    _, method, spy, _ = trained(tmp_path, *words)
    assert spy.ranks == {step: (method.ranks.rank_of_step(10, step, 1),) for step in range(9)}
    assert method.drawn.total() == 18


def test_a_rank_for_each_example_where_asked_for(tmp_path):
    """64 examples in batches of 8, half of each at r_max: 4 of the ranks drawn lie below it."""
    words = ["ranks=sandwich", "ranks.values=[1,2,8]", "ranks.score=[8]", "trainer.max_steps=8"]
    _, method, spy, _ = trained(tmp_path, *words)
    assert spy.ranks[3] == tuple(method.ranks.ranks_of_examples(10, 3, 0, 8))
    assert all(ranks.count(8) >= 4 for ranks in spy.ranks.values())
    assert method.drawn == Counter(rank for ranks in spy.ranks.values() for rank in ranks)
    assert set(method.drawn) == {1, 2, 8}


def test_examples_of_other_micro_batches_have_other_ranks(tmp_path):
    words = ["ranks=per-example", "trainer.accumulation_steps=2", "trainer.max_steps=1"]
    _, method, spy, _ = trained(tmp_path, *words)
    assert spy.ranks[0] == tuple(method.ranks.rank_of_step(10, 0, place) for place in range(8, 16))


def test_accumulated_micro_batches_take_the_step_of_the_whole_batch(tmp_path):
    """Clipping and Adam would hide a gradient of another length."""
    words = ["task.max_train_samples=16", "trainer.max_steps=1", "trainer.max_grad_norm=1e9"]
    norms = []
    for batch, micro in ((16, 1), (4, 4)):
        sizes = [f"trainer.batch_size={batch}", f"trainer.accumulation_steps={micro}"]
        _, _, spy, _ = trained(tmp_path / str(micro), *words, *sizes)
        norms.append(spy.norm)
    assert norms[0] == pytest.approx(norms[1], rel=1e-4)


# Ordinarily each kind of state that a resume must bring back; each method among the slow ones.
INTERRUPTED = [
    ["method=dylora", "trainer.order=random", "trainer.batch_size=16"],  # within the second
    ["method=sorted-lora", "method.share=0.5"],  # rotated before the checkpoint
]
INTERRUPTED_TOO = [
    ["method=dylora"],
    ["method=dylora-frozen", "method.freeze=strict"],
    ["method=nested-dropout"],
    ["method=dylora", "ranks=sandwich"],
    ["method=dylora", "trainer.batch_size=32"],  # cut in the fourth epoch
    ["method=dylora", "ranks.sample_every=micro_batch", "trainer.accumulation_steps=2"],
    ["method=lora"],
    ["method=dylora-frozen"],
    ["method=dylora", "method.freeze=strict"],
    ["method=dylora", "trainer.accumulation_steps=2"],
    ["method=dylora", "trainer.order=random", "trainer.batch_size=32"],  # between two epochs
    ["method=sorted-lora", "method.share=0.7"],  # rotated just after the checkpoint
    ["method=matryoshka"],
]


@pytest.mark.parametrize(
    "words",
    [
        *(pytest.param(words, id=" ".join(words)) for words in INTERRUPTED),
        *(
            pytest.param(words, id=" ".join(words), marks=pytest.mark.slow)
            for words in INTERRUPTED_TOO
        ),
    ],
)
def test_an_interrupted_training_ends_with_the_same_weights(words, tmp_path):
    whole, counted, *_ = trained(tmp_path / "whole", *words)
    with pytest.raises(Killed):
        trained(tmp_path / "cut", *words, kill_at=7)
    assert find_resume_point(tmp_path / "cut").checkpoint.name == "checkpoint-6"
    resumed, method, spy, result = trained(tmp_path / "cut", *words)
    assert sorted(spy.ranks) == [6, 7, 8]
    assert result.steps == 9
    assert method.drawn == counted.drawn
    for name, value in weights(whole).items():
        assert torch.equal(value, weights(resumed)[name]), name


@pytest.mark.parametrize("method", ["dylora", "finetune"])
def test_a_finished_training_is_not_repeated(method, tmp_path):
    first, *_, before = trained(tmp_path, f"method={method}")
    again, _, spy, result = trained(tmp_path, f"method={method}")
    assert spy.ranks == {}
    assert (result.steps, result.seconds) == (9, pytest.approx(before.seconds, abs=5))
    for name, value in weights(first).items():
        assert torch.equal(value, weights(again)[name]), name


def test_a_checkpoint_cut_short_is_removed(tmp_path):
    trained(tmp_path)
    half = tmp_path / "checkpoint-12"
    half.mkdir()
    (half / "trainer_state.json").write_text("{")
    assert find_resume_point(tmp_path).checkpoint.name == "checkpoint-9"
    assert not half.exists()


def test_training_moves_adapters_and_head_and_nothing_else(tmp_path):
    config = compose([])
    torch.manual_seed(config.seed)
    before, _ = load(config.model, labels=2)
    model, *_ = trained(tmp_path)
    frozen = {n.replace(".base_layer", ""): p for n, p in model.named_parameters()}
    for name, value in before.named_parameters():
        if not name.startswith("classifier"):
            assert torch.equal(frozen[f"base_model.model.{name}"], value), name
    assert all(factors(layer)[1].abs().max() > 0 for layer in lora_layers(model))


def test_weight_decay_spares_biases_and_layernorm(tmp_path):
    from dylora_exp.training.arguments import training_arguments
    from dylora_exp.training.trainer import MethodTrainer

    config = compose(["method=finetune"])
    backbone, tokenizer = load(config.model, labels=2)
    method = make_method(config)
    objective = make_objective(ObjectiveContext(config, tokenizer, 64, read(config.task)))
    model, args = method.attach(backbone), training_arguments(method, tmp_path)
    trainer = MethodTrainer(method, objective, model=model, args=args)
    decayed, spared = trainer.create_optimizer().param_groups
    names = {id(p): n for n, p in backbone.named_parameters()}
    assert (decayed["weight_decay"], spared["weight_decay"]) == (0.1, 0.0)
    assert {names[id(p)] for p in spared["params"]} == {
        n for n in names.values() if n.endswith("bias") or "LayerNorm" in n
    }


STABLE = r"; was training stable\? Try a lower trainer\.learning_rate\.$"


@pytest.mark.parametrize("steps", [3, 20])
def test_a_training_that_diverges_fails(steps, tmp_path):
    words = ["trainer.learning_rate=1e30", f"trainer.max_steps={steps}", "trainer.warmup_steps=0"]
    for _ in range(2):  # a retry finds a checkpoint of a training that was finished
        with pytest.raises(TrainingDiverged, match=STABLE):
            trained(tmp_path, *words)


@pytest.mark.parametrize(
    ("words", "steps"),
    [
        (["trainer.max_steps=2"], 2),
        (["trainer.max_steps=null", "trainer.epochs=1.5", "trainer.batch_size=24"], 5),
        (["trainer.max_steps=null", "trainer.epochs=2", "trainer.accumulation_steps=3"], 6),
        (["trainer.max_steps=null", "trainer.epochs=0.1", "trainer.batch_size=100"], 1),
    ],
)
def test_the_number_of_steps_is_known_before(words, steps, tmp_path):
    _, method, _, result = trained(tmp_path, *words)
    assert result.steps == optimizer_steps(method, 64) == steps


def test_scoring_batches_cover_every_example_once_longest_first():
    config = compose(["task.max_eval_samples=37"])
    _, tokenizer = load(config.model, labels=2)
    data = tokenize(read(config.task).eval, tokenizer, 64)
    batches = scoring_batches(data, Collator(tokenizer, False), 8)
    assert sorted(i for batch in batches for i in batch.indices) == list(range(37))
    widths = [batch.inputs["input_ids"].shape[1] for batch in batches]
    assert widths == sorted(widths, reverse=True)


def test_pairs_are_joined_and_cut_to_the_limit():
    from datasets import Dataset

    _, tokenizer = load(compose([]).model, labels=2)
    data = Dataset.from_dict({"text": [["food " * 50, "room"]], "label": [1]})
    (row,) = tokenize(data, tokenizer, 16).to_list()
    assert len(row["input_ids"]) == row["length"] == 16
    assert tokenizer.decode(row["input_ids"]).endswith("food</s></s> room</s>")
