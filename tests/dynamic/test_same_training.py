"""A stock PeftModel in other trainers against this project's own run: the same weights."""

import json
import os
import subprocess
import sys

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    Trainer,
    TrainingArguments,
)

import dylora_exp
from dylora_exp import DynamicRanks, Ranks, make_dynamic
from dylora_exp.cli.entry import main
from dylora_exp.config.composition import compose
from dylora_exp.methods.base import make_method
from dylora_exp.models.loading import load
from dylora_exp.objectives.base import ObjectiveContext, make_objective
from dylora_exp.tasks.base import read
from dylora_exp.training.trainer import train
from tests.support.small_gpt2 import small_tokenizer
from tests.support.tiny_llama import save_tiny_llama
from tests.support.tiny_runs import ROOT

R, ALPHA, STEPS, SEED = 4, 32, 6, 7
TARGETS = ["q_proj", "v_proj"]


class Own:
    """A run of this project: its weights before and after, its batches and its ranks."""

    def __init__(self, folder, *words):
        self.base = folder / "llama"
        save_tiny_llama(self.base)
        config = compose(
            [
                "profile=demo-nlg",
                "method=dylora",
                f"seed={SEED}",
                f"model.name_or_path={self.base}",
                f"model.targets={json.dumps(TARGETS).replace(' ', '')}",
                *("model.fused=null", "model.overrides=null", "task.max_train_samples=48"),
                *(f"trainer.max_steps={STEPS}", "trainer.batch_size=4", "trainer.warmup_steps=2"),
                *("trainer.learning_rate=1e-3", "trainer.label_smoothing=0.0"),
                *words,
            ]
        )
        torch.manual_seed(SEED)
        backbone, tokenizer = load(config.model, labels=None)
        method = make_method(config)
        model = method.attach(backbone)
        objective = make_objective(ObjectiveContext(config, tokenizer, 256, read(config.task)))
        self.batches, collate = [], objective.collate

        def recorded(rows):
            self.batches.append(collate(rows))
            return {name: value.clone() for name, value in self.batches[-1].items()}

        objective.collate = recorded
        self.before = weights(model)
        train(model, objective, method, folder / "run")
        self.after, self.ranks = weights(model), method.ranks
        self.drawn = dict(method.drawn)


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    return Own(tmp_path_factory.mktemp("own"))


@pytest.fixture(scope="module")
def accumulated(tmp_path_factory):
    return Own(tmp_path_factory.mktemp("accumulated"), "trainer.accumulation_steps=2")


def weights(model):
    return {n: p.detach().clone() for n, p in model.named_parameters() if p.requires_grad}


def stock(own):
    """The same base with stock PEFT's LoRA, which begins with the weights of the own run."""
    base = AutoModelForCausalLM.from_pretrained(own.base)
    lora = LoraConfig(task_type="CAUSAL_LM", r=R, lora_alpha=ALPHA, target_modules=TARGETS)
    model = get_peft_model(base, lora)
    assert weights(model).keys() == own.before.keys()
    model.load_state_dict(own.before, strict=False)
    return model


def settings(folder, **more):
    return {
        **{"output_dir": str(folder), "max_steps": STEPS, "per_device_train_batch_size": 1},
        **{"learning_rate": 1e-3, "lr_scheduler_type": "linear", "warmup_steps": 2},
        **{"weight_decay": 0.01, "max_grad_norm": 1.0, "optim": "adamw_torch"},
        **{"use_cpu": True, "report_to": [], "disable_tqdm": True, "seed": SEED},
        **{"remove_unused_columns": False, "save_strategy": "no", "dataloader_pin_memory": False},
        **more,
    }


class InOrder(Trainer):
    """Leaves the examples, each a whole batch, in their order."""

    def _get_train_sampler(self, *_):
        return torch.utils.data.SequentialSampler(self.train_dataset)


def first(rows):
    return {name: value.clone() for name, value in rows[0].items()}


def assert_same(model, own):
    assert own.before.keys() == weights(model).keys()
    moved = max((own.after[n] - own.before[n]).abs().max() for n in own.before)
    apart = max((own.after[n] - value).abs().max() for n, value in weights(model).items())
    assert moved > 1e-3
    assert apart <= 1e-6


def test_trainer_gives_the_weights_of_the_own_run(own, tmp_path):
    model = stock(own)
    handle = make_dynamic(model, seed=SEED)
    InOrder(
        model,
        TrainingArguments(**settings(tmp_path)),
        train_dataset=own.batches,
        data_collator=first,
        callbacks=[DynamicRanks(handle)],
    ).train()
    assert_same(model, own)
    assert handle.rank == R


def test_another_seed_gives_other_weights(own, tmp_path):
    model = stock(own)
    handle = make_dynamic(model, seed=SEED + 1)
    arguments = TrainingArguments(**settings(tmp_path))
    callbacks = [DynamicRanks(handle)]
    InOrder(
        model, arguments, train_dataset=own.batches, data_collator=first, callbacks=callbacks
    ).train()
    assert max((own.after[n] - v).abs().max() for n, v in weights(model).items()) > 1e-4


def test_trainer_accumulates_at_one_rank_a_step(accumulated, tmp_path):
    model = stock(accumulated)
    handle = make_dynamic(model, seed=SEED)
    trainer = InOrder(
        model,
        TrainingArguments(**settings(tmp_path, gradient_accumulation_steps=2)),
        train_dataset=accumulated.batches,
        data_collator=first,
        callbacks=[DynamicRanks(handle)],
    )
    # The own run takes the mean over micro-batches, whatever their numbers of tokens.
    trainer.model_accepts_loss_kwargs = False
    trainer.train()
    assert_same(model, accumulated)


@pytest.mark.parametrize("accumulate", [False, True])
def test_a_plain_loop_gives_the_weights_of_the_own_run(accumulate, own, accumulated):
    run, parts = (accumulated, 2) if accumulate else (own, 1)
    model = stock(run).train()
    handle = make_dynamic(model, Ranks.of(R), seed=SEED)
    optimizer = torch.optim.AdamW(
        [p for p in model.parameters() if p.requires_grad], lr=1e-3, weight_decay=0.01
    )
    linear = [min(step / 2, (STEPS - step) / (STEPS - 2)) for step in range(STEPS)]
    batches = iter(run.batches)
    ranks = []
    for step in range(STEPS):
        ranks.append(handle.step())
        for _ in range(parts):
            (model(**next(batches)).loss / parts).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.param_groups[0]["lr"] = 1e-3 * linear[step]
        optimizer.step()
        optimizer.zero_grad()
    assert ranks == [run.ranks.rank_of_step(SEED, step) for step in range(STEPS)]
    assert_same(model, run)


def test_trl_gives_the_weights_of_the_own_run(own, tmp_path):
    trl = pytest.importorskip("trl", reason="needs the extra 'trl'")

    class SFTInOrder(trl.SFTTrainer):
        def _get_train_sampler(self, *_):
            return torch.utils.data.SequentialSampler(self.train_dataset)

    from datasets import Dataset

    model = stock(own)
    handle = make_dynamic(model, seed=SEED)
    rows = Dataset.from_list([{"batch": index} for index in range(len(own.batches))])
    SFTInOrder(
        model,
        trl.SFTConfig(
            **settings(tmp_path, bf16=False, gradient_checkpointing=False),
            dataset_kwargs={"skip_prepare_dataset": True},
        ),
        train_dataset=rows,
        data_collator=lambda found: first([own.batches[found[0]["batch"]]]),
        processing_class=small_tokenizer(),
        callbacks=[DynamicRanks(handle)],
    ).train()
    assert_same(model, own)


WORKER = """
import json, os, sys
import torch
from torch.nn.parallel import DistributedDataParallel
from dylora_exp import make_dynamic, set_rank
from tests.support.tiny_llama import stock_lora

torch.distributed.init_process_group("gloo")
model = stock_lora(trained=False)
handle = make_dynamic(model, seed=3)
wrapped = DistributedDataParallel(model, find_unused_parameters=False)
optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
index = torch.distributed.get_rank()
ranks = []
for step in range(8):
    ranks.append(handle.step())
    ids = torch.arange(10).reshape(2, 5) + 7 * index + step
    wrapped(input_ids=ids, labels=ids).loss.backward()
    optimizer.step()
    optimizer.zero_grad()
set_rank(wrapped, 2)
total = sum(p.double().abs().sum().item() for p in model.parameters() if p.requires_grad)
with open(os.path.join(sys.argv[1], str(index)), "w") as file:
    json.dump([ranks, total, handle.rank], file)
"""


@pytest.mark.slow
def test_two_processes_draw_the_same_ranks(tmp_path):
    (tmp_path / "worker.py").write_text(WORKER)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    subprocess.run(
        [*command, str(tmp_path / "worker.py"), str(tmp_path)], env=environment, check=True
    )
    one, two = (json.loads((tmp_path / name).read_text()) for name in "01")
    assert one == two
    assert one[0] == [Ranks.of(6).rank_of_step(3, step) for step in range(8)]
    assert len(set(one[0])) > 2 and one[2] == 2


class Stop(Exception):
    pass


def test_a_training_that_resumes_draws_the_same_ranks(own, tmp_path):
    def trainer(handle, ranks, kill_at=None):
        class Spy(DynamicRanks):
            def on_step_begin(self, args, state, control, **more):
                super().on_step_begin(args, state, control, **more)
                ranks.append(self.handle.rank)

            def on_save(self, args, state, control, **_):
                if state.global_step == kill_at:
                    raise Stop

        return InOrder(
            handle.model,
            TrainingArguments(**settings(tmp_path, save_strategy="steps", save_steps=2)),
            train_dataset=own.batches,
            data_collator=first,
            callbacks=[Spy(handle)],
        )

    before, after = [], []
    with pytest.raises(Stop):
        trainer(make_dynamic(stock(own), seed=SEED), before, kill_at=4).train()
    model = stock(own)
    trainer(make_dynamic(model, seed=SEED), after).train(
        resume_from_checkpoint=str(tmp_path / "checkpoint-4")
    )
    assert before + after == [own.ranks.rank_of_step(SEED, step) for step in range(STEPS)]
    assert_same(model, own)


def test_a_run_loaded_by_stock_peft_is_at_a_rank_what_its_export_is(tiny_words, tmp_path):
    record = dylora_exp.run(tiny_words)
    (saved,) = (tmp_path / "outputs").glob(f"*{record.run_id}*/model")
    command = ["export", record.run_id, "--rank", "2", "--to", str(tmp_path / "exported")]
    places = ["--results", str(tmp_path / "results"), "--outputs", str(tmp_path / "outputs")]
    assert main([*command, *places]) == 0
    ids = torch.arange(5, 25).reshape(2, 10)
    logits = []
    for folder in (saved, tmp_path / "exported"):
        base = AutoModelForSequenceClassification.from_pretrained(
            ROOT / "dylora_exp" / "models" / "tiny-roberta", num_labels=2
        )
        model = PeftModel.from_pretrained(base, folder).eval()
        if folder is saved:
            dylora_exp.set_rank(model, 2)
        with torch.no_grad():
            logits.append(model(input_ids=ids).logits)
    assert (logits[0] - logits[1]).abs().max() <= 1e-5
    assert (logits[0] - logits[0].mean()).abs().max() > 1e-3
