import dataclasses
import math

import pytest

from dylora_exp.config.overrides import options
from dylora_exp.core.errors import RequestError
from dylora_exp.reporting.analysis.groups import groups_of
from dylora_exp.reporting.analysis.plan import setups_by_rank
from dylora_exp.reporting.analysis.verdicts import (
    ALL_TASKS,
    FAILS,
    HOLDS,
    NO_DATA,
    judge,
)
from dylora_exp.reporting.specs.claims import ClaimSpec, load_claims
from dylora_exp.reporting.specs.layout import RowSpec
from tests.support.records import LEADING, LEADING_R, SVD

DYLORA = RowSpec(label="DyLoRA", method="dylora", truncation="leading", scale="alpha/b")
LORA = RowSpec(label="LoRA", method="lora", truncation="leading", scale="alpha/b")


def claim(**changes):
    fields = {"name": "c", "says": "s", "source": "paper", "place": "p"}
    fields |= {"left": DYLORA, "right": LORA, "ranks": [1], "above": 0.0}
    return ClaimSpec(**{**fields, **changes})


def verdicts(results, *claims):
    records, _ = results.store.read_all()
    groups, _ = groups_of(record for record in records if record.status == "completed")
    return judge(claims, groups)


def only(results, **changes):
    (verdict,) = verdicts(results, claim(**changes))
    return verdict


def demo(results, method, values, rank_values=None, **changes):
    """Write a demo run a seed with a value at every rank, or with values by rank."""
    for seed, value in values.items():
        cuts = [LEADING, LEADING_R, SVD] if method == "lora" else [LEADING]
        scores = {
            (rank, *cut): {"accuracy": (rank_values or {}).get(rank, 0) + value}
            for rank in range(1, 9)
            for cut in cuts
        }
        results.add(f"profile=demo task=demo method={method}", seed, scores, **changes)


def test_holds(results):
    # Differences .30, .31, .32: mean .31, std .01, t(2) = 4.302653.
    demo(results, "dylora", {1: 0.80, 2: 0.81, 3: 0.82})
    demo(results, "lora", {1: 0.50, 2: 0.50, 3: 0.50, 4: 0.50})
    found = only(results)
    reach = 0.95 / math.sqrt(2 * 0.975 * 0.025) * 0.01 / math.sqrt(3)
    assert (found.word, found.task, found.seeds) == (HOLDS, "demo", (1, 2, 3))
    assert found.effect.mean == pytest.approx(0.31, abs=1e-9)
    assert found.effect.low == pytest.approx(0.31 - reach, abs=1e-9)
    records, _ = results.store.read_all()
    assert set(found.runs) == {record.run_id for record in records if record.seed != 4}


@pytest.mark.parametrize(
    ("bounds", "word"),
    [
        ({"above": 0.2}, HOLDS),
        ({"above": 0.2, "below": 0.4}, HOLDS),
        ({"above": 0.31}, NO_DATA),
        ({"above": None, "below": 0.31}, NO_DATA),
        ({"above": 0.4}, FAILS),
        ({"above": None, "below": 0.2}, FAILS),
        ({"above": 0.35, "below": 0.4}, FAILS),
    ],
)
def test_each_verdict(results, bounds, word):
    demo(results, "dylora", {1: 0.80, 2: 0.81, 3: 0.82})
    demo(results, "lora", {1: 0.50, 2: 0.50, 3: 0.50})
    assert only(results, **bounds).word == word


def test_one_common_seed_is_not_enough(results):
    demo(results, "dylora", {1: 0.8, 2: 0.8})
    demo(results, "lora", {2: 0.5, 3: 0.5})
    found = only(results)
    assert (found.word, found.effect) == (NO_DATA, None)
    assert found.reason == "1 seed of both sides, two are needed"


def test_no_records_of_one_side(results):
    demo(results, "dylora", {1: 0.8, 2: 0.8})
    found = only(results)
    assert (found.word, found.task) == (NO_DATA, "")
    assert found.reason == "no task has completed runs of both sides"


@pytest.mark.parametrize(
    ("above", "word"), [(0.0, HOLDS), (0.09, HOLDS), (0.11, FAILS), (0.5, FAILS)]
)
def test_equal_effects_decide_by_their_value(results, above, word):
    demo(results, "dylora", {1: 0.3, 2: 0.2})
    demo(results, "lora", {1: 0.2, 2: 0.1})
    assert only(results, above=above).word == word


def test_a_crossed_bound_says_so_and_keeps_its_effect(results):
    demo(results, "dylora", {1: 0.3, 2: 0.1})
    demo(results, "lora", {1: 0.2, 2: 0.1})
    found = only(results)
    assert (found.word, found.reason) == (
        *(NO_DATA, "its interval crosses a bound; more seeds would decide"),
    )
    assert found.effect.mean == pytest.approx(0.05)
    assert len(found.runs) == 4


def test_an_undefined_score_leaves_its_seed_out(results):
    demo(results, "dylora", {1: 0.8, 2: 0.81})
    demo(results, "lora", {1: 0.5})
    results.demo("lora", 2, None)
    assert only(results).word == NO_DATA


def test_failed_runs_do_not_count(results):
    demo(results, "dylora", {1: 0.8, 2: 0.81})
    demo(results, "lora", {1: 0.5, 2: 0.5}, status="failed")
    assert only(results).word == NO_DATA


def test_runs_of_other_settings_do_not_count(results):
    demo(results, "lora", {1: 0.5, 2: 0.5})
    scores = {(1, *LEADING): {"accuracy": 0.9}}
    for seed in (1, 2):
        results.add("profile=demo method=dylora trainer.max_steps=3", seed, scores)
    assert only(results).word == NO_DATA
    changed = RowSpec(**{**vars(DYLORA), "set": ["trainer.max_steps=3"]})
    assert only(results, left=changed).effect.mean == pytest.approx(0.4)


def test_ranks_are_averaged_and_a_sides_own_rank_goes_before_them(results):
    demo(results, "lora", {1: 0.0, 2: 0.01}, rank_values={1: 0.5, 2: 0.7, 8: 0.9})
    at_8 = RowSpec(**{**vars(LORA), "rank": 8})
    found = only(results, left=LORA, right=at_8, ranks=[1, 2], above=None, below=0.0)
    assert found.effect.mean == pytest.approx(-0.3)


def test_each_rank_must_hold(results):
    demo(results, "dylora", {1: 0.80, 2: 0.81, 3: 0.82}, rank_values={2: -0.4})
    demo(results, "lora", {1: 0.50, 2: 0.50, 3: 0.50})
    assert only(results, ranks=[1, 3], each_rank=True).word == HOLDS
    found = only(results, ranks=[1, 2], each_rank=True)
    assert (found.word, found.at) == (FAILS, 2)
    # Both intervals together have 95 %: each has 97.5 %.
    p = 1 - 0.0125
    reach = (2 * p - 1) / math.sqrt(2 * p * (1 - p)) * 0.01 / math.sqrt(3)
    assert found.effect.high == pytest.approx(-0.09 + reach, abs=1e-9)


def test_times_are_compared_as_ratios(results):
    demo(results, "dylora", {1: 0.8}, timing={"train_seconds": 100.0})
    demo(results, "dylora", {2: 0.8}, timing={"train_seconds": 200.0})
    demo(results, "lora", {1: 0.8, 2: 0.8}, timing={"train_seconds": 100.0})
    times = {
        "measure": "train_seconds",
        "compare": "ratio",
        "ranks": [],
        "above": 0.9,
        "below": 1.1,
    }
    found = only(results, **times)
    # The logarithms are 0 and log 2.
    reach = math.tan(0.475 * math.pi) * math.log(2) / 2
    assert found.word == NO_DATA
    assert found.effect.mean == pytest.approx(math.sqrt(2), abs=1e-9)
    assert found.effect.high == pytest.approx(math.sqrt(2) * math.exp(reach), rel=1e-9)


def test_a_search_takes_the_time_of_all_its_runs(results):
    for seed, seconds in ((1, 100.0), (2, 101.0)):
        for rank in (1, 2):
            words = f"profile=demo method=lora ranks.r_max={rank}"
            timing = {"train_seconds": seconds}
            results.add(words, seed, {(rank, *LEADING): {"accuracy": 0.5}}, timing=timing)
    demo(results, "dylora", {1: 0.8, 2: 0.8}, timing={"train_seconds": 100.0})
    search = RowSpec(**{**vars(LORA), "search": [1, 2]})
    times = {
        "measure": "train_seconds",
        "compare": "ratio",
        "ranks": [],
        "above": 1.8,
        "below": 2.2,
    }
    found = only(results, left=search, right=DYLORA, **times)
    assert found.word == HOLDS
    assert found.effect.mean == pytest.approx(2 * math.sqrt(1.01))
    assert len(found.runs) == 6


def test_tasks_are_judged_by_themselves_and_together(results):
    for task, gap in (("sst2", 0.1), ("mrpc", 0.3)):
        for method, add in (("dylora", gap), ("lora", 0.0)):
            for seed in (1, 2, 3):
                value = 0.5 + add + (0.01 * seed if add else 0)
                scores = {(1, *LEADING): {"accuracy": value, "f1": value}}
                results.add(f"profile=mini task={task} method={method}", seed, scores)
    mrpc, sst2, both = verdicts(results, claim())
    assert [mrpc.task, sst2.task, both.task] == ["mrpc", "sst2", ALL_TASKS]
    assert both.effect.mean == pytest.approx((mrpc.effect.mean + sst2.effect.mean) / 2)
    assert both.effect.n == 3
    assert set(both.runs) == {*mrpc.runs, *sst2.runs}
    (one,) = verdicts(results, claim(tasks=["sst2"]))
    assert one.task == "sst2"


def test_an_unknown_profile(results):
    record = results.demo("dylora", 1, 0.8)
    groups, _ = groups_of([dataclasses.replace(record, profile="mine")])
    (found,) = judge([claim()], groups)
    assert (found.word, found.reason) == (NO_DATA, "there is no conf/profile/mine.yaml")


def test_a_side_that_its_runs_do_not_have_is_said(results):
    demo(results, "dylora", {1: 0.8, 2: 0.8})
    demo(results, "lora", {1: 0.8, 2: 0.8})
    svd = RowSpec(**{**vars(DYLORA), "truncation": "svd"})
    found = only(results, left=svd)
    assert found.word == NO_DATA
    assert "row 'DyLoRA': truncation and scale" in found.reason


def test_the_projects_claims_can_be_judged_where_their_runs_can_be_composed():
    claims = load_claims()
    assert {claim.source for claim in claims} == {"paper", "project"}
    for claim in claims:
        task = "e2e" if "demo" not in (claim.tasks or ["demo"]) else "demo"
        profile = "mini-nlg" if task == "e2e" else "demo"
        for side in claim.sides():
            ranks = setups_by_rank(side, (f"profile={profile}",), task)
            shown = [side.rank] if side.rank is not None else claim.ranks
            assert set(shown) <= set(ranks), claim.name


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("source: nobody", "claim 'c': source: 'nobody' is not one of paper, project."),
        ("measure: speed", "claim 'c': measure: 'speed' is not one of score, train_seconds."),
        ("above: null", "claim 'c': found no bound, expected 'above', 'below' or both."),
        ("below: -1", "claim 'c': above: found 0, expected less than 'below', -1."),
        ("each_rank: true", "claim 'c': each_rank: found no 'ranks' to be about."),
        ("tasks: [demoo]", "claim 'c': tasks[0]: 'demoo' is not one of"),
        ("left: {label: L, method: lorra}", "claim 'c': left.method: 'lorra' is not one of"),
    ],
)
def test_a_wrong_claim_is_one_sentence(tmp_path, change, sentence):
    import yaml

    side = {"label": "L", "method": "lora", "truncation": "leading", "scale": "alpha/b"}
    tree = {"name": "c", "says": "s", "source": "paper", "place": "p", "left": side, "right": side}
    path = tmp_path / "claims.yaml"
    path.write_text(yaml.safe_dump({"claims": [{**tree, "above": 0.0, **yaml.safe_load(change)}]}))
    with pytest.raises(RequestError) as error:
        load_claims(path)
    assert error.value.problems[0].startswith(f"{path}: {sentence}")


def test_claims_twice_or_none(tmp_path):
    assert load_claims(tmp_path / "none.yaml") == []
    assert "demo" in options("task")
