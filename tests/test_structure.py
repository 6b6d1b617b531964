"""The layout: one direction of imports, rooms with faces, small modules, and what is not imported.

``python scripts/print_structure.py`` prints what is asserted here.
"""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from scripts import print_structure
from scripts.print_structure import FLOORS, PACKAGE, line_counts, modules, rooms

TESTS = Path(__file__).resolve().parent
# Rooms that answer without torch, and what of them must be imported for that.
WITHOUT_TORCH = {
    "core": "",
    "config": "",
    "records": "",
    "reporting": "",
    "cli": "commands",
    "metrics": "registry",
}


def trees(folder):
    for path in sorted(folder.rglob("*.py")):
        yield path, ast.parse(path.read_text(encoding="utf-8"))


def imported_modules(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_imports_point_down_meet_at_faces_and_make_no_circle():
    assert print_structure.problems() == []


@pytest.mark.parametrize(
    ("file", "text", "expected"),
    [
        ("core/x.py", "from dylora_exp.cli import main", "which is not below it"),
        ("models/x.py", "from dylora_exp.tasks import files", "which is not below it"),
        ("cli/x.py", "from dylora_exp.core.errors import RequestError", "past the face of core"),
        ("cli/x.py", "from dylora_exp.core import errors", "past the face of core"),
        ("cli/x.py", "from dylora_exp.cli import main", "the face of its own room"),
        ("new/__init__.py", "", "new is on no floor"),
        ("new/__init__.py", "", "new has no face"),
    ],
)
def test_a_breach_is_found(file, text, expected, tmp_path, monkeypatch):
    for path in (*PACKAGE.rglob("__init__.py*"), PACKAGE / "core" / "errors.py"):
        copy = tmp_path / path.relative_to(PACKAGE.parent)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(path.read_text(encoding="utf-8"))
    monkeypatch.setattr(print_structure, "PACKAGE", tmp_path / "dylora_exp")
    assert print_structure.problems() == []
    added = tmp_path / "dylora_exp" / file
    added.parent.mkdir(exist_ok=True)
    added.write_text(text)
    assert any(problem.endswith(expected) for problem in print_structure.problems())


def test_a_circle_is_found():
    graph = {"a": {"b"}, "b": {"c"}, "c": {"b"}}
    assert print_structure.circles(graph) == ["circle: b -> c -> b"]


def test_there_are_few_rooms_and_floors():
    assert len(rooms()) <= 16
    assert len(FLOORS) <= 11
    assert (PACKAGE / "py.typed").exists()


def test_no_module_is_too_long():
    counts = {file: count for room in rooms() for file, count in line_counts(room).items()}
    assert {file: count for file, count in counts.items() if count > 400} == {}


@pytest.mark.parametrize("room", WITHOUT_TORCH)
def test_torch_is_not_imported_before_it_is_needed(room):
    inner = WITHOUT_TORCH[room]
    names = [n for n in modules() if n.startswith(f"dylora_exp.{room}.{inner}")]
    code = (
        "import importlib, sys\n"
        f"for name in {names}: importlib.import_module(name)\n"
        "assert not {'torch', 'transformers', 'datasets', 'peft'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert names and done.returncode == 0, done.stderr


def test_the_help_of_all_commands_loads_no_library():
    code = (
        "import sys\n"
        "from dylora_exp.cli.parser import make_parsers\n"
        "make_parsers()[0].format_help()\n"
        "assert not {'hydra', 'omegaconf', 'pydantic', 'rich', 'numpy', 'torch'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


WITHOUT = {
    "list": {"hydra", "omegaconf", "pydantic", "tqdm", "numpy", "torch"},
    "list runs": {"hydra", "omegaconf", "rich", "numpy", "pandas", "matplotlib", "torch"},
    "validate": {"transformers", "torch", "peft", "matplotlib"},
}


@pytest.mark.parametrize("command", WITHOUT)
def test_a_command_loads_no_library_that_it_can_do_without(command, tmp_path):
    code = (
        "import sys\n"
        "from dylora_exp.cli.entry import main\n"
        f"assert main({command.split()}) == 0\n"
        f"assert not set({sorted(WITHOUT[command])}) & sys.modules.keys()\n"
    )
    environment = os.environ | {"DYLORA_CACHE": str(tmp_path)}
    for _ in range(2 if command == "list runs" else 1):  # Hydra composes a profile once
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, env=environment
        )
    assert done.returncode == 0, done.stderr


def test_no_test_module_imports_another():
    found = [
        f"{path.relative_to(TESTS)} imports {name}"
        for path, tree in trees(TESTS)
        for name in imported_modules(tree)
        if name.startswith("tests.") and not name.startswith("tests.support")
    ]
    assert found == []


def foreign_names(tree):
    """Return the names that a module imports from other packages."""
    return {
        alias.asname or alias.name.split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        or (isinstance(node, ast.ImportFrom) and not (node.module or "").startswith("dylora_exp"))
        for alias in node.names
    }


# What a library documents as a setting is no patch.
# The last one is a setting of torch that has no public name.
SETTINGS = {"sys.argv", "sys.stdout", "sys.stderr", "_config.use_duck_shape"}


def patches(tree):
    """Return what a module assigns to attributes of imported modules and classes."""
    foreign = foreign_names(tree)

    def is_foreign(node):
        while isinstance(node, ast.Attribute):
            node = node.value
        return isinstance(node, ast.Name) and node.id in foreign

    for node in ast.walk(tree):
        targets = node.targets if isinstance(node, ast.Assign) else []
        yield from (
            ast.unparse(target)
            for target in targets
            if isinstance(target, ast.Attribute) and is_foreign(target)
            if ast.unparse(target) not in SETTINGS
        )
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "setattr":
            yield from [ast.unparse(node)] * is_foreign(node.args[0])


def test_patches_are_found():
    tree = ast.parse("import a.b\nfrom c import D\na.b.x = 1\nD.m = f\nsetattr(D, 'm', f)\ns.x = 1")
    assert sorted(patches(tree)) == ["D.m", "a.b.x", "setattr(D, 'm', f)"]


def test_nothing_foreign_is_patched_and_no_private_module_is_imported():
    found = [
        f"{path.name}: {what}"
        for path, tree in trees(PACKAGE)
        for what in [
            *patches(tree),
            *(name for name in imported_modules(tree) if "._" in name and "hydra" in name),
        ]
    ]
    assert found == []
    ignored = [p.name for p, _ in trees(PACKAGE) if "ignore[method-assign]" in p.read_text("utf-8")]
    assert ignored == []
