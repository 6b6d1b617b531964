"""Cuts that are trained on, against a plain LoRA of the cut's rank trained by hand."""

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch.nn import functional

from dylora_exp.adapters.layers import factors, lora_layers
from dylora_exp.adapters.truncation import decompose
from dylora_exp.cli.entry import main
from dylora_exp.config.composition import compose
from dylora_exp.core.errors import RequestError
from dylora_exp.methods.base import Cut, make_method
from dylora_exp.methods.lora_continued import LoRAContinued
from dylora_exp.models.loading import load
from dylora_exp.runner import pipeline, preflight
from dylora_exp.runner.folder import run_folder
from dylora_exp.runner.run import run_if_needed
from dylora_exp.training.trainer import MethodTrainer

NO_DROPOUT = "model.overrides={hidden_dropout_prob: 0, attention_probs_dropout_prob: 0}"
WORDS = [
    *("method=lora-continued", "method.continue_share=0.3", "trainer.max_steps=10", NO_DROPOUT),
    *("task.max_train_samples=48", "task.max_eval_samples=40", "trainer.batch_size=12"),
    *(
        "ranks.r_max=4",
        "ranks.score=[2,4]",
        "trainer.learning_rate=0.01",
        "trainer.max_grad_norm=0",
    ),
]
SVD = Cut(2, "svd", "alpha/r")
STEP = MethodTrainer.training_step


def done(folder, words=WORDS):
    config = compose([*words, f"results_dir={folder / 'r'}", f"outputs_dir={folder / 'o'}"])
    run_folder(config).mkdir(parents=True, exist_ok=True)
    run = pipeline.load_run(config, preflight.check(config))
    model, training, scores = pipeline.train_and_score(run)
    return run.method, model, training, scores


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run with what its trainings saw, and the trained state before the cuts."""
    seen = []

    def training_step(trainer, model, inputs, *rest):
        seen.append((trainer.args.max_steps, {n: v.clone() for n, v in inputs.items()}))
        return STEP(trainer, model, inputs, *rest)

    patch = pytest.MonkeyPatch()
    patch.setattr(MethodTrainer, "training_step", training_step)
    folder = tmp_path_factory.mktemp("continued")
    try:
        return folder, seen, *done(folder)
    finally:
        patch.undo()


def trained_by_hand(method, model, batches):
    """AdamW on PEFT's LoRA of rank 2 from the SVD of the trained factors, and the trained head."""
    torch.manual_seed(0)
    backbone, _ = load(method.config.model, labels=2)
    lora = LoraConfig(
        task_type="SEQ_CLS", r=2, lora_alpha=16 * 2 / 4, target_modules=["query", "value"],
        modules_to_save=["classifier"],
    )  # fmt: skip
    plain = get_peft_model(backbone, lora).train()
    head = {n: p for n, p in model.named_parameters() if p.requires_grad and "lora" not in n}
    for name, parameter in plain.named_parameters():
        if name in head:
            parameter.data.copy_(head[name])
    for ours, theirs in zip(lora_layers(model), lora_layers(plain), strict=True):
        u, s, vh = decompose(*factors(ours), vectors=2)
        a, b = factors(theirs)
        a.data.copy_(s[:2].sqrt()[:, None] * vh)
        b.data.copy_(u * s[:2].sqrt())
    named = {n: p for n, p in plain.named_parameters() if p.requires_grad}
    groups = [
        {"params": [p for n, p in named.items() if not n.endswith("bias")], "weight_decay": 0.1},
        {"params": [p for n, p in named.items() if n.endswith("bias")], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=0.01, eps=1e-8)
    for number, batch in enumerate(batches):
        # Warm-up of ceil(0.06 * 3) = 1 step from 0, then linear to 0 after the last.
        rate = 0.0 if number == 0 else 0.01 * (3 - number) / 2
        for group in optimizer.param_groups:
            group["lr"] = rate
        texts = {name: value for name, value in batch.items() if name != "labels"}
        functional.cross_entropy(plain(**texts).logits, batch["labels"]).backward()
        optimizer.step()
        optimizer.zero_grad()
    return plain


def test_a_cut_is_trained_on_as_a_lora_of_its_rank(trained):
    _, seen, method, model, training, _ = trained
    batches = [inputs for steps, inputs in seen if steps == 3]
    assert (len(batches), training.steps, len(seen)) == (3, 10, 13)  # r_max is not cut
    assert method.timing["continue_steps_per_cut"] == 3
    plain = trained_by_hand(method, model, batches)
    before = {n: p.clone() for n, p in model.named_parameters()}
    with method.at_cut(model, SVD):
        pairs = zip(lora_layers(model), lora_layers(plain), strict=True)
        for ours, theirs in pairs:
            (a, b), (plain_a, plain_b) = factors(ours), factors(theirs)
            torch.testing.assert_close(b[:, :2] @ a[:2], plain_b @ plain_a, rtol=1e-3, atol=1e-5)
            assert not torch.equal(b[:, :2] @ a[:2], before_product(before, model, ours))
        logits = model.eval()(**texts_of(batches[0])).logits
    torch.testing.assert_close(
        logits, plain.eval()(**texts_of(batches[0])).logits, rtol=1e-3, atol=1e-4
    )
    after = dict(model.named_parameters())
    assert all(torch.equal(value, after[name]) for name, value in before.items())


def texts_of(batch):
    return {name: value for name, value in batch.items() if name != "labels"}


def before_product(before, model, layer):
    """The product of the first two rows of the trained factors, in their singular basis."""
    (a_name, b_name) = (
        next(n for n, p in model.named_parameters() if p is each) for each in factors(layer)
    )
    u, s, vh = decompose(before[a_name], before[b_name], vectors=2)
    return (u * s[:2] @ vh).float()


@pytest.mark.slow
def test_a_run_killed_in_a_cut_goes_on_as_if_it_was_not(trained, tmp_path, monkeypatch):
    _, _, _, _, _, whole = trained
    words = [*WORDS, "trainer.save_steps=2"]

    class Killed(Exception):
        pass

    def stop(trainer, *arguments):
        if trainer.args.max_steps == 3 and trainer.state.global_step == 2:
            raise Killed
        return STEP(trainer, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(MethodTrainer, "training_step", stop)
        with pytest.raises(Killed):
            done(tmp_path, words)
    steps = []

    def count(trainer, *arguments):
        steps.append((trainer.args.max_steps, trainer.state.global_step))
        return STEP(trainer, *arguments)

    monkeypatch.setattr(MethodTrainer, "training_step", count)
    method, _, _, scores = done(tmp_path, words)
    assert steps == [(3, 2)]
    assert [each.metrics for each in scores] == [each.metrics for each in whole]
    for name, value in trained[2].continued[SVD].items():
        assert torch.equal(value, method.continued[SVD][name]), name


@pytest.mark.slow
def test_an_export_is_what_was_scored(tmp_path, monkeypatch, capsys):
    cuts = [f"{{truncation: {name}, scale: alpha/r}}" for name in ("svd", "global", "gradient")]
    words = [*WORDS, f"method.score=[{','.join(cuts)}]", "ranks.score=[1,3,4]"]
    made = {}
    original = pipeline.train_and_score

    def train_and_score(run, *rest):
        found = original(run, *rest)
        made["method"], made["model"] = run.method, found[0].eval()
        return found

    monkeypatch.setattr(pipeline, "train_and_score", train_and_score)
    results, outputs = tmp_path / "results", tmp_path / "outputs"
    config = compose([*words, f"results_dir={results}", f"outputs_dir={outputs}"])
    record = run_if_needed(config).record
    assert {"continue_seconds", "train_seconds"} <= set(record.timing)
    ids = torch.arange(5, 29).reshape(2, 12)
    for cut in made["method"].cuts():
        folder = tmp_path / cut.file_name
        command = ["export", record.run_id, "--rank", str(cut.rank), "--cut", cut.truncation]
        command += ["--to", str(folder), "--results", str(results), "--outputs", str(outputs)]
        assert main(command) == 0, capsys.readouterr().err
        torch.manual_seed(0)
        backbone, _ = load(config.model, labels=2)
        theirs = PeftModel.from_pretrained(backbone, str(folder)).eval()
        with torch.no_grad(), made["method"].at_cut(made["model"], cut):
            ours = made["model"](input_ids=ids).logits
            torch.testing.assert_close(theirs(input_ids=ids).logits, ours, rtol=0, atol=1e-5)
    file = outputs / record.run_id / "model" / "continued_svd-alphar-rank-3.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    assert (
        main([*command[:3], "3", "--cut", "svd", *command[6:7], str(tmp_path / "x"), *command[8:]])
        == 2
    )
    assert "not the file that run" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["trainer.score_every=epoch"], "trainer.score_every: found epoch, but method"),
        (["method.adapter=a.pt"], "method.adapter: method 'lora-continued' trains its own"),
    ],
)
def test_what_does_not_go_together_is_refused(words, problem):
    found = LoRAContinued.problems(compose([*WORDS, *words]))
    assert any(each.startswith(problem) for each in found)


def test_several_processes_are_refused(monkeypatch):
    monkeypatch.setattr("dylora_exp.methods.lora_continued.process_count", lambda: 2)
    (problem,) = LoRAContinued.problems(compose(WORDS))
    assert problem.startswith("method.name: 'lora-continued' trains its cuts on in one process")


def test_a_warm_up_in_steps_is_shortened_in_proportion():
    method = make_method(compose([*WORDS, "trainer.warmup_steps=4"]))
    own = method.continuation(SVD, 10).config.trainer
    assert (own.max_steps, own.warmup_steps) == (3, 1)
    assert method.continuation(Cut(4, "svd", "alpha/r"), 10) is None
    with pytest.raises(RequestError, match=r"method\.continue_share: found 1"):
        compose([*WORDS, "method.continue_share=1"])
