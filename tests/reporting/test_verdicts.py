import dataclasses
import math

import pytest

from dylora_exp.config.overrides import options
from dylora_exp.core.errors import RequestError
from dylora_exp.reporting.analysis.decisions import FAILS, HOLDS, NO_DATA
from dylora_exp.reporting.analysis.groups import groups_of
from dylora_exp.reporting.analysis.plan import Base, setups_by_rank
from dylora_exp.reporting.analysis.verdicts import (
    ALL_TASKS,
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


@pytest.mark.parametrize("above", [0.0, 0.09, 0.11, 0.5])
@pytest.mark.parametrize("seeds", [2, 5])
def test_equal_effects_decide_nothing(results, above, seeds):
    # 0.3 - 0.2 and 0.2 - 0.1 differ in their last bits.
    demo(results, "dylora", {seed: 0.3 if seed % 2 else 0.2 for seed in range(seeds)})
    demo(results, "lora", {seed: 0.2 if seed % 2 else 0.1 for seed in range(seeds)})
    found = only(results, above=above)
    assert (found.word, found.seeds_needed) == (NO_DATA, None)
    assert found.reason == (
        f"all {seeds} effects are equal, which says nothing of their scatter; more seeds are needed"
    )


def on_rte(results, examples, **data):
    """Write RTE runs whose accuracies differ by these numbers of 277 examples, a seed each."""
    for seed, more in enumerate(examples):
        for method, right in (("dylora", 200 + more), ("lora", 200)):
            scores = {(1, *LEADING): {"accuracy": right / 277}}
            results.add(f"profile=mini task=rte method={method}", seed, scores, **data)


RTE = {"data": [{"file": "train.tsv", "rows": 2490}, {"file": "dev.tsv", "rows": 277}]}


@pytest.mark.parametrize(
    ("examples", "word"),
    [
        ((1, 1), NO_DATA),
        ((1, 2), NO_DATA),
        ((8, 9), NO_DATA),  # |t| is 17, but the deviation of one example at least makes it 12
        ((9, 11), NO_DATA),
        ((19, 20), HOLDS),
        ((-19, -20), FAILS),
        ((5, 6, 6, 7, 5), HOLDS),
        ((0, 0, 0, 0, 0), NO_DATA),
        ((40, 40, 40), NO_DATA),
    ],
)
def test_scatter_is_at_least_one_example(results, examples, word):
    on_rte(results, examples, **RTE)
    assert only(results).word == word


def test_the_interval_has_the_scatter_that_decides(results):
    on_rte(results, (8, 9), **RTE)
    found = only(results)
    # The deviation of 8 and 9 is .71 examples; one is taken. The quantile is Cauchy's.
    reach = math.tan(0.475 * math.pi) / math.sqrt(2) / 277
    assert found.effect.low == pytest.approx(8.5 / 277 - reach, abs=1e-9)
    assert found.effect.std == pytest.approx(math.sqrt(0.5) / 277)
    assert found.p == pytest.approx(0.5 - math.atan(8.5 * math.sqrt(2)) / math.pi, abs=1e-9)
    assert found.seeds_needed == 3


def test_without_a_number_of_examples_the_scatter_is_what_it_is(results):
    on_rte(results, (8, 9))
    assert only(results).word == HOLDS


def test_a_crossed_bound_says_so_and_keeps_its_effect(results):
    demo(results, "dylora", {1: 0.3, 2: 0.1})
    demo(results, "lora", {1: 0.2, 2: 0.1})
    found = only(results)
    # t(10) at 2.5 % is 2.228139 and t(9) 2.262157, the deviation sqrt(2) of the mean.
    assert 2.228139 * math.sqrt(2 / 11) < 1 < 2.262157 * math.sqrt(2 / 10)
    assert found.word == NO_DATA
    assert found.reason == (
        "its interval crosses a bound; about 11 seeds would decide, if mean and scatter stay"
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
    mean = {"ranks": [1, 2], "each_rank": False, "above": None, "below": 0.0}
    found = only(results, left=LORA, right=at_8, **mean)
    assert (found.effect.mean, found.at) == (pytest.approx(-0.3), None)


def test_each_rank_must_hold(results):
    demo(results, "dylora", {1: 0.80, 2: 0.81, 3: 0.82}, rank_values={2: -0.4, 3: 0.1, 4: -0.305})
    demo(results, "lora", {1: 0.50, 2: 0.50, 3: 0.50})
    held = only(results, ranks=[1, 3])
    # The rank where it holds by the least, with its whole 95 % interval.
    assert (held.word, held.at) == (HOLDS, 1)
    reach = 0.95 / math.sqrt(2 * 0.975 * 0.025) * 0.01 / math.sqrt(3)
    assert held.effect.low == pytest.approx(0.31 - reach, abs=1e-9)
    # Two degrees of freedom have a closed form: t is 31 √3.
    t = 31 * math.sqrt(3)
    assert held.p == pytest.approx((1 - t / math.sqrt(2 + t * t)) / 2, abs=1e-9)
    failed = only(results, ranks=[1, 2, 3])
    assert (failed.word, failed.at) == (FAILS, 2)
    t = 9 * math.sqrt(3)
    assert failed.p == pytest.approx(3 * (1 - t / math.sqrt(2 + t * t)) / 2, abs=1e-9)
    assert only(results, ranks=[1, 3], each_rank=False).word == HOLDS
    # One rank that is undecided leaves all undecided, however well the mean over the ranks does.
    assert only(results, ranks=[1, 3, 4]).word == NO_DATA
    assert only(results, ranks=[1, 3, 4], each_rank=False).word == HOLDS


def test_claims_of_a_family_are_corrected_together(results):
    # t = 9 √3: one-sided .0020 alone; 2.5 % over 12 tests are .0021.
    demo(results, "dylora", {1: 0.58, 2: 0.59, 3: 0.60})
    demo(results, "lora", {1: 0.50, 2: 0.50, 3: 0.50})
    t = 9 * math.sqrt(3)
    p = (1 - t / math.sqrt(2 + t * t)) / 2
    for count, word in ((1, HOLDS), (12, HOLDS), (13, NO_DATA)):
        claims = [claim(name=f"c{number}", family="f") for number in range(count)]
        found = verdicts(results, *claims, claim(name="other", family="g"))
        assert {one.word for one in found[:-1]} == {word}
        assert found[0].p == pytest.approx(count * p) and found[0].tests == count
        assert (found[-1].word, found[-1].tests) == (HOLDS, 1)
    assert found[0].reason == (
        "its interval crosses no bound, but is one of 13 of its family (Holm); "
        "about 4 seeds would decide, if mean and scatter stay"
    )


def test_a_claim_without_data_is_no_test_of_its_family(results):
    demo(results, "dylora", {1: 0.80, 2: 0.81, 3: 0.82})
    demo(results, "lora", {1: 0.50, 2: 0.50, 3: 0.50})
    svd = RowSpec(label="F", method="flop")
    found = verdicts(results, claim(), claim(name="d", left=svd))
    assert [(one.word, one.tests) for one in found] == [(HOLDS, 1), (NO_DATA, None)]


@pytest.mark.parametrize(("dylora", "word"), [(0.3, HOLDS), (0.7, FAILS)])
def test_where_less_is_better_the_lower_side_is_better(results, dylora, word):
    for method, value in (("dylora", dylora), ("lora", 0.5)):
        for seed in (1, 2, 3):
            scores = {(1, *LEADING): {"ter": value + (method == "lora") * seed / 100}}
            data = [{"file": "dev.json", "rows": 2000, "contexts": 1000}]
            words = f"profile=mini-nlg task=webnlg method={method}"
            results.add(words, seed, scores, data=data)
    found = only(results, metric="ter")
    assert found.word == word
    assert found.effect.mean == pytest.approx(0.52 - dylora)
    ratio = only(results, metric="ter", compare="ratio", above=1.0)
    assert (ratio.word, ratio.effect.mean > 1) == (word, word == HOLDS)


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
    assert all(claim.family for claim in claims)
    for claim in claims:
        task = "e2e" if "demo" not in (claim.tasks or ["demo"]) else "demo"
        profile = "mini-nlg" if task == "e2e" else "demo"
        for side in claim.sides():
            ranks = setups_by_rank(side, Base((f"profile={profile}",)), task)
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
        (
            "own_bounds: [below]",
            "claim 'c': own_bounds: found 'below', but the claim has no such bound.",
        ),
        ("own_bounds: [over]", "claim 'c': own_bounds[0]: 'over' is not one of above, below"),
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


def test_a_claim_is_about_each_of_its_ranks_unless_it_says_that_it_is_about_their_mean():
    for one in load_claims():
        if len(one.ranks) > 1:
            said = ("each of the ranks", "both ranks") if one.each_rank else ("on average over",)
            assert any(words in one.says for words in said), one.name


def test_the_bounds_of_the_project_are_marked():
    """What the paper prints, or says without a number: that one side is better than the other."""
    for one in load_claims():
        neutral = 1 if one.compare == "ratio" else 0
        for name, value in one.bounds():
            marked = f"{name} {value:g}{'x' if neutral else ''} (project's bound)" in one.expected()
            assert marked or (one.source == "paper" and value == neutral), one.name
    own = claim(above=-0.01, below=0.0, own_bounds=["above"])
    assert own.expected() == "difference above -0.01 (project's bound) and below 0"


def test_the_paper_gives_no_figure_for_the_frozen_updates_time():
    (one,) = [one for one in load_claims() if one.name == "frozen-saves-time"]
    assert "no figure" in one.says and one.expected() == "ratio below 1x (project's bound)"


def test_claims_twice_or_none(tmp_path):
    assert load_claims(tmp_path / "none.yaml") == []
    assert "demo" in options("task")
