"""Shell completion: commands, run ids, names and flags here, overrides by Hydra's own.

``eval "$(dylora run --shell-completion install=bash)"`` installs it for ``dylora`` (zsh takes the
same, fish ``install=fish | source``). The shell then asks ``dylora -sc query=bash`` with the line
so far in ``COMP_LINE``.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from dylora_exp.cli.parser import command_names, make_parsers

FLAGS = ("--shell-completion", "-sc")
_LINE = "COMP_LINE"
_TAKE_OVERRIDES = ("run", "validate", "search", "reproduce")
# Flags that take a value: what that is one of; nothing is a file, which the shell completes.
_VALUES: dict[str, Callable[[], Iterable[str]]] = {
    "--profile": lambda: _options("profile"),
    "--launcher": lambda: _options("hydra/launcher"),
    "--select": lambda: ("best", "last"),
    "--rank": lambda: ("all", "best", "recommended"),
}
_FILES = ("--results", "--outputs", "--to", "--config-dir", "-cd", "--predictions", "--references")
_OTHERS = ("--jobs", "--trials", "--where", "--tolerance", "--cut", "--scale", "--truncation")


def as_run_arguments(argv: Sequence[str]) -> list[str]:
    """Return a shell's question as arguments of ``run``; other arguments as they are."""
    return ["run", *argv] if argv[:1] and argv[0] in FLAGS else list(argv)


def complete_command(shell: str) -> bool:
    """Print what may stand next in the shell's line; leave single settings to Hydra.

    Args:
        shell: ``bash``, ``zsh`` or ``fish``.

    Returns:
        Whether the question is answered.
    """
    program, *words = os.environ.get(_LINE, "").split(" ")
    *before, current = words or [""]
    before = [word for word in before if word]
    index = next((i for i, word in enumerate(before) if not word.startswith("-")), None)
    if index is None:
        found: Iterable[str] | None = command_names()
    else:
        command = before.pop(index)
        found = _candidates(command, before, current)
    if found is None:  # Hydra knows no commands
        os.environ[_LINE] = " ".join([program, *before, current])
        return False
    answers = sorted({each for each in found if each.startswith(current)})
    print(("\n" if shell == "fish" else " ").join(answers))
    return True


def _candidates(command: str, before: Sequence[str], current: str) -> Iterable[str] | None:
    """Return what may stand in place of the current word; None for what Hydra knows."""
    if command not in command_names():
        return ()
    last = before[-1] if before else ""
    if last in _VALUES:
        return _VALUES[last]()
    if last in (*_FILES, *_OTHERS):
        return ()
    if current.startswith("-"):
        usage = make_parsers()[1][command].format_usage()
        return re.findall(r"[\[|] ?(--?[\w-]+)", usage)
    _use_folders(before)
    if (names := _positional(command, _positionals(before), before)) is not None:
        return names
    return _choices(current) if command in _TAKE_OVERRIDES else ()


def _positionals(before: Sequence[str]) -> list[str]:
    """Return the words that are neither flags nor their values."""
    takes_value = {*_VALUES, *_FILES, *_OTHERS}
    pairs = zip(["", *before], before, strict=False)
    return [word for last, word in pairs if last not in takes_value and not word.startswith("-")]


def _positional(command: str, given: Sequence[str], before: Sequence[str]) -> Iterable[str] | None:
    """Return the names that a command takes after those given; None where it takes none."""
    if command == "tables":
        return _options("table")
    if command in ("data", "models"):
        group = "task" if command == "data" else "model"
        return [*_options(group), "all"] if given else ["fetch"]
    if given:
        return None
    if command in ("show", "export"):
        folder = before[before.index("--results") + 1] if "--results" in before[:-1] else "results"
        return [file.stem for file in (Path(folder).expanduser() / "runs").glob("*.json")]
    if command == "reproduce":
        return [*_options("table"), "all"]
    if command == "list":
        from dylora_exp.cli.commands.list import LISTS

        return LISTS
    if command == "score":
        return ("e2e", "webnlg", "dart")
    return ("method", "model", "task") if command == "init" else None


def _choices(current: str) -> Iterable[str] | None:
    """Return overrides that choose a file of a config group, the last of several values."""
    key, equals, values = current.partition("=")
    if not equals or key.lstrip("+") not in _groups():
        return None
    earlier = values.rpartition(",")
    return [f"{key}={earlier[0]}{earlier[1]}{name}" for name in _options(key.lstrip("+"))]


def _use_folders(before: Sequence[str]) -> None:
    """Look into the folders of ``--config-dir`` and ``hydra.searchpath`` too."""
    pairs = itertools.pairwise(before)
    folders = [word for last, word in pairs if last in ("--config-dir", "-cd")]
    folders += [word.partition("=")[2] for word in before if word.startswith("--config-dir=")]
    if named := [word for word in before if word.startswith("hydra.searchpath=")]:
        from dylora_exp.config import named_search_path

        folders += named_search_path(named)
    if folders:
        from dylora_exp.core import use_config_folders

        use_config_folders(folders)


def _groups() -> Sequence[str]:
    from dylora_exp.config import CONFIG_GROUPS

    return CONFIG_GROUPS


def _options(group: str) -> Iterable[str]:
    from dylora_exp.config import options

    return options(group)
