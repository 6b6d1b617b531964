"""Tables that ask for tuning: what they may say, the file of choices, and which records count."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from dylora_exp.config.choices import option_files
from dylora_exp.config.composition import compose
from dylora_exp.config.run_identity import run_id
from dylora_exp.core import RequestError, use_config_folders
from dylora_exp.records.store import RecordStore
from dylora_exp.reporting.analysis.report import make_report
from dylora_exp.reporting.analysis.trials import choose_values, tuned_trainings, untuned
from dylora_exp.reporting.make_tables import make_tables, table_runs
from dylora_exp.reporting.specs.claims import load_claims
from dylora_exp.reporting.specs.tables import load_spec
from dylora_exp.reporting.specs.tuning import (
    load_tuned,
    tuned_path,
    value_overrides,
    write_tuned,
)
from tests.support.records import LEADING, SVD, Results
from tests.support.tiny_runs import ROOT

STORES = [ROOT / "results", ROOT / "results" / "examples"]
GOOD = """
title: T
caption: C
rows:
  - {label: "LoRA (leading)", method: lora, truncation: leading, scale: alpha/b}
  - {label: "LoRA (SVD)", method: lora, truncation: svd, scale: alpha/r}
  - {label: LoRA at each rank, method: lora, search: [2, 4], truncation: svd, scale: alpha/r}
  - {label: DyLoRA, method: dylora, truncation: leading, scale: alpha/b}
  - {label: Sorted, method: sorted-lora, truncation: leading, scale: alpha/r, optional: [demo]}
blocks:
  - {heading: "Rank = {rank}", ranks: [2, 4]}
tuning:
  values: {trainer.learning_rate: [1.0e-3, 4.0e-3]}
  seed: 7
  held_out: 0.2
  set: [task.max_eval_samples=50]
profiles:
  demo:
    seeds: [10, 42]
    set: [ranks.r_max=4, ranks.score=powers_of_two]
    columns:
      - {heading: Demo task, task: demo, metric: accuracy}
"""
BASE = "profile=demo ranks.r_max=4 ranks.score=powers_of_two"
HELD_OUT = "task.held_out=0.2 task.max_eval_samples=50"


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    """A folder of the user's own with a table that asks for tuning."""
    folder = tmp_path / "conf"
    (folder / "table").mkdir(parents=True)
    (folder / "table" / "mine.yaml").write_text(GOOD, encoding="utf-8")
    use_config_folders([str(folder)])
    return folder


def spec_of(folder: Path, old: str = "", new: str = "") -> None:
    assert old in GOOD
    (folder / "table" / "mine.yaml").write_text(GOOD.replace(old, new), encoding="utf-8")


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            "trainer.learning_rate: [1",
            "trainer.lerning_rate: [1",
            "tuning.values: 'trainer.lerning_rate' is no setting of trainer or method to tune; did "
            "you mean 'trainer.learning_rate'?",
        ),
        ("trainer.learning_rate", "task.max_length", "'task.max_length' is no setting of trainer"),
        ("trainer.learning_rate", "trainer.threads", "'trainer.threads' is no setting of trainer"),
        ("{trainer.learning_rate: [1.0e-3, 4.0e-3]}", "{}", "tuning.values: found none, expected"),
        (
            "[1.0e-3, 4.0e-3]",
            "[4.0e-3, 1.0e-3]",
            "tuning.values.trainer.learning_rate: found [0.004, 0.001], expected at least two "
            "numbers in ascending order.",
        ),
        ("[1.0e-3, 4.0e-3]", "[1.0e-3]", "learning_rate: found [0.001], expected at least two"),
        ("[1.0e-3, 4.0e-3]", "[1.0e-3, big]", "found 'big', expected a number."),
        ("seed: 7", "seed: 42", "tuning.seed: found 42, expected another than those of the table"),
        ("seed: 7", "seed: -1", "tuning.seed: found -1, expected a number at least 0"),
        ("  seed: 7\n", "", "tuning.seed: found nothing, expected a value."),
        ("  held_out: 0.2\n", "", "tuning.held_out: found nothing, expected a value."),
        ("held_out: 0.2", "held_out: 1.5", "tuning.held_out: found 1.5, expected a number above 0"),
        ("held_out: 0.2", "held_out: 0.2\n  trials: 3", "tuning.trials: there is no such setting"),
        (
            "[task.max_eval_samples=50]",
            "[seed=3]",
            "tuning: set: found 'seed=3', which 'seed' says.",
        ),
        (
            "[task.max_eval_samples=50]",
            "[trainer.learning_rate=3]",
            "tuning: set: found 'trainer.learning_rate=3', which 'values' says.",
        ),
        (
            "seeds: [10, 42]",
            "seeds: [10, 42]\n    tuning: {values: {trainer.learning_rate: [1, 2]}, seed: 10, "
            "held_out: 0.1}",
            "profiles.demo.tuning.seed: found 10, expected another",
        ),
    ],
)
def test_what_a_table_may_say_about_tuning(conf: Path, old: str, new: str, expected: str) -> None:
    spec_of(conf, old, new)
    with pytest.raises(RequestError) as error:
        load_spec("mine", "demo")
    assert len(error.value.problems) == 1
    assert expected in error.value.problems[0]


def test_a_profile_may_tune_otherwise_or_not_at_all(conf: Path) -> None:
    assert load_spec("mine", "demo")[1].tuning.seed == 7
    own = "tuning: {values: {method.alpha: [8, 16]}, seed: 3, held_out: 0.1}"
    spec_of(conf, "seeds: [10, 42]", f"seeds: [10, 42]\n    {own}")
    assert load_spec("mine", "demo")[1].tuning.values == {"method.alpha": [8.0, 16.0]}
    spec_of(conf, "seeds: [10, 42]", "seeds: [10, 42]\n    tuning: null")
    assert load_spec("mine", "demo")[1].tuning is None
    assert untuned("mine", "demo") == []
    assert not any(run.setup.is_open for run in table_runs("mine", "demo"))


def test_a_value_without_effect_is_named_with_the_row(conf: Path) -> None:
    spec_of(conf, "trainer.learning_rate: [1.0e-3, 4.0e-3]", "method.share: [0.5, 0.8]")
    with pytest.raises(RequestError) as error:
        trainings()
    assert error.value.problems[0].startswith("tuning of 'LoRA': method.share: ")


def test_records_that_are_near_are_no_trials(conf: Path, results: Results) -> None:
    all_trials(results)
    choose_all(results)
    (table,) = make_tables(["mine"], "demo", results.folder)
    assert len(table.missing) == 6 and table.near == []


def test_whole_numbers_are_written_as_such() -> None:
    assert value_overrides({"a": 16.0, "b": 5e-5}) == ("a=16", "b=5e-05")


def trainings():
    spec, part = load_spec("mine", "demo")
    return tuned_trainings(spec, part, "demo"), part.tuning


def test_each_training_has_the_same_trials_and_cuts_of_one_share_them(conf: Path) -> None:
    found, _ = trainings()
    # LoRA at rank 4 is the LoRA that is cut.
    assert [each.label for each in found] == [
        *("LoRA", "LoRA at each rank, rank 2", "DyLoRA", "Sorted")
    ]
    assert [each.optional for each in found] == [False, False, False, True]
    for each, method in zip(found, ("lora", "lora", "dylora", "sorted-lora"), strict=True):
        rank = 2 if each.label.endswith("2") else 4
        for trial, rate in zip(each.trials, ("0.001", "0.004"), strict=True):
            words = f"{BASE} {HELD_OUT} method={method} ranks.r_max={rank} seed=7"
            score = ["ranks.score=[2]"] if rank == 2 else []
            expected = compose([*words.split(), *score, f"trainer.learning_rate={rate}"])
            assert trial.run_id == run_id(expected) == run_id(compose(trial.overrides()))
            assert trial.is_trial


def add_trials(
    results: Results, method: str, scores: dict[str, float | None], rank: int = 4, **fields
) -> None:
    cuts = [LEADING, ("leading", "alpha/r"), SVD] if method == "lora" else [LEADING]
    cuts = [("leading", "alpha/r")] if method == "sorted-lora" else cuts
    ranks = [2] if rank == 2 else [1, 2, 4]
    own = " ranks.score=[2]" if rank == 2 else ""
    for rate, score in scores.items():
        words = f"{BASE} {HELD_OUT} method={method} ranks.r_max={rank}{own}"
        results.add(
            f"{words} trainer.learning_rate={rate}",
            7,
            {(at, *cut): {"accuracy": score} for at in ranks for cut in cuts},
            data=[{"rows": 4000, "used": 3200}, {"rows": 4000, "used": 50}],
            **fields,
        )


def all_trials(results: Results) -> None:
    add_trials(results, "lora", {"0.001": 0.5, "0.004": 0.75})
    add_trials(results, "lora", {"0.001": 0.7, "0.004": 0.6}, rank=2)
    add_trials(results, "dylora", {"0.001": 0.5, "0.004": 0.5})


def choose_all(results: Results):
    records = {each.run_id: each for each in results.store.read_all()[0]}
    found, problems = choose_values("mine", "demo", *trainings(), records)
    assert problems == []
    write_tuned(tuned_path("mine", "demo"), found)
    return found


def test_the_choices_are_those_of_the_rule_and_the_runs_have_them(conf, results) -> None:
    all_trials(results)
    found = choose_all(results)
    rates = [each.chosen["trainer.learning_rate"] for each in found.trainings]
    assert rates == [0.004, 0.001, 0.001]
    assert tuned_path("mine", "demo") == conf / "tuned" / "mine-demo.yaml"
    assert load_tuned("mine", "demo", load_spec("mine", "demo")[1].tuning) == found
    runs = {
        (run.method, run.setup.config.ranks.r_max): run.setup.config.trainer.learning_rate
        for run in table_runs("mine", "demo")
    }
    assert runs == {("lora", 4): 0.004, ("lora", 2): 0.001, ("dylora", 4): 0.001}
    assert untuned("mine", "demo") == []
    assert "1 of its 4 trainings" in untuned("mine", "demo", optional=True)[0]


@pytest.mark.parametrize("there", [False, True])
def test_a_table_without_choices_says_which_command_finds_them(conf, results, there) -> None:
    if there:  # of two of three trainings
        all_trials(results)
        choose_all(results)
        path = tuned_path("mine", "demo")
        tree = yaml.safe_load(path.read_text())
        path.write_text(yaml.safe_dump({**tree, "trainings": tree["trainings"][:2]}))
    with pytest.raises(RequestError) as error:
        list(make_tables(["mine"], "demo", results.folder))
    (problem,) = error.value.problems
    assert problem.endswith("this finds it: dylora reproduce mine --profile demo --tune")
    assert ("1 of its 3 trainings in profile 'demo', such as dylora on demo" in problem) == there


@pytest.mark.parametrize(
    ("old", "new"),
    [("seed: 7", "seed: 8"), ("held_out: 0.2", "held_out: 0.1"), ("4.0e-3", "8.0e-3")],
)
def test_choices_by_other_trials_do_not_count(conf, results, old, new) -> None:
    all_trials(results)
    choose_all(results)
    spec_of(conf, old, new)
    assert "only by other values, another seed, share or set" in untuned("mine", "demo")[0]
    assert all(run.setup.is_open for run in table_runs("mine", "demo"))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda tree: tree.update(table="yours"), "table: found 'yours', expected 'mine'"),
        (lambda tree: tree.update(profile="mini"), "profile: found 'mini', expected 'demo'"),
        (
            lambda tree: tree["trainings"][0]["chosen"].update({"trainer.learning_rate": 0.001}),
            "trainings[0].chosen: found trainer.learning_rate=0.001, the trials say "
            "trainer.learning_rate=0.004; find it again by: dylora reproduce mine",
        ),
        (lambda tree: tree["trainings"][1]["trials"].pop(), "trainings[1].trials: found other"),
        (lambda tree: tree.update(by="me"), "by: there is no such setting"),
    ],
)
def test_a_file_that_was_edited_is_refused(conf, results, change, expected) -> None:
    all_trials(results)
    choose_all(results)
    path = tuned_path("mine", "demo")
    tree = yaml.safe_load(path.read_text())
    change(tree)
    path.write_text(yaml.safe_dump(tree))
    with pytest.raises(RequestError) as error:
        table_runs("mine", "demo")
    assert error.value.problems[0].startswith(f"{path}: ") and expected in error.value.problems[0]


def dev_runs(results: Results, seed: int, score: float, rate: str = "0.004") -> None:
    for method, cuts in (("lora", [LEADING, ("leading", "alpha/r"), SVD]), ("dylora", [LEADING])):
        own = "0.001" if method == "dylora" else rate
        results.add(
            f"{BASE} method={method} trainer.learning_rate={own}",
            seed,
            {(rank, *cut): {"accuracy": score} for rank in (1, 2, 4) for cut in cuts},
        )


def test_trials_are_in_no_cell_claim_or_average(conf, results) -> None:
    all_trials(results)
    choose_all(results)
    dev_runs(results, 10, 0.25)
    dev_runs(results, 42, 0.75)
    dev_runs(results, 7, 1.0)  # the seed that the values were chosen by would flatter
    dev_runs(results, 43, 1.0, rate="0.002")  # of another rate, but for DyLoRA's
    (table,) = make_tables(["mine"], "demo", results.folder)
    cells = {
        line.split("|")[2].strip(): line.split("|")[3].strip()
        for line in table.markdown.splitlines()
        if line.startswith("| ")
    }
    assert cells["LoRA (SVD)"].strip("*") == "50.00±35.36 (2)"
    assert cells["DyLoRA"].strip("*") == "66.67±38.19 (3)"
    (note,) = [line for line in table.markdown.splitlines() if line.startswith("- Tuned")]
    assert note == (
        "- Tuned, for each training by the same trials: learning rate among 0.001, 0.004, on "
        "held-out training examples (50 of demo), seed 7 (dylora reproduce mine --profile demo "
        "--tune). demo: LoRA 0.004, LoRA at each rank, rank 2 0.001, DyLoRA 0.001."
    )
    assert "The best learning rate is the largest tried: LoRA on demo." in table.markdown

    report = make_report(results.folder)
    assert {record.seed for group in report.groups for record in group.records} == {7, 10, 42, 43}
    assert all("task.held_out" not in group.settings for group in report.groups)
    assert not any("held_out" in group.method for group in report.groups)
    assert any(
        "6 records left out that scored held-out training examples (--where task.held_out=0.2)"
        in warning
        for warning in report.warnings
    )
    trials = {each.run_id for each in report.records if each.settings.get("task.held_out")}
    assert len(trials) == 6
    assert not trials & {run for verdict in report.verdicts for run in verdict.runs}
    asked = make_report(results.folder, "task.held_out=0.2", claims=load_claims())
    assert {record.run_id for group in asked.groups for record in group.records} == trials


def test_a_training_that_diverged_is_worse_than_any_and_one_that_is_missing_stays_open(
    conf, results
) -> None:
    add_trials(results, "lora", {"0.001": 0.1})
    failed = {"status": "failed", "error": "TrainingDiverged: the training loss became nan"}
    add_trials(results, "lora", {"0.004": None}, **failed)
    add_trials(results, "dylora", {"0.001": None, "0.004": None}, **failed)
    add_trials(results, "lora", {"0.001": 0.7}, rank=2)
    records = {each.run_id: each for each in results.store.read_all()[0]}
    found, problems = choose_values("mine", "demo", *trainings(), records)
    assert [each.chosen for each in found.trainings] == [{"trainer.learning_rate": 0.001}]
    assert found.trainings[0].trials[1].score is None
    assert problems == [
        "dylora on demo: none of its 2 trials has a finite score, try other values."
    ]


def test_what_was_chosen_stays_where_its_records_are_not(conf, results, tmp_path) -> None:
    all_trials(results)
    before = choose_all(results)
    others = Results(tmp_path / "others")
    add_trials(others, "dylora", {"0.001": 0.1, "0.004": 0.9})
    after = choose_all(others)
    assert after.trainings[:2] == before.trainings[:2]
    assert after.trainings[2].chosen == {"trainer.learning_rate": 0.004}


COMMITTED = sorted(option_files("tuned").items())


@pytest.mark.parametrize("name", [name for name, _ in COMMITTED])
def test_the_committed_choices_are_what_the_committed_trials_say(name: str) -> None:
    tree = yaml.safe_load(dict(COMMITTED)[name].read_text(encoding="utf-8"))
    table, profile = tree["table"], tree["profile"]
    spec, part = load_spec(table, profile)
    found = load_tuned(table, profile, part.tuning)
    assert found is not None and found.trainings
    records = {
        record.run_id: record for store in STORES for record in RecordStore(store).read_all()[0]
    }
    planned = tuned_trainings(spec, part, profile)
    kept = {each.training: each for each in found.trainings}
    of_file = [each for each in planned if each.setup.settings_digest in kept]
    assert len(of_file) == len(kept)
    for each in of_file:
        tried = [trial.run for trial in kept[each.setup.settings_digest].trials]
        assert tried == [trial.run_id for trial in each.trials]
    recorded = [each for each in of_file if all(t.run_id in records for t in each.trials)]
    if not recorded:
        pytest.skip("the records of its trials are not committed")
    again, problems = choose_values(table, profile, recorded, part.tuning, records)
    assert problems == []
    assert [each.chosen for each in again.trainings] == [
        kept[each.setup.settings_digest].chosen for each in recorded
    ]
    for mine, theirs in zip(again.trainings, recorded, strict=True):
        assert mine.trials == kept[theirs.setup.settings_digest].trials
