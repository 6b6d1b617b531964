"""The floors of the house: imports only point down, and never in circles."""

import ast
from pathlib import Path

import dylora_exp

PACKAGE = Path(dylora_exp.__file__).parent

# From the top floor down; rooms on one floor do not know each other.
FLOORS = [
    {"__main__"},
    {"cli"},
    {"multirun"},
    {"runner"},
    {"training"},
    {"objectives"},
    {"methods"},
    {"adapters", "reporting"},
    {"models", "tasks", "records"},
    {"config"},
    {"metrics"},
    {"core"},
]


def room(module):
    return module.split(".")[1] if "." in module else ""


def imports(path):
    """Yield every module of the package, or face of a room, that a file imports."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("dylora_exp"):
            folder = PACKAGE.parent / node.module.replace(".", "/")
            if folder.is_dir():
                for name in node.names:
                    below = folder / name.name
                    inner = below.is_dir() or below.with_suffix(".py").exists()
                    yield f"{node.module}.{name.name}" if inner else node.module
            else:
                yield node.module


def modules():
    for path in PACKAGE.rglob("*.py"):
        if path.name != "__init__.py":
            yield path, ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)


def test_imports_point_down():
    level = {name: i for i, floor in enumerate(FLOORS) for name in floor}
    for path, name in modules():
        for target in imports(path):
            here, there = room(name), room(target)
            if here != there:
                assert level[here] < level[there], f"{name} imports {target}"


def test_rooms_meet_at_their_faces():
    for path, name in modules():
        for target in imports(path):
            if room(name) != room(target) and target.count(".") > 1:
                face = (PACKAGE / room(target) / "__init__.pyi").read_text()
                assert f'"{target.split(".")[-1]}"' in face, f"{name} imports {target}"


def test_every_room_has_a_face():
    for folder in PACKAGE.iterdir():
        if folder.is_dir() and (folder / "__init__.py").exists():
            assert "__all__ =" in (folder / "__init__.pyi").read_text(), folder


def test_no_circles():
    graph = {name: set(imports(path)) for path, name in modules()}

    def visit(name, above):
        assert name not in above, f"circle: {' -> '.join([*above, name])}"
        for target in graph.get(name, ()):
            visit(target, [*above, name])

    for name in graph:
        visit(name, [])


def test_no_file_is_too_long():
    for path, _ in modules():
        assert len(path.read_text().splitlines()) <= 400, path


def test_the_house_is_small():
    rooms = [p for p in PACKAGE.iterdir() if p.suffix == ".py" or (p / "__init__.py").exists()]
    assert len(rooms) <= 16
    assert len(FLOORS) - 1 <= 11  # __main__ is the door
