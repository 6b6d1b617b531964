"""Print the package's structure: floors, rooms, faces, imports, lines.

Run it from a checkout: ``python scripts/print_structure.py``. ``tests/test_structure.py`` asserts
what it prints.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent / "dylora_exp"

# From the top floor down; rooms on one floor do not import each other.
FLOORS = (
    ("cli",),
    ("multirun",),
    ("runner",),
    ("training",),
    ("objectives",),
    ("dynamic", "methods"),
    ("adapters", "reporting"),
    ("models", "tasks", "records"),
    ("config",),
    ("metrics",),
    ("core",),
)
# The door: not a floor, it imports nothing but ``cli``.
DOOR = "__main__"
Import = tuple[str, str]  # module, and the name that is imported from it or ""


def rooms() -> list[str]:
    """Return the modules and packages at the package's top."""
    found = [path.parent for path in PACKAGE.glob("*/__init__.py")] + list(PACKAGE.glob("*.py"))
    return sorted(path.stem for path in found if path.stem != "__init__")


def modules() -> dict[str, Path]:
    """Return the file of each module by its dotted name; a room's ``__init__`` is its face."""
    return {
        ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts): path
        for path in sorted(PACKAGE.rglob("*.py"))
        if path.name != "__init__.py"
    }


def room_of(module: str) -> str:
    """Return the room of a module: ``core`` for ``dylora_exp.core.errors``."""
    return module.partition(".")[2].partition(".")[0]


def imports(path: Path) -> Iterator[Import]:
    """Yield each module of the package that a file imports, with the name it takes from it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((a.name, "") for a in node.names if a.name.split(".")[0] == PACKAGE.name)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == PACKAGE.name:
            for alias in node.names:
                inner = PACKAGE.parent.joinpath(*node.module.split("."), alias.name)
                if inner.is_dir() or inner.with_suffix(".py").exists():
                    yield f"{node.module}.{alias.name}", ""
                else:
                    yield node.module, alias.name


def face(room: str) -> list[str]:
    """Return the names that other rooms may import from a room: ``__all__`` of its stub."""
    stub = PACKAGE / room / "__init__.pyi"
    if not stub.exists():
        return []
    for node in ast.parse(stub.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return list(ast.literal_eval(node.value))
    return []


def line_counts(room: str) -> dict[str, int]:
    """Return the lines of each Python file of a room by its path below the package."""
    folder = PACKAGE / room
    files = sorted(folder.rglob("*.py")) if folder.is_dir() else [folder.with_suffix(".py")]
    return {
        file.relative_to(PACKAGE).as_posix(): len(file.read_text(encoding="utf-8").splitlines())
        for file in files
    }


def problems() -> list[str]:
    """Return a sentence for each breach: imports upward or past a face, circles, missing faces."""
    level = {room: number for number, floor in enumerate(FLOORS) for room in floor} | {DOOR: -1}
    found = [f"{room} is on no floor" for room in rooms() if room not in level]
    graph: dict[str, set[str]] = {}
    for name, path in modules().items():
        here = room_of(name)
        graph[name] = {module for module, _ in imports(path)}
        for module, taken in imports(path):
            there = room_of(module)
            if not there or here == there:
                if taken and module == f"{PACKAGE.name}.{here}":
                    found.append(f"{name} imports the face of its own room")
                continue
            if level.get(here, 0) >= level.get(there, 0):
                found.append(f"{name} imports {module}, which is not below it")
            public = taken or module.split(".")[-1]
            if (module.count(".") > 1 and taken) or public not in [*face(there), there]:
                found.append(f"{name} imports {public} past the face of {there}")
    found += [
        f"{room} has no face" for room in rooms() if (PACKAGE / room).is_dir() and not face(room)
    ]
    return found + circles(graph)


def circles(graph: dict[str, set[str]]) -> list[str]:
    """Return a sentence for each circle of imports among modules."""
    found: list[str] = []
    done: set[str] = set()

    def visit(name: str, path: list[str]) -> None:
        if name in path:
            found.append(f"circle: {' -> '.join([*path[path.index(name) :], name])}")
        elif name not in done:
            for target in sorted(graph.get(name, ())):
                visit(target, [*path, name])
            done.add(name)

    for name in graph:
        visit(name, [])
    return found


def main() -> None:
    """Print everything."""
    total = 0
    print(f"rooms at the top: {len(rooms())}    floors: {len(FLOORS)}\n")
    print(f"{'floor':<6}{'room':<12}{'lines':>6}{'files':>6}{'longest':>8}{'face':>6}  imports")
    for number, floor in enumerate(FLOORS, 1):
        for room in floor:
            counts = line_counts(room)
            total += sum(counts.values())
            below = {
                room_of(module)
                for name, path in modules().items()
                if room_of(name) == room
                for module, _ in imports(path)
            } - {room, ""}
            shown = f"{number:<6}{room:<12}{sum(counts.values()):>6}{len(counts):>6}"
            print(
                f"{shown}{max(counts.values()):>8}{len(face(room)):>6}  {', '.join(sorted(below))}"
            )
    total += sum(len(p.read_text().splitlines()) for p in PACKAGE.glob("*.py"))
    print(f"\nlines of all .py files: {total}")
    for problem in problems() or ["no import upward, no circle, every room with a face"]:
        print(problem)


if __name__ == "__main__":
    main()
