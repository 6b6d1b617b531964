"""The methods there are."""

import re
from pathlib import Path


def method_kinds() -> list[str]:
    """Return the modules of this folder that hold a method, without importing them."""
    files = sorted(Path(__file__).parent.glob("*.py"))
    method = re.compile(r"^class \w+\((Method|LoRA|DyLoRA)\)", re.MULTILINE)
    return [file.stem for file in files if method.search(file.read_text("utf-8"))]
