"""The base of an adapter, found by the name that the adapter has for it.

Neither torch nor transformers is imported.
"""

from __future__ import annotations

from typing import Any

from omegaconf import OmegaConf

from dylora_exp.config import CONF_DIR, options
from dylora_exp.core import NotInstalled, expand_user, hub_name, in_package, package_folder

# The hub renamed what had no owner once: ``gpt2`` is ``openai-community/gpt2`` there.
_OWNERS_OF_OLD_NAMES = (
    *("openai-community", "FacebookAI", "google-bert", "distilbert", "albert", "facebook"),
    *("google-t5", "xlnet", "microsoft"),
)


def find_base(name: str | None, revision: str | None = None) -> dict[str, Any] | None:
    """Return the settings of the group ``model`` for a base; None where it cannot be found.

    That is one of the project's own models, a folder on this machine, or one of the hub.

    Args:
        name: A folder or a name on the hub, such as PEFT notes.
        revision: That of the hub.
    """
    if not name:
        return None
    for option in options("model"):
        tree = OmegaConf.to_container(OmegaConf.load(CONF_DIR / "model" / f"{option}.yaml"))
        assert isinstance(tree, dict)
        if _is_same(str(tree["name_or_path"]), name) and revision == tree.get("revision"):
            return {str(key): value for key, value in tree.items()}
    folder = expand_user(name)
    if (folder / "config.json").is_file():
        return {"name": folder.resolve().name, "name_or_path": name}
    if is_hub_name(name) and not folder.exists():
        return {"name": name.rpartition("/")[2], "name_or_path": name, "revision": revision}
    return None


def is_hub_name(name: str) -> bool:
    """Return whether a name may be one of the hub: ``NAME`` or ``OWNER/NAME``, no path or file."""
    is_file = name.endswith((".bin", ".pt", ".pth", ".safetensors", ".ckpt"))
    return not is_file and hub_name(name) is not None


def _is_same(known: str, name: str) -> bool:
    """Return whether a model of the project is the one that a name means."""
    if in_package(known):
        folder = expand_user(name)
        if not folder.is_dir():  # it lay in the Python of another machine
            return folder.as_posix().endswith(f"/{known.partition('://')[2]}")
        try:
            return package_folder(known).resolve() == folder.resolve()
        except NotInstalled:
            return False
    owner, _, rest = name.rpartition("/")
    return name == known or (rest == known and owner in _OWNERS_OF_OLD_NAMES)
