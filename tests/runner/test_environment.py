import platform
import re

import torch

from dylora_exp.runner.environment import environment, peak_memory, reset_peak_memory


def test_versions_commit_and_hardware():
    found = environment()
    assert found["python"] == platform.python_version()
    assert found["torch"] == torch.__version__
    assert found["git_commit"] is None or re.fullmatch("[0-9a-f]{40}", found["git_commit"])
    assert found["dirty"] in (True, False, None)


def test_the_peak_is_that_of_the_run_and_not_of_the_process():
    block = bytearray(300 * 2**20)
    block[:: 2**12] = b"x" * len(block[:: 2**12])
    before = peak_memory()["peak_bytes"]
    del block
    reset_peak_memory()
    if platform.system() == "Linux" and not torch.cuda.is_available():
        assert peak_memory()["peak_bytes"] < before - 200 * 2**20
