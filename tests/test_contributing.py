"""What CONTRIBUTING.md and its companions name is there."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

from scripts.print_structure import FLOORS
from tests.support.tiny_runs import ROOT

TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
PATHS = sorted(
    path for path in set(re.findall(r"`([\w.-]+(?:/[\w.-]*)+)`", TEXT)) if not path.startswith(".")
)


@pytest.mark.parametrize("path", PATHS)
def test_a_named_path_exists(path):
    assert any((folder / path).exists() for folder in (ROOT, ROOT / "dylora_exp"))


def test_the_floors_are_those_that_are_checked():
    rows = re.findall(r"^\| (\d+) \| `(\w+)` \|", TEXT, re.MULTILINE)
    assert rows == [(str(number), room) for number, floor in enumerate(FLOORS, 1) for room in floor]


def test_the_citation_and_the_changelog_name_the_version_of_the_package():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["cff-version"] == "1.2.0"
    assert (citation["version"], citation["license"]) == (project["version"], project["license"])
    assert all(
        {"title", "authors"} <= set(entry) for entry in (citation, citation["preferred-citation"])
    )
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    found = re.findall(r"^## \[(.*?)\]", changelog, re.MULTILINE)
    assert found == ["Unreleased", project["version"]]


def test_the_hooks_call_tools_that_make_install_brings():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    (repository,) = hooks["repos"]
    assert repository["repo"] == "local"
    dev = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    for hook in repository["hooks"]:
        assert hook["language"] == "system"
        tool = Path(hook["entry"].split()[0])
        assert tool.parent == Path(".venv/bin") and f'"{tool.name}>=' in dev
