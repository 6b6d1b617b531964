"""The notebook runs from its first cell to its last, and exports what it says.

Its code cells are run by this reader of the format rather than by a kernel of Jupyter, which is no
part of the environment.
"""

import json

import matplotlib
import pytest

from tests.support.tiny_runs import ROOT

NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))


def cells_of(path):
    notebook = json.loads(path.read_text(encoding="utf-8"))
    assert (notebook["nbformat"], notebook["metadata"]["kernelspec"]["name"]) == (4, "python3")
    return notebook["cells"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    matplotlib.use("agg")
    names = {}
    for cell in cells_of(path):
        if cell["cell_type"] == "code":
            code = "".join(cell["source"]).replace("max_steps=400", "max_steps=20")
            exec(compile(code, path.name, "exec"), names)
    out = capsys.readouterr().out
    assert f"rank {names['enough']}, largest difference of a logit" in out
    assert (names["folder"] / "adapter" / "adapter_config.json").is_file()
    assert list(names["curve"].index) == list(range(1, 9)) and names["curve"].shape[1] == 3


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_small_and_its_outputs_name_no_machine(path):
    text = path.read_text(encoding="utf-8")
    assert len(text) < 100_000
    assert "/tmp/" not in text and "/home/" not in text and "/root" not in text
    assert all(cell["id"] and isinstance(cell["source"], list) for cell in cells_of(path))
