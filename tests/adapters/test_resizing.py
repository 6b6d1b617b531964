"""Adapters lowered in rank: against PEFT's ``convert_to_lora``, and loaded by stock PEFT."""

import hashlib
import itertools
import json
import math
import os
import subprocess
import sys
import warnings

import pytest
import torch
from peft import PeftModel, convert_to_lora
from safetensors.torch import load_file, save_file
from transformers.pytorch_utils import Conv1D

from dylora_exp.adapters import resize
from dylora_exp.core import RequestError
from tests.support.peft_adapters import Small, change, change_tensors, save

SETTINGS, WEIGHTS, PREFIX = "adapter_config.json", "adapter_model.safetensors", "base_model.model."
IDS = torch.tensor([[0, 3, 6, 2]])


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "adapter"


@pytest.fixture
def to(tmp_path):
    return tmp_path / "lower"


def load(folder):
    """Load an adapter by PEFT on the base it was made on; warnings, as of missing keys, fail."""
    torch.manual_seed(0)
    base = Small()
    with warnings.catch_warnings(action="error"):
        # That it is meant for Conv1D alone, where both kinds are adapted.
        warnings.filterwarnings("ignore", message="fan_in_fan_out")
        return PeftModel.from_pretrained(base, str(folder)).eval()


def deltas(model):
    """Return what each adapted layer adds to its weight, (d_out, d_in) in float64."""
    found = {}
    for name, module in model.base_model.model.named_modules():
        if hasattr(module, "get_delta_weight"):
            a, b = (getattr(module, f"lora_{x}")["default"].weight.double() for x in "AB")
            found[name] = (module.scaling["default"] * b @ a).detach()
    return found


def converted(model, rank):
    """Return the products that PEFT's own conversion gives, and their ranks."""
    with warnings.catch_warnings(action="ignore"):
        _, tensors = convert_to_lora(model, rank=rank)
    names = [key[len(PREFIX) : -len(".lora_A.weight")] for key in tensors if ".lora_A." in key]
    pairs = {n: [tensors[f"{PREFIX}{n}.lora_{x}.weight"].double() for x in "AB"] for n in names}
    return {n: b @ a for n, (a, b) in pairs.items()}, {n: len(a) for n, (a, _) in pairs.items()}


def distance(found, expected):
    return ((found - expected).norm() / expected.norm()).item()


def check_product(found, peft, full, rank):
    """Compare with the closest product of a rank, and with PEFT's, which is made in float32.

    Where two singular values nearly tie at the cut, PEFT's is off by more than 1e-5.
    """
    u, s, vh = torch.linalg.svd(full)
    exact = (u[:, :rank] * s[:rank]) @ vh[:rank]
    assert distance(found, exact) <= 1e-6
    assert distance(found, peft) <= 1e-5 + distance(peft, exact)
    assert distance(found, peft) <= 1e-5 or s[rank] > 0.99 * s[rank - 1]


ADAPTERS = [
    {},
    {"lora_alpha": 3, "use_rslora": True},
    {"target_modules": ["q", "conv"], "modules_to_save": ["classifier"], "fan_in_fan_out": True},
    {"target_modules": r".*\.(v|conv)", "lora_dropout": 0.1},
    {"target_modules": ["q", "conv"], "rank_pattern": {"q": 3}, "alpha_pattern": {"1.conv": 11}},
    {"r": 6, "rank_pattern": {"layers.0.v": 4}, "use_rslora": True, "alpha_pattern": {"v": -2}},
    {"target_modules": ["q"], "layers_to_transform": [0, 10], "layers_pattern": "layers"},
    {"target_modules": ["q", "v"], "exclude_modules": ["layers.3.q"]},
]


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("settings", ADAPTERS)
def test_products_are_those_of_pefts_conversion(folder, to, settings, rank):
    model = save(folder, **settings)
    expected, _ = converted(model, rank)
    resized = resize(folder, rank, to=to)
    found = deltas(load(to))
    assert set(found) == set(expected) == {layer.name for layer in resized.layers}
    full = deltas(model)
    for layer in resized.layers:
        check_product(found[layer.name], expected[layer.name], full[layer.name], rank)
        lost = distance(found[layer.name], full[layer.name])
        assert layer.error == pytest.approx(lost, abs=1e-6)
    written = json.loads((to / SETTINGS).read_text())
    assert (written["r"], written["lora_alpha"], written["use_rslora"]) == (rank, rank, False)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.8, 0.97, 1.0])
@pytest.mark.parametrize("settings", ADAPTERS[:5])
def test_shares_of_energy_give_the_ranks_and_products_of_pefts_conversion(
    folder, to, settings, share
):
    model = save(folder, **settings)
    resized = resize(folder, energy=share, to=to)
    ranks = {layer.name: layer.rank for layer in resized.layers}
    found = deltas(load(to))
    full = deltas(model)
    for name, delta in full.items():
        squares = torch.linalg.svdvals(delta).square()
        kept = squares[: ranks[name]].sum() / squares.sum()
        assert kept >= share - 1e-6
        assert ranks[name] == 1 or squares[: ranks[name] - 1].sum() / squares.sum() < share + 1e-6
    if share < 1:  # PEFT sums rounding errors up to get all
        expected, peft_ranks = converted(model, share)
        assert ranks == peft_ranks
        for name, delta in full.items():
            check_product(found[name], expected[name], delta, ranks[name])


def best_by_trying_all(model, names, budget):
    """Return the most energy that any ranks within a budget keep in some layers."""
    squares, costs = {}, {}
    for name, delta in deltas(model).items():
        if name in names:
            squares[name], costs[name] = torch.linalg.svdvals(delta).square(), sum(delta.shape)
    best = 0.0
    for counts in itertools.product(range(4), repeat=len(names)):
        ranks = dict(zip(squares, counts, strict=True))
        if sum(costs[n] * k for n, k in ranks.items()) <= budget:
            best = max(best, sum(float(squares[n][:k].sum()) for n, k in ranks.items()))
    return best, sum(float(each.sum()) for each in squares.values())


@pytest.mark.parametrize("budget", [20, 47, 48, 59, 61, 85, 101, 150, 190])
def test_a_budget_is_kept_to_and_discards_as_little_as_the_best_choice(folder, to, budget):
    names = {"layers.0.q", "layers.0.v", "layers.2.conv", "layers.2.v"}
    pattern = "|".join(name.replace(".", r"\.") for name in names)
    model = save(folder, r=3, target_modules=pattern, alpha_pattern={"v": 5, "conv": 2})
    best, total = best_by_trying_all(model, names, budget)
    resized = resize(folder, parameters=budget, to=to)
    written = load_file(to / WEIGHTS)
    assert sum(tensor.numel() for tensor in written.values()) == resized.parameters <= budget
    found, full = deltas(load(to)), deltas(model)
    assert set(found) == {layer.name for layer in resized.layers if layer.rank}
    lost = sum(
        float((full[name] - found.get(name, torch.zeros(()))).square().sum()) for name in full
    )
    assert lost == pytest.approx(total - best, rel=1e-4)
    assert resized.energy == pytest.approx(best / total, rel=1e-5)


def test_a_mean_rank_costs_what_that_rank_of_every_layer_costs(folder, to):
    save(folder, alpha_pattern={"layers.0.q": 50})
    resized = resize(folder, mean_rank=2.5, to=to)
    assert resized.parameters <= 2.5 * 11 * (28 + 20) < resized.parameters + 20 + 28
    assert resized.layers[0].rank == 4
    assert resize(folder, mean_rank=4, to=to, force=True).parameters == 4 * 11 * 48


@pytest.mark.parametrize(
    "chosen",
    [
        {},
        {"target_modules": r".*\.[qv]"},
        {"exclude_modules": ["layers.9.q", "layers.10.v"]},
        {"layers_to_transform": list(range(9)), "layers_pattern": "layers"},
    ],
)
def test_layers_without_a_rank_are_left_out_and_all_else_computes_the_same(folder, to, chosen):
    pattern = {r"layers\.[0-7]\.q": 20}
    model = save(folder, alpha_pattern=pattern, modules_to_save=["classifier"], **chosen)
    change_tensors(
        folder, lambda t: t.update({f"{PREFIX}classifier.bias": torch.tensor([1.0, -2.0, 3.0])})
    )
    resized = resize(folder, parameters=8 * 28 * 4 + 27, to=to)
    left_out = {layer.name for layer in resized.layers if not layer.rank}
    assert left_out
    assert all(each.error == 1 for each in resized.layers if each.name in left_out)
    loaded, stock = load(to), deltas(model)
    assert set(deltas(loaded)) == set(stock) - left_out
    assert load_file(to / WEIGHTS)[f"{PREFIX}classifier.bias"].tolist() == [1, -2, 3]
    torch.manual_seed(0)
    expected = Small()
    for name, delta in deltas(loaded).items():
        expected.get_submodule(name).weight.data += delta
    expected.classifier.bias.data = torch.tensor([1.0, -2.0, 3.0])
    with torch.no_grad():
        for found, wanted in zip(loaded(IDS)[0], expected(IDS)[0], strict=True):
            torch.testing.assert_close(found, wanted)
        torch.testing.assert_close(loaded(IDS)[1], expected(IDS)[1])


def test_uniform_pads_with_zeros_to_one_rank_and_one_scale(folder, to, tmp_path):
    save(folder, alpha_pattern={"layers.0.q": 9}, modules_to_save=["classifier"])
    plain = resize(folder, mean_rank=1.3, to=to)
    padded = resize(folder, mean_rank=1.3, to=tmp_path / "padded", uniform=True)
    assert len({layer.rank for layer in plain.layers}) > 1
    assert plain.layers == padded.layers
    tree = json.loads((tmp_path / "padded" / SETTINGS).read_text())
    assert tree["rank_pattern"] == tree["alpha_pattern"] == {}
    r = max(layer.rank for layer in plain.layers)
    assert tree["r"] == tree["lora_alpha"] == r
    tensors = load_file(tmp_path / "padded" / WEIGHTS)
    widths = {t.shape["lora_B" in k] for k, t in tensors.items() if "lora_" in k}
    assert widths == {r}
    found, expected = deltas(load(tmp_path / "padded")), deltas(load(to))
    assert set(found) == set(expected)
    assert all(torch.equal(found[name], expected[name]) for name in found)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_other_types_are_kept_and_worked_out_in_float64(folder, to, tmp_path, dtype):
    save(folder, modules_to_save=["classifier"])
    head = f"{PREFIX}classifier.weight"
    change_tensors(folder, lambda t: t.update({k: v.to(dtype) for k, v in t.items() if k != head}))
    resize(folder, 2, to=to)
    resize(folder, 2, to=tmp_path / "exact", dtype="float64")
    old, new, exact = (load_file(f / WEIGHTS) for f in (folder, to, tmp_path / "exact"))
    assert {key: tensor.dtype for key, tensor in new.items()} == {
        key: tensor.dtype for key, tensor in old.items()
    }
    assert torch.equal(new[head], old[head]) and torch.equal(exact[head], old[head])
    for key in [key for key in old if key.endswith("lora_A.weight")]:
        other = key.replace("lora_A", "lora_B")
        u, s, vh = torch.linalg.svd(8 / 4 * old[other].double() @ old[key].double())
        expected = (u[:, :2] * s[:2]) @ vh[:2]
        assert distance(exact[other] @ exact[key], expected) <= 1e-12
        allowed = {torch.bfloat16: 1e-2, torch.float16: 1e-3, torch.float64: 1e-12}[dtype]
        assert distance(new[other].double() @ new[key].double(), expected) <= allowed


def test_names_that_end_alike_keep_their_own_ranks(tmp_path, to):
    class Outer(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.a_q, self.q = torch.nn.Linear(9, 9), torch.nn.Linear(9, 9)
            self.a = torch.nn.ModuleDict({"q": torch.nn.Linear(9, 9)})
            self.b = torch.nn.ModuleDict({"a": torch.nn.ModuleDict({"q": torch.nn.Linear(9, 9)})})

    from peft import LoraConfig, get_peft_model

    torch.manual_seed(0)
    config = LoraConfig(
        r=4,
        target_modules=["q", "a_q"],
        init_lora_weights=False,
        alpha_pattern={"^q": 1, "a_q": 3, r"^a\.q": 10, r"b\.a\.q": 30},
    )
    model = get_peft_model(Outer(), config)
    model.save_pretrained(str(tmp_path / "adapter"))
    resized = resize(tmp_path / "adapter", mean_rank=2, to=to)
    ranks = {layer.name: layer.rank for layer in resized.layers if layer.rank}
    assert len(set(ranks.values())) > 1
    with warnings.catch_warnings(action="error"):
        loaded = PeftModel.from_pretrained(Outer(), str(to))
    modules = loaded.base_model.model
    assert {name: modules.get_submodule(name).r["default"] for name in ranks} == ranks
    assert {modules.get_submodule(name).scaling["default"] for name in ranks} == {1}


def test_a_rank_above_a_narrow_layers_own_is_its_own(folder, to):
    save(folder, r=10, rank_pattern={"q": 3})  # v has 8 outputs
    resized = resize(folder, 9, to=to)
    assert {(e.name[-1], e.r, e.rank) for e in resized.layers} == {("q", 3, 3), ("v", 10, 8)}
    assert all(layer.error < 1e-12 for layer in resized.layers)


def test_an_untrained_adapter_is_cut_by_rank_and_energy_and_refused_by_budget(folder, to):
    save(folder, init_lora_weights=True)
    assert {layer.rank for layer in resize(folder, 2, to=to).layers} == {2}
    assert {layer.rank for layer in resize(folder, energy=0.9, to=to, force=True).layers} == {1}
    assert not any(delta.any() for delta in deltas(load(to)).values())
    with pytest.raises(RequestError, match="zero"):
        resize(folder, mean_rank=2, to=to, force=True)


def test_the_card_names_checksums_ranks_and_a_base_on_the_hub(folder, to):
    save(folder)
    change(folder, base_model_name_or_path="org/base-1B")
    resize(folder, energy=0.7, to=to)
    card = (to / "README.md").read_text()
    assert card.startswith('---\nbase_model: "org/base-1B"\nlibrary_name: peft\n')
    for name in (SETTINGS, WEIGHTS):
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() in card
    assert "energy 0.7" in card and "| `layers.10.q` | 4 |" in card
    change(folder, base_model_name_or_path="/home/someone/base")
    resize(folder, 1, to=to, force=True)
    assert "base_model:" not in (to / "README.md").read_text()


def test_the_written_adapter_can_be_resized_again(folder, to, tmp_path):
    save(folder, use_rslora=True, alpha_pattern={"v": 7})
    resize(folder, energy=0.9, to=to)
    resize(to, 1, to=tmp_path / "again")
    resize(folder, 1, to=tmp_path / "at-once")
    again, at_once = deltas(load(tmp_path / "again")), deltas(load(tmp_path / "at-once"))
    assert all(distance(again[name], at_once[name]) <= 1e-5 for name in at_once)


def files(folder):
    return {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}


NAN = f"{PREFIX}layers.0.q.lora_A.weight"


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        ({"rank": 0}, "rank: found 0, expected at least 1 and at most 4"),
        ({"rank": 5}, "rank: found 5"),
        ({"rank": 2.0}, "expected a whole number"),
        ({"rank": True}, "expected a whole number"),
        ({"energy": 0}, "energy: found 0"),
        ({"energy": 1.01}, "energy: found 1.01"),
        ({"energy": math.nan}, "energy: found nan"),
        ({"parameters": 19}, "parameters: found 19, expected at least 20"),
        ({"parameters": 4 * 11 * 48 + 1}, "at most 2,112"),
        ({"parameters": -1}, "parameters: found -1"),
        ({"mean_rank": 4.01}, "mean_rank: found 4.01"),
        ({"mean_rank": -math.inf}, "mean_rank: found -inf"),
        ({}, "found none, expected one of rank, energy"),
        ({"rank": 2, "energy": 0.5}, "found rank and energy"),
        ({"rank": 2, "dtype": "half"}, "dtype: 'half'"),
    ],
)
def test_wrong_requests_are_named_and_nothing_is_written(folder, to, request_, expected):
    save(folder)
    before = files(folder.parent)
    with pytest.raises(RequestError) as caught:
        resize(folder, to=to, **request_)
    assert expected in str(caught.value) and len(caught.value.problems) == 1
    assert files(folder.parent) == before and not to.exists()


@pytest.mark.parametrize(
    "damage",
    [
        lambda f: change_tensors(f, lambda t: t[NAN].view(-1)[7:8].fill_(math.nan)),
        lambda f: change_tensors(f, lambda t: t[f"{PREFIX}classifier.bias"].fill_(math.inf)),
        lambda f: os.truncate(f / WEIGHTS, 3000),
        lambda f: os.truncate(f / WEIGHTS, 0),
        lambda f: change(f, use_dora=True),
        lambda f: change(f, peft_type="ADALORA"),
        lambda f: (f / SETTINGS).unlink(),
        lambda f: (f / SETTINGS).write_text("{"),
        lambda f: (f / WEIGHTS).rename(f / "adapter_model.bin"),
    ],
)
@pytest.mark.parametrize("rule", [{"rank": 2}, {"mean_rank": 2.0}])
def test_damaged_adapters_leave_an_earlier_export_as_it_is(folder, to, damage, rule):
    save(folder, modules_to_save=["classifier"])
    resize(folder, 1, to=to)
    damage(folder)
    before = files(folder.parent)
    with pytest.raises(RequestError) as caught:
        resize(folder, to=to, force=True, **rule)
    assert len(caught.value.problems) == 1
    assert files(folder.parent) == before


def test_values_beyond_a_narrow_type_are_refused(folder, to):
    save(folder)
    change_tensors(folder, lambda t: t[NAN].mul_(1e12))
    with pytest.raises(RequestError, match="--dtype float32"):
        resize(folder, 2, to=to, dtype="float16")
    assert not to.exists()


def test_a_folder_in_use_is_replaced_by_force_alone_and_the_adapter_itself_never(folder, to):
    save(folder)
    resize(folder, 1, to=to)
    (to / "notes.txt").write_text("mine")
    with pytest.raises(RequestError, match="--force"):
        resize(folder, 2, to=to)
    resize(folder, 2, to=to, force=True)
    assert json.loads((to / SETTINGS).read_text())["r"] == 2
    assert (to / "notes.txt").read_text() == "mine"
    for place in (folder, folder / "in-it"):
        with pytest.raises(RequestError, match="own folder"):
            resize(folder, 2, to=place, force=True)


@pytest.mark.parametrize(
    ("config", "refused"),
    [
        ({"model": {"fused": {"layers.0": ["q", "k", "v"]}}, "method": {"name": "dylora"}}, True),
        ({"model": {"fused": None}, "method": {"name": "matryoshka"}}, True),
        ({"model": {"fused": {"c_attn": ["q", "k", "v"]}}, "method": {"name": "dylora"}}, False),
        ("damaged", False),
    ],
)
def test_a_runs_own_factors_are_read_where_they_mean_the_same_to_peft(
    tmp_path, to, config, refused
):
    run = tmp_path / "3fa9"
    save(run / "model")
    (run / "run.json").write_text(json.dumps({"config": config, "data": []}))
    if refused:
        with pytest.raises(RequestError, match="dylora export 3fa9"):
            resize(run / "model", 1, to=to)
    else:
        assert resize(run / "model", 1, to=to).r == 1


def test_neither_peft_nor_transformers_is_imported_for_a_plain_adapter(folder, to):
    save(folder)
    code = (
        "import sys\nfrom dylora_exp.cli import main\n"
        "assert main(sys.argv[1:]) == 0\n"
        "assert not {'peft', 'transformers', 'datasets', 'matplotlib'} & set(sys.modules)\n"
    )
    words = ["resize", str(folder), "--mean-rank", "1", "--to", str(to)]
    subprocess.run([sys.executable, "-c", code, *words], check=True)


def test_conv1d_is_a_linear_layer_to_pefts_conversion(folder):
    """What the comparison above rests on: PEFT turns a Conv1D's product round."""
    model = save(folder, target_modules=["conv"])
    expected, _ = converted(model, 4)
    assert isinstance(model.base_model.model.layers[0].conv.base_layer, Conv1D)
    for name, delta in deltas(model).items():
        assert distance(expected[name], delta) <= 1e-5


def test_an_adapter_of_many_equal_layers_is_written_whole(tmp_path, to):
    """Singular values that tie across layers cost no more than others to choose among."""
    tensors = {}
    for i in range(30):
        for name, (d_in, d_out) in {"a": (13, 7), "b": (9, 17), "c": (11, 23)}.items():
            key = f"{PREFIX}layers.{i}.{name}"
            root = (d_in + d_out) ** 0.25
            tensors[f"{key}.lora_A.weight"] = root * torch.eye(6, d_in)
            tensors[f"{key}.lora_B.weight"] = root * torch.eye(d_out, 6)
    (tmp_path / "adapter").mkdir()
    save_file(tensors, tmp_path / "adapter" / WEIGHTS)
    tree = {"peft_type": "LORA", "r": 6, "lora_alpha": 6, "target_modules": ["a", "b", "c"]}
    (tmp_path / "adapter" / SETTINGS).write_text(json.dumps(tree))
    resized = resize(tmp_path / "adapter", parameters=5001, to=to)
    assert resized.parameters == 5000  # all costs are even
