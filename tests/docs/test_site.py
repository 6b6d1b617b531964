"""The site of the pages: its navigation has every page, and MkDocs builds it without a warning."""

import shutil
import subprocess
import sys

import pytest
import yaml

from scripts.docs_navigation import navigation, on_page_markdown
from tests.support.pages import DOCS
from tests.support.tiny_runs import ROOT

NAMED = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]


def test_pages_that_are_missing_are_left_out_and_new_ones_come_last(tmp_path):
    for name in ("index.md", "metrics.md", "new.md"):
        (tmp_path / name).touch()
    assert navigation(NAMED, tmp_path) == [
        {"Home": "index.md"},
        {"Reference": [{"Metrics": "metrics.md"}]},
        "new.md",
    ]


def test_the_navigation_names_every_page():
    found = str(navigation(NAMED, DOCS))
    assert all(f"'{path.name}'" in found for path in DOCS.glob("*.md"))
    assert all(isinstance(entry, dict) for entry in navigation(NAMED, DOCS)), (
        "mkdocs.yml does not say where a page belongs"
    )


def test_a_link_out_of_docs_becomes_text():
    text = "See the [README](../README.md#see-it) and [metrics](metrics.md)."
    assert on_page_markdown(text, page=None) == "See the README and [metrics](metrics.md)."


@pytest.mark.slow
def test_the_site_is_built_without_a_warning(tmp_path):
    pytest.importorskip("mkdocs", reason="make docs brings it")
    pytest.importorskip("material", reason="make docs brings it")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", tmp_path / "site"]
    subprocess.run(command, cwd=ROOT, check=True)
    page = (tmp_path / "site" / "index.html").read_text(encoding="utf-8")
    assert "Getting started" in page
    assert (tmp_path / "site" / "search" / "search_index.json").is_file()
    shutil.rmtree(tmp_path / "site")
