"""Settings before any library is loaded, and what many tests share."""

import logging
import os
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
# Workers of a parallel test run share the cores; one thread each keeps results the same, too.
os.environ["OMP_NUM_THREADS"] = "1"

import pytest
from hypothesis import settings

from dylora_exp.core import use_config_folders
from tests.support.tiny_runs import ROOT, TINY

# Times vary with the machine; laws do not.
settings.register_profile("project", deadline=None, max_examples=30)
settings.load_profile("project")

SHARED_DATA = ROOT.parent / "shared" / "data"


@pytest.fixture
def shared_data() -> Path:
    if not SHARED_DATA.is_dir():
        pytest.skip("needs ../shared/data")
    return SHARED_DATA


@pytest.fixture
def tiny_words(tmp_path) -> list[str]:
    return [*TINY, f"results_dir={tmp_path / 'results'}", f"outputs_dir={tmp_path / 'outputs'}"]


@pytest.fixture(scope="session")
def packable_llama(tmp_path_factory) -> Path:
    """A tiny Llama that can be packed in four and eight bits; nothing is to be written to it."""
    from tests.support.packed_bases import PACKABLE
    from tests.support.tiny_llama import save_tiny_llama

    folder = tmp_path_factory.mktemp("packable") / "llama"
    save_tiny_llama(folder, **PACKABLE)
    return folder


@pytest.fixture(autouse=True)
def same_log_handlers():
    """Hydra's handlers write to the output of one test, which is closed after it."""
    root = logging.getLogger()
    before = list(root.handlers)
    yield
    for handler in [each for each in root.handlers if each not in before]:
        root.removeHandler(handler)


@pytest.fixture(autouse=True)
def no_folders_of_configs():
    """Folders with configs that one test adds are not those of the next."""
    yield
    use_config_folders(())
