"""Old checkpoints in a run, against layers written from the equations."""

import json
import pickle

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional

from dylora_exp.adapters.importing import import_problems
from dylora_exp.cli.entry import main
from dylora_exp.config.composition import compose
from dylora_exp.core.errors import RequestError
from dylora_exp.methods.base import Cut, make_method
from dylora_exp.models.loading import load
from dylora_exp.runner.preflight import check
from dylora_exp.runner.run import run_if_needed

R, ALPHA = 4, 16
IDS = torch.tensor([[0, 40, 50, 60, 70, 2], [0, 30, 31, 32, 33, 2]])
WORDS = [f"ranks.r_max={R}", "trainer.threads=1"]
GPT2 = ["model=gpt2", "model.pretrained=false",
        *(f"model.config.{key}={value}" for key, value in
          {"n_embd": 32, "n_layer": 2, "n_head": 2, "vocab_size": 600}.items())]  # fmt: skip


class Linear(nn.Linear):
    """Eq. 4 and 7 in loralib's form: h = W0 x + (alpha/b) B[:, :b] A[:b] x."""

    def __init__(self, old):
        super().__init__(old.in_features, old.out_features)
        self.load_state_dict(old.state_dict())
        self.lora_A = nn.Parameter(torch.randn(R, self.in_features) * 0.1)
        self.lora_B = nn.Parameter(torch.randn(self.out_features, R) * 0.1)
        self.rank = R

    def forward(self, x):
        a, b = self.lora_A[: self.rank], self.lora_B[:, : self.rank]
        return super().forward(x) + (ALPHA / self.rank) * (x @ a.T @ b.T)


class MergedLinear(nn.Module):
    """loralib's layer for enable_lora [True, False, True]: a convolution in two groups."""

    def __init__(self, old):
        super().__init__()
        self.weight, self.bias = old.weight, old.bias
        self.lora_A = nn.Parameter(torch.randn(2 * R, old.nx) * 0.1)
        self.lora_B = nn.Parameter(torch.randn(2 * old.nf // 3, R) * 0.1)
        self.rank = R

    def forward(self, x):
        a = self.lora_A.unflatten(0, (2, R))[:, : self.rank].flatten(0, 1)
        down = functional.linear(x, a).transpose(1, 2)
        up = functional.conv1d(down, self.lora_B[:, : self.rank, None], groups=2)
        q, v = up.transpose(1, 2).chunk(2, dim=-1)
        update = torch.cat([q, torch.zeros_like(q), v], dim=-1)
        return x @ self.weight + self.bias + (ALPHA / self.rank) * update


def reference(words, names, layer):
    """A stock model whose layers of these names are replaced."""
    torch.manual_seed(0)
    model, _ = load(compose([*WORDS, *words]).model, labels=2)
    for name, module in list(model.named_modules()):
        if name.rpartition(".")[2] in names:
            model.set_submodule(name, layer(module))
    return model.eval()


KINDS = {
    "roberta": ([], ("query", "value"), Linear),
    "gpt2": (GPT2, ("c_attn",), MergedLinear),
    "gpt2, whole layer": (
        [*GPT2, "model.targets=[c_attn]"],
        ("c_attn",),
        lambda old: WholeLayer(old),
    ),
}


class WholeLayer(Linear):
    """A plain LoRA over all of ``c_attn``."""

    def __init__(self, old):
        linear = nn.Linear(old.nx, old.nf)
        linear.weight.data, linear.bias.data = old.weight.data.T, old.bias.data
        super().__init__(linear)


def imported(words, file):
    """A model into which the file was put, its method, and the warnings."""
    torch.manual_seed(0)
    config = compose([*WORDS, *words, f"method.adapter={file}"])
    backbone, _ = load(config.model, labels=2)
    method = make_method(config)
    model = method.attach(backbone).eval()
    return model, method, method.load_adapter(model)


@pytest.mark.parametrize("kind", KINDS)
def test_the_imported_model_is_the_reference_at_every_rank(kind, tmp_path):
    words, names, layer = KINDS[kind]
    theirs = reference(words, names, layer)
    torch.save(theirs.state_dict(), tmp_path / "old.bin")
    model, method, warnings = imported(words, tmp_path / "old.bin")
    assert warnings == []
    for rank in range(1, R + 1):
        for module in theirs.modules():
            if hasattr(module, "rank"):
                module.rank = rank
        with torch.no_grad(), method.at_cut(model, Cut(rank, "leading", "alpha/b")):
            ours = model(input_ids=IDS).logits
            expected = theirs(input_ids=IDS).logits
        torch.testing.assert_close(ours, expected, rtol=0, atol=1e-5)
        assert (ours[0] - ours[1]).abs().max() > 1e-4


@pytest.fixture
def state():
    return reference(*KINDS["roberta"]).state_dict()


def only(state, *words):
    return {key: value for key, value in state.items() if any(word in key for word in words)}


WRITERS = {
    "a wrapping prefix": lambda s, f: torch.save({f"module.model.{k}": v for k, v in s.items()}, f),
    "a training script's wrapper": lambda s, f: torch.save({"model_state_dict": s, "step": 3}, f),
    "half precision": lambda s, f: torch.save({k: v.bfloat16().float() for k, v in s.items()}, f),
    "safetensors": lambda s, f: save_file(
        {k: v.contiguous() for k, v in s.items()}, f.with_suffix(".safetensors")
    ),
}


@pytest.mark.parametrize("writer", WRITERS)
def test_every_way_of_saving_is_read(writer, state, tmp_path):
    WRITERS[writer](only(state, "lora_", "classifier"), tmp_path / "old.bin")
    (file,) = tmp_path.iterdir()
    model, _, warnings = imported([], file)
    assert warnings == []
    name = "roberta.encoder.layer.2.attention.self.value"
    layer = model.get_submodule(f"base_model.model.{name}")
    torch.testing.assert_close(
        layer.lora_B["default"].weight.data, state[f"{name}.lora_B"], rtol=0, atol=1e-2
    )


def test_a_run_with_an_old_adapter_is_scored_and_exported(state, tmp_path, tiny_words, capsys):
    file = tmp_path / "old ones.bin"
    torch.save(only(state, "lora_"), file)
    config = compose([*tiny_words, *WORDS, f"method.adapter={file}"])
    outcome = run_if_needed(config)
    record = outcome.record
    assert (record.timing["steps"], record.timing["train_seconds"]) == (0, 0)
    assert record.training["imported"]["file"] == "old ones.bin"
    assert len(record.training["imported"]["sha256"]) == 64
    assert record.config["method"]["adapter"].startswith("local:")
    assert [entry.rank for entry in record.ranks] == [1, 2, 3, 4]
    assert outcome.warnings == [f"method.adapter: the head is not in '{file}' and stays untrained."]
    words = ["export", record.run_id, "--rank", "2", "--to", str(tmp_path / "x"),
             "--results", config.results_dir, "--outputs", config.outputs_dir]  # fmt: skip
    assert main(words) == 0
    assert json.loads((tmp_path / "x" / "adapter_config.json").read_text())["r"] == 2
    assert not run_if_needed(config).fresh


Q = "roberta.encoder.layer.0.attention.self.query"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({f"{Q}.lora_A": None}, f"method.adapter: '{Q}.lora_A' is missing in the file."),
        (
            {f"{Q}.lora_A": None, f"{Q}.lora_B": None},
            f"method.adapter: '{Q}.lora_A' (and 1 more) is missing in the file.",
        ),
        (
            {f"{Q}.lora_A": torch.ones(4, 9)},
            f"method.adapter: '{Q}.lora_A' has shape (4, 9), expected (4, 64).",
        ),
        (
            {"roberta.encoder.layer.0.output.dense.lora_A": torch.ones(4, 64)},
            "method.adapter: 'roberta.encoder.layer.0.output.dense.lora_A' belongs to no layer of "
            "model.targets.",
        ),
        (
            {"classifier.dense.bias": None},
            "method.adapter: 'classifier.dense.bias' of the head is missing in the file.",
        ),
        (
            {"classifier.out_proj.bias": torch.ones(3)},
            "method.adapter: 'classifier.out_proj.bias' has shape (3,), expected (2,).",
        ),
    ],
)
def test_what_does_not_match_is_named(change, expected, state, tmp_path):
    changed = {key: value for key, value in (state | change).items() if value is not None}
    torch.save(changed, tmp_path / "old.bin")
    with pytest.raises(RequestError) as caught:
        imported([], tmp_path / "old.bin")
    assert caught.value.problems == [expected]


@pytest.mark.parametrize("words", [["ranks.r_max=8"], ["ranks.r_max=2"]])
def test_another_rank_is_refused_before_anything_is_written(words, state, tmp_path, tiny_words):
    torch.save(state, tmp_path / "old.bin")
    config = compose([*tiny_words, *words, f"method.adapter={tmp_path / 'old.bin'}"])
    with pytest.raises(RequestError) as caught:
        run_if_needed(config)
    assert caught.value.problems == [
        f"method.adapter: found r=4, ranks.r_max is {config.ranks.r_max}."
    ]
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".bin"]


class Harmful:
    """Needs pickle to be read."""

    def __reduce__(self):
        return (print, ("run",))


FILES = {
    "nothing": (lambda file: None, "there is no file"),
    "a text": (lambda file: file.write_text("not tensors"), "is damaged or holds more than"),
    "nothing in it": (lambda file: file.write_bytes(b""), "is damaged or holds more than"),
    "code": (lambda file: torch.save({"a": Harmful()}, file), "would need pickle"),
    "a pickle": (lambda file: file.write_bytes(pickle.dumps(Harmful())), "would need pickle"),
    "a tensor": (lambda file: torch.save(torch.ones(3), file), "is not a state dict"),
    "no tensors": (lambda file: torch.save({"a": 1}, file), "is not a state dict"),
}


@pytest.mark.parametrize("kind", FILES)
def test_what_is_no_adapter_file_shows_in_the_check(kind, tmp_path, capsys):
    write, expected = FILES[kind]
    write(tmp_path / "old.bin")
    with pytest.raises(RequestError) as caught:
        check(compose([f"method.adapter={tmp_path / 'old.bin'}"]))
    (problem,) = caught.value.problems
    assert expected in problem
    assert capsys.readouterr().out == ""


def test_the_method_imported_scores_without_training(state, tmp_path, tiny_words):
    file = tmp_path / "old.bin"
    torch.save(state, file)
    record = run_if_needed(
        compose([*tiny_words, *WORDS, "method=imported", f"method.adapter={file}"])
    ).record
    assert record.timing["steps"] == 0
    assert record.training["imported"]["file"] == "old.bin"
    assert [entry.rank for entry in record.ranks] == [1, 2, 3, 4]
    with pytest.raises(RequestError) as caught:
        check(compose(["method=imported"]))
    assert caught.value.problems == [
        "method.adapter: found nothing, expected the folder of a PEFT adapter or the file of a "
        "state dict."
    ]


def test_a_method_without_adapters_takes_none(state, tmp_path):
    torch.save(state, tmp_path / "old.bin")
    with pytest.raises(RequestError) as caught:
        compose(["method=finetune", f"method.adapter={tmp_path / 'old.bin'}"])
    (problem,) = caught.value.problems
    assert problem.startswith(
        "method.adapter: method 'finetune' has no such setting, only distilled, droplora, dylora, "
    )


@pytest.mark.parametrize("ending", ["pt", "safetensors"])
def test_a_file_with_values_that_are_not_finite_is_refused(ending, tmp_path):
    file = tmp_path / f"adapter.{ending}"
    tensors = {"layer.lora_A": torch.tensor([[1.0, float("nan")]])}
    torch.save(tensors, file) if ending == "pt" else save_file(tensors, file)
    (problem,) = import_problems(str(file))
    assert "'layer.lora_A' in" in problem
    assert "was its training stable?" in problem
