"""Files to fill in, and their copies under a name of the user's own."""

from __future__ import annotations

import keyword
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from dylora_exp.config import CONF_DIR, options
from dylora_exp.core import RequestError, path_problem, unknown_name, write_atomically

_HERE = Path(__file__).parent
_KINDS = ("task", "model", "method")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9]*([._-][A-Za-z0-9]+)*")


def write_templates(what: str, name: str, conf: Path) -> Sequence[str]:
    """Write the files of a task, a model or a method, all or none.

    Args:
        what: ``task``, ``model`` or ``method``.
        name: What it is to be called.
        conf: The user's folder of config files. The module of a method goes beside it, into
            ``plugins/NAME``.

    Returns:
        Lines to print: the files, and what to do next.

    Raises:
        RequestError: When the name cannot be one or is taken, or a file is there already.
    """
    if what not in _KINDS:
        raise RequestError(unknown_name("init", what, _KINDS))
    if not _NAME.fullmatch(name) or path_problem(name):
        raise RequestError(
            f"init: '{name}' cannot be the name of a {what}, expected letters and digits, "
            "with single -, _ or . between them."
        )
    if name in options(what) and not (conf / what / f"{name}.yaml").exists():
        raise RequestError(f"init: there is a {what} '{name}' already, expected another name.")
    module = re.sub(r"\W", "_", name)
    if what == "method" and (keyword.iskeyword(module) or module in _standard_modules()):
        raise RequestError(f"init: '{name}' is the name of a Python module, expected another.")
    plugin = conf.parent / "plugins" / name
    words = {
        "NAME": name,
        "CONF": str(conf),
        "PLUGIN": str(plugin),
        "MODULE": module,
        "CLASS": "".join(part[:1].upper() + part[1:] for part in module.split("_")) + "Method",
    }
    files = {conf / what / f"{name}.yaml": f"{what}.yaml"}
    if what == "method":
        files[plugin / f"{module}.py"] = "method.py.txt"
        files[plugin / "pyproject.toml"] = "pyproject.toml.txt"
    if found := [path for path in files if path.exists() or path.is_symlink()]:
        raise RequestError(f"{path}: is there already; nothing was written." for path in found)
    for path, template in files.items():
        write_atomically(path, _filled(_HERE / template, words))
    own = conf.resolve() == CONF_DIR.resolve()
    where = "" if own else f"--config-dir {conf} "
    steps = [f"pip install -e {plugin}"] if what == "method" else []
    steps.append(f"dylora validate {where}{what}={name}")
    return [*map(str, files), f"fill in what says so, then: {' && '.join(steps)}"]


def _filled(template: Path, words: dict[str, str]) -> str:
    text = template.read_text(encoding="utf-8")
    pattern = re.compile(rf"\b({'|'.join(words)})\b")
    return pattern.sub(lambda match: words[match[1]], text)


def _standard_modules() -> frozenset[str]:
    return frozenset(sys.stdlib_module_names)
