"""The pages under docs: commands run and print what is said, links lead somewhere."""

import importlib
import re
import subprocess
import sys

import pytest

from dylora_exp.config import loading, options, registry
from dylora_exp.metrics import METRICS
from tests.support.pages import (
    DOCS,
    blocks,
    check_command,
    commands,
    inline_commands,
    run_page,
    write_files,
)
from tests.support.tiny_runs import ROOT

TEXTS = {path.stem: path.read_text(encoding="utf-8") for path in sorted(DOCS.glob("*.md"))}
# Run as they stand, each in an empty folder. The others have tests of their own, or no commands.
TUTORIALS = ["getting-started", "my-task", "my-model", "my-method", "metrics", "large-models"]
LONG = ["clusters"]
# These need what is not here, as their page says.
NOT_RUN = {
    "dylora run -m method=lora,dylora seed=10,42 hydra/launcher=slurm hydra.launcher.partition=gpu",
    "dylora run -m method=lora,dylora hydra/launcher=ray hydra.launcher.address=auto",
}
# Six runs of full size; tests/multirun/test_reproduce.py does smaller ones.
TOO_LONG = {"dylora reproduce 2 --profile demo --jobs 2"}


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Return a function that installs a package for this test alone, without a network."""
    caches = [
        value
        for module in (registry, loading)
        for value in vars(module).values()
        if hasattr(value, "cache_clear")
    ]

    def run(folder):
        site = tmp_path / "site"
        options = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--target"]
        subprocess.run(
            [sys.executable, "-m", "pip", "install", *options, str(site), folder], check=True
        )
        monkeypatch.syspath_prepend(str(site))
        importlib.invalidate_caches()
        for each in caches:
            each.cache_clear()

    yield run
    monkeypatch.undo()
    for each in caches:
        each.cache_clear()


def run(name, folder, monkeypatch, capfd, install):
    folder.mkdir()
    monkeypatch.chdir(folder)
    write_files(TEXTS[name], folder)
    # What a reader of the page on metrics brings.
    rows = ["mr,ref"] + [f'"name[Hut {i}], food[soup]",Hut {i} has soup.' for i in range(3)]
    (folder / "devset.csv").write_text("\n".join(rows) + "\n")
    (folder / "out.txt").write_text("".join(f"Hut {i} has soup.\n" for i in range(3)))
    run_page(TEXTS[name], capfd, install, elsewhere=NOT_RUN | TOO_LONG)


@pytest.mark.parametrize("name", TUTORIALS)
@pytest.mark.slow
def test_a_page_runs(name, tmp_path, monkeypatch, capfd, install):
    run(name, tmp_path / "reader", monkeypatch, capfd, install)


@pytest.mark.slow
@pytest.mark.parametrize("name", LONG)
def test_a_page_of_many_runs_runs(name, tmp_path, monkeypatch, capfd, install):
    for module in ("submitit", "optuna"):
        pytest.importorskip(module, reason="make install brings it")
    run(name, tmp_path / "reader", monkeypatch, capfd, install)


@pytest.mark.parametrize("name", TEXTS)
def test_every_command_can_be_read(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    refused = re.findall(r"^(.*?) +# exit code 2$", TEXTS[name], re.MULTILINE)
    for command in commands(TEXTS[name]):
        program, *words = command.split()
        if program == "make":
            assert re.search(rf"^{words[0]}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
        elif (
            program in ("dylora", "torchrun")
            and command not in refused
            and name not in TUTORIALS  # these run, with files that they bring
        ):
            check_command(command)
    for command in inline_commands(TEXTS[name]):
        if len(command.split()) > 3 and not re.search(r"[A-Z]{3}|\.\.\.|\|", command):
            check_command(command)


@pytest.mark.parametrize("command", sorted(NOT_RUN))
def test_what_is_not_run_is_said_to_be(command):
    (page,) = [text for text in TEXTS.values() if command in commands(text)]
    section = next(part for part in re.split(r"^## ", page, flags=re.MULTILINE) if command in part)
    assert re.search(r"not run|neither was run", section)


def test_what_is_too_long_is_on_a_page():
    assert all(any(each in commands(text) for text in TEXTS.values()) for each in TOO_LONG)


def anchors(text):
    """Return the anchors of a page's titles, as MkDocs and GitHub make them."""
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


@pytest.mark.parametrize("name", TEXTS)
def test_every_link_leads_somewhere(name):
    text = re.sub(r"^```.*?^```$", "", TEXTS[name], flags=re.DOTALL | re.MULTILINE)
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#\s]*)#?([^)\s]*)\)", text):
        path = DOCS / (target or f"{name}.md")
        assert path.exists(), target
        assert not anchor or anchor in anchors(path.read_text(encoding="utf-8")), anchor
    for path in re.findall(r"`((?:conf|tests|scripts|dylora_exp)/[\w/.-]+)`", text):
        assert (ROOT / path).exists() or any(each.title == path for each in blocks(TEXTS[name]))


def test_the_metrics_are_those_of_the_registry():
    def number(value):
        return "∞" if value == float("inf") else f"{value:g}"

    rows = {}
    for metric in METRICS.values():
        for protocol, each in metric.computations.items():
            low, high = map(number, each.range)
            settings = each.settings.replace("|", "\\|")
            better = "higher" if metric.higher_is_better else "lower"
            key = (f"`{metric.name}`", f"{low} to {high}", better, f"`{settings}`")
            rows.setdefault(key, []).append(protocol or metric.scores)
    expected = [
        [name, ", ".join(tasks), extent, better, signature]
        for (name, extent, better, signature), tasks in rows.items()
    ]
    lines = re.findall(r"^\| (`[a-z_0-9]+` \| .*) \|$", TEXTS["metrics"], re.MULTILINE)
    assert [re.split(r" (?<!\\)\| ", line) for line in lines] == expected


def test_the_glossary_names_every_method_once():
    named = re.findall(r"`method=([\w-]+)`", TEXTS["glossary"])
    assert sorted(named) == options("method")
