"""Cuts of a model: what is measured on examples, and how the model is shown."""

import functools

import pytest
import torch

from dylora_exp import adapters
from dylora_exp.adapters.calibration import Calibration, input_moments, row_importance
from dylora_exp.adapters.cutting import named_layers, plan_cuts, shown
from dylora_exp.config.composition import compose
from dylora_exp.core import RequestError
from dylora_exp.methods.base import Cut, make_method
from dylora_exp.models.loading import load
from dylora_exp.objectives.base import ObjectiveContext, make_objective
from dylora_exp.tasks import read
from dylora_exp.training.calibration import calibration_batches

TRUNCATIONS = ["leading", "svd", "energy", "global", "activation", "gradient"]
CUTS = [f"{{truncation: {name}, scale: alpha/r}}" for name in TRUNCATIONS]
SCORE = f"method.score=[{','.join(CUTS)}]"
WORDS = ["method=lora", SCORE, "ranks.r_max=4", "task.max_train_samples=40",
         "task.max_eval_samples=8", "trainer.batch_size=6",
         "method.calibration_batches=3"]  # fmt: skip


@pytest.fixture(scope="module")
def made():
    """A method, its model with factors that are not zero, and its objective."""
    config = compose(WORDS)
    torch.manual_seed(0)
    backbone, tokenizer = load(config.model, labels=2)
    objective = make_objective(ObjectiveContext(config, tokenizer, 128, read(config.task)))
    method = make_method(config)
    model = method.attach(backbone).eval()
    for number, layer in enumerate(named_layers(model).values(), 1):
        a, b = adapters.factors(layer)
        torch.nn.init.normal_(a, std=0.3)
        torch.nn.init.normal_(b, std=0.3)
        # Some layers have few large singular values, others many.
        b.data *= (number / 4) ** torch.arange(4.0)
    method.prepare_cuts(model, functools.partial(calibration_batches, objective, config))
    return method, model, objective


def logits(model, objective):
    inputs = objective.batches[0].inputs
    with torch.no_grad():
        return model(**inputs).logits


def test_full_rank_is_the_model_and_each_cut_is_taken_back_to_the_bit(made):
    method, model, objective = made
    before = {name: each.clone() for name, each in model.state_dict().items()}
    whole = logits(model, objective)
    seen = {}
    for cut in method.cuts():
        with method.at_cut(model, cut):
            seen[cut] = logits(model, objective)
        after = model.state_dict()
        assert all(torch.equal(each, after[name]) for name, each in before.items())
    assert torch.equal(logits(model, objective), whole)
    for truncation in TRUNCATIONS:
        torch.testing.assert_close(seen[Cut(4, truncation, "alpha/r")], whole, rtol=0, atol=1e-4)
        assert (seen[Cut(1, truncation, "alpha/r")] - whole).abs().max() > 1e-3
    with pytest.raises(ZeroDivisionError), method.at_cut(model, Cut(1, "gradient", "alpha/r")):
        raise ZeroDivisionError
    assert all(torch.equal(each, model.state_dict()[name]) for name, each in before.items())


def test_a_cut_is_the_model_with_the_products_of_its_plan(made):
    method, model, objective = made
    for truncation in ("global", "gradient", "energy"):
        cut = Cut(2, truncation, "alpha/r")
        plan, ranks = method.plans[truncation], method.layer_ranks(cut)
        assert ranks is not None
        assert sum(ranks.values()) <= 2 * len(ranks)  # all layers are of one size here
        with method.at_cut(model, cut):
            found = logits(model, objective)
        cut_off = {
            name: (a * (torch.arange(4) < ranks[name])[:, None], b)
            for name, (a, b) in plan.factors.items()
        }
        with shown(model, cut_off):
            torch.testing.assert_close(found, logits(model, objective), rtol=0, atol=1e-5)


def test_moments_are_those_of_real_tokens_whatever_the_batches(made):
    _, model, objective = made
    layers = named_layers(model)
    rows = [objective.train_set[i] for i in range(6)]
    assert len({row["length"] for row in rows}) > 1  # a batch of them is padded

    def moments(batches):
        calibration = Calibration(batches, objective.collate, objective.loss)
        return input_moments(model, layers, calibration)

    together, apart = moments([rows]), moments([[row] for row in rows[::-1]])
    name = next(iter(layers))
    seen = []
    hook = layers[name].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    inputs = objective.collate(rows)
    with torch.no_grad():
        model(**{key: value for key, value in inputs.items() if key != "labels"})
    hook.remove()
    x = seen[0][inputs["attention_mask"].bool()].double()
    a = adapters.factors(layers[name])[0].detach().double()
    torch.testing.assert_close(together[name], a @ (x.T @ x) @ a.T, rtol=1e-4, atol=1e-4)
    for each in layers:
        torch.testing.assert_close(together[each], apart[each], rtol=1e-9, atol=1e-9)


def test_importance_is_sigma_times_the_derivative_by_sigma(made):
    _, model, objective = made
    layers = named_layers(model)
    trained = {name: adapters.factors(layer) for name, layer in layers.items()}
    singular = plan_cuts("svd", {n: (a.detach(), b.detach()) for n, (a, b) in trained.items()}, {})
    rows = [objective.train_set[i] for i in range(8)]
    batches = [rows[:5], rows[5:]]
    calibration = Calibration(batches, objective.collate, objective.loss)
    with shown(model, singular.factors):
        found = row_importance(model, layers, calibration)
    name, row, step = list(layers)[-1], 1, 0.02

    def loss(batch, factor):
        a, b = (each.clone() for each in singular.factors[name])
        a[row] *= factor
        inputs = objective.collate(batch)
        labels = inputs.pop("labels")
        with shown(model, {**singular.factors, name: (a, b)}), torch.no_grad():
            return objective.loss(model(**inputs).logits, labels).item()

    changes = [(loss(b, 1 + step) - loss(b, 1 - step)) / (2 * step) for b in batches]
    assert found[name][row].item() == pytest.approx(
        sum(map(abs, changes)) / len(changes), rel=0.02, abs=1e-5
    )
    assert all(p.grad is None for p in model.parameters())


def test_examples_are_drawn_by_the_seed_alone(made):
    _, _, objective = made
    config = compose(WORDS)
    torch.manual_seed(1)
    one = calibration_batches(objective, config, 3)
    torch.manual_seed(2)
    two = calibration_batches(objective, config, 3)
    assert one.batches == two.batches
    assert [len(batch) for batch in one.batches] == [6, 6, 6]
    other = calibration_batches(objective, compose([*WORDS, "seed=11"]), 3)
    assert other.batches != one.batches
    assert calibration_batches(objective, config, 99).examples == 40  # all, each once


def test_what_is_measured_uses_up_no_random_number_and_keeps_the_mode(made):
    method, model, objective = made
    state = torch.get_rng_state()
    model.train()
    method.prepare_cuts(model, functools.partial(calibration_batches, objective, method.config))
    assert model.training
    model.eval()
    assert torch.equal(state, torch.get_rng_state())
    assert method.calibration["examples"] == 18


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["method.score=[{truncation: energy, scale: alpha/b}]"],
         "method.score[0].scale: found alpha/b with truncation energy"),
        (["method.score=[{truncation: gradient}]"], "expected alpha/r."),
        (["method=dylora", "method.score=[{truncation: global, scale: alpha/r}]"],
         "method.score[0].truncation: found global, method 'dylora'"),
        (["method=nested-dropout", "method.score=[{truncation: activation, scale: alpha/r}]"],
         "expected one of leading, svd."),
        (["method=sorted-lora", "method.score=[{truncation: energy, scale: alpha/r}]"],
         "method 'sorted-lora' trains its rows for their order"),
        (["method=matryoshka", "method.score=[{truncation: gradient, scale: alpha/r}]"],
         "the diagonal of method 'matryoshka'"),
        (["method.score=[{truncation: svd},{truncation: svd}]"],
         "found 'svd alpha/b' more than once"),
        (["method.score=[{truncation: globl}]"], "method.score[0].truncation"),
        (["method.calibration_batches=4"],
         "method.calibration_batches: it would change nothing, method.score has no truncation"),
        (["method=dylora", "method.calibration_batches=4"], "it would change nothing"),
        (["method.calibration_batches=0", SCORE], "method.calibration_batches: found 0"),
    ],
)  # fmt: skip
def test_a_cut_that_a_method_cannot_be_shown_at_is_one_sentence(words, expected):
    words = words if any(w.startswith("method=") for w in words) else ["method=lora", *words]
    try:
        config = compose(words)
        problems = type(make_method(config)).problems(config)
    except RequestError as error:
        problems = error.problems
    assert len(problems) == 1
    assert expected in problems[0]


def test_rank_256_of_layers_that_are_narrower():
    """Factors of 256 rows on layers of 64: every cut of the largest rank is the whole adapter."""
    cuts = ["svd", "energy", "global", "leading"]
    words = ",".join(f"{{truncation: {name}, scale: alpha/r}}" for name in cuts)
    config = compose(["method=lora", "ranks=powers", "ranks.r_max=256", f"method.score=[{words}]"])
    torch.manual_seed(0)
    backbone, _ = load(config.model, labels=2)
    method = make_method(config)
    model = method.attach(backbone).eval()
    for layer in named_layers(model).values():
        for factor in adapters.factors(layer):
            torch.nn.init.normal_(factor, std=0.05)
    ids = torch.arange(5, 39).reshape(2, 17)
    with torch.no_grad():
        whole = model(input_ids=ids).logits
        method.prepare_cuts(model, lambda count: None)
        for truncation in cuts:
            # Of a product of 64 singular values, rank 64 is the whole in the singular basis.
            for rank in (64, 256) if truncation == "svd" else (256,):
                with method.at_cut(model, Cut(rank, truncation, "alpha/r")):
                    shown_logits = model(input_ids=ids).logits
                torch.testing.assert_close(shown_logits, whole, rtol=0, atol=1e-5)
    assert [cut.rank for cut in method.cuts()][:9] == [1, 2, 4, 8, 16, 32, 64, 128, 256]
