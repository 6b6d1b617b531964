"""The page of choices: its keys and values are the schema's, its figures those of commands."""

import re
import subprocess
import sys

import pytest

from dylora_exp.config import method_class
from dylora_exp.config.composition import compose
from dylora_exp.config.loading import known_keys
from dylora_exp.core.errors import RequestError
from tests.support.tiny_runs import ROOT

PAGE = (ROOT / "docs" / "faithful-choices.md").read_text(encoding="utf-8").replace("\\|", "|")
README = (ROOT / "README.md").read_text(encoding="utf-8")
CODE = re.findall(r"`([^`\n]+)`", PAGE)
COMMANDS = [code for code in CODE if code.startswith(("python ", "dylora "))]
CHOICES = sorted({code for code in CODE if re.fullmatch(r"[a-z_.]+=[^ ]+", code)})
# Runs in which one or another of the settings has an effect.
RUNS = [
    ["method=dylora"],
    ["method=lora"],
    ["method=nested-dropout"],
    ["method=flop"],
    ["ranks=geometric"],
    ["profile=paper-nlg", "task=e2e"],
    ["profile=paper-nlg", "task=dart"],
    ["task=mrpc"],
]


def value_of(config, key):
    for name in key.split("."):
        config = getattr(config, name)
    return getattr(config, "name", config)


def composed(words):
    """Return a run's config; None where it would be refused."""
    try:
        config = compose(words)
    except RequestError:
        return None
    return None if method_class(config.method.kind).problems(config) else config


def test_the_page_is_read():
    assert len(CHOICES) >= 20 and len(COMMANDS) >= 5
    assert "docs/faithful-choices.md" in README


def test_every_key_is_one_of_the_schema():
    groups = ("method", "ranks", "trainer", "task", "model")
    named = {code.partition("=")[0] for code in CODE}
    keys = {key for key in named if key.startswith(tuple(f"{group}." for group in groups))}
    assert len(keys) >= 15
    assert keys <= set(known_keys())
    # What is not the value of some key there is a word of a value or a name.
    assert {code.partition("=")[0] for code in CHOICES} <= {*known_keys(), "method", "seed"}


@pytest.mark.parametrize("choice", CHOICES)
def test_every_value_is_accepted_and_the_first_is_the_default(choice):
    key, _, values = choice.partition("=")
    first, *others = values.split("|")
    for value in (first, *others):
        configs = filter(None, (composed([*run, f"{key}={value}"]) for run in RUNS))
        assert any(str(value_of(config, key)) == value for config in configs), value
    if others:
        defaults = {str(value_of(config, key)) for config in _runs_with(key)}
        # None is as the task's official evaluation has it.
        assert first in defaults or "None" in defaults


def _runs_with(key):
    for run in RUNS:
        config = composed(run)
        try:
            value_of(config, key)
        except AttributeError:
            continue
        yield config


def test_every_value_of_a_setting_is_named_where_one_is():
    """A new value of a setting that the page lists belongs on it; ``custom`` is the user's own."""
    checked = 0
    for choice in (choice for choice in CHOICES if "|" in choice):
        key, _, values = choice.partition("=")
        for run in RUNS:
            try:
                compose([*run, f"{key}=no-such-value"])
            except RequestError as refused:
                listed = re.search(rf"{key}: '.*' is not one of ([\w/, ]+)\.", str(refused))
                if listed:
                    assert set(listed[1].split(", ")) - {"custom"} <= set(values.split("|"))
                    checked += 1
                    break
    assert checked >= 10


def test_the_scripts_and_tests_that_it_names_exist():
    for name in re.findall(r"(?:scripts|tests)/[\w/]+\.py", PAGE):
        assert (ROOT / name).is_file(), name


def test_the_figures_of_the_tables_are_those_of_the_records():
    table = (ROOT / "results" / "tables" / "mini" / "table6.md").read_text(encoding="utf-8")
    rank_1 = table[table.index("Rank = 1") : table.index("Rank = 2")]
    for cut, figure in (("α/b", "2.86"), ("α/r", "48.97"), ("SVD", "38.40")):
        (line,) = (
            line
            for line in rank_1.splitlines()
            if "LoRA (" in line and cut in line and (cut == "SVD" or "leading" in line)
        )
        assert f" {figure} " in line and f" {figure}" in PAGE


def printed_by(*words):
    command = [sys.executable, *words]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=500)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_script_of_updates_prints_the_figures_of_the_page():
    """Rounded as the page has them; another kind of CPU may move the last digit."""
    found = [float(n) for n in re.findall(r"([\d.]+)%", printed_by("scripts/compare_updates.py"))]
    assert found == pytest.approx([38, 79, 1.1], rel=0.15)
    assert "79 %" in PAGE and "38 %" in PAGE and "1.1 %" in PAGE


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "figures"),
    [
        (["profile=mini-nlg", "trainer.batch_size=8", "task.data_dir=E2E_DIR"], [0.86, 0.34]),
        (
            [
                *("profile=mini", "task=sst2", "task.max_train_samples=null"),
                "task.data_dir=GLUE_DIR",
            ],
            [1.00, 1.16],
        ),
    ],
    ids=["tokens", "labels"],
)
def test_the_script_of_orders_prints_the_figures_of_the_page(words, figures):
    assert any(command.endswith("compare_orders.py " + " ".join(words)) for command in COMMANDS)
    data = ROOT.parent / "shared" / "data"
    if not data.is_dir():
        pytest.skip("the data of E2E and GLUE are not here")
    places = {"E2E_DIR": str(data / "e2e"), "GLUE_DIR": str(data / "glue")}
    words = [re.sub("|".join(places), lambda found: places[found[0]], word) for word in words]
    output = printed_by("scripts/compare_orders.py", *words)
    assert [float(n) for n in re.findall(r"(?:weighs|vary) ([\d.]+)", output)] == pytest.approx(
        figures, abs=0.015
    )
    assert all(f"{figure:.2f}" in PAGE for figure in figures)


@pytest.mark.slow
def test_the_script_of_orders_runs_offline():
    output = printed_by("scripts/compare_orders.py", "profile=demo-nlg", "trainer.batch_size=8")
    by_lot, grouped = map(float, re.findall(r"weighs ([\d.]+)", output))
    assert grouped < 0.7 < 0.85 < by_lot
