"""Models that are chosen by a folder or a name on the hub, where no file of the project names one.

``model=FOLDER`` and ``model=OWNER/NAME`` are options of the group ``model`` like its files: Hydra
finds them in its store of configs. What to adapt in them is guessed when the config is composed.
"""

from __future__ import annotations

from collections.abc import Sequence

from hydra.core.config_store import ConfigStore

from dylora_exp.config.targets import AUTO
from dylora_exp.core import expand_user, hub_name, unknown_name


def is_path(name: str) -> bool:
    """Return whether a name can only be that of a folder, or is that of a model's."""
    folder = expand_user(name)
    beginning = name.startswith((".", "/", "~"))
    return beginning or name.count("/") > 1 or (folder / "config.json").is_file()


def own_model_problem(name: str, options: Sequence[str]) -> str | None:
    """Return what is wrong with a choice of a model that no file has the name of, None for nothing.

    Args:
        name: A folder, or ``OWNER/NAME`` on the hub.
        options: The names that files have, one of which may be meant.
    """
    folder = expand_user(name)
    if is_path(name) or ("/" in name and folder.is_dir()):
        if not folder.is_dir():
            return f"model: there is no folder '{name}'."
        if not (folder / "config.json").is_file():
            return f"model: there is no config.json in folder '{name}', expected that of a model."
        return None
    if "/" in name and hub_name(name) is not None:
        return None
    return unknown_name("model", name, options)


def add_own_model(name: str) -> None:
    """Make a folder or a name on the hub an option of the group ``model``."""
    parts = [part for part in f"model/{name}".split("/") if part]  # as Hydra looks for them
    last = expand_user(name).resolve().name if is_path(name) else parts[-1]
    ConfigStore.instance().store(
        group="/".join(parts[:-1]),
        name=parts[-1],
        package="model",
        node={
            **{"name": last, "name_or_path": name},
            **{"targets": AUTO, "head": AUTO, "fused": AUTO},
        },
    )
