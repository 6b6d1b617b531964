"""The methods there are."""

from pathlib import Path


def method_kinds() -> list[str]:
    """Return the modules of this folder that hold a method, without importing them."""
    files = sorted(Path(__file__).parent.glob("*.py"))
    return [file.stem for file in files if "\nclass Method(" in file.read_text("utf-8")]
