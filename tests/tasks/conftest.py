"""Small data folders, read through the config as a run does it."""

import pytest

from dylora_exp.config.composition import compose
from dylora_exp.core.errors import RequestError
from dylora_exp.tasks.base import read


class Folder:
    """A task's folder: files to write, then what reading it gives."""

    def __init__(self, task, path):
        self.task = task
        self.path = path

    def write(self, **files):
        """Write files; ``__`` in a name is a dot, ``___`` a slash."""
        for name, content in files.items():
            path = self.path / name.replace("___", "/").replace("__", ".")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return self

    def config(self, *words):
        return compose([f"task={self.task}", f"task.data_dir={self.path}", *words]).task

    def read(self, *words):
        return read(self.config(*words))

    def problems(self, *words):
        """Return what is wrong, each sentence without the folder's name before it."""
        with pytest.raises(RequestError) as error:
            self.read(*words)
        return [problem.removeprefix(f"{self.path}/") for problem in error.value.problems]


@pytest.fixture
def folder(tmp_path):
    return lambda task, path=tmp_path: Folder(task, path)
