"""GPUs by their published throughput: what a measurement is scaled to where none is at hand."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

from omegaconf import OmegaConf

from dylora_exp.config import Config
from dylora_exp.core import RequestError, StrictModel, parse, unknown_name

_FILE = Path(__file__).with_name("gpus.yaml")
_TERA = 1e12


class GPU(StrictModel):
    """A GPU as its maker describes it.

    Attributes:
        matches: What its name as torch says it holds.
        float32: TFLOP/s, outside of the tensor cores.
        bfloat16: TFLOP/s, dense, on them.
        memory: GB.
        source: Where these numbers are from.
        name: That of the file.
    """

    matches: str
    float32: float
    bfloat16: float
    memory: float
    source: str
    name: str = ""

    def peak(self, precision: str) -> float:
        """Return the floating point operations a second at a precision."""
        return _TERA * (self.float32 if precision == "float32" else self.bfloat16)


@dataclass(frozen=True)
class Scaling:
    """How many times as fast a GPU is as what was measured, and by what it is held against it."""

    factor: float
    precision: str
    against: str


@functools.cache
def gpus() -> dict[str, GPU]:
    """Return the GPUs that are known, by name."""
    tree = OmegaConf.to_container(OmegaConf.load(_FILE))
    assert isinstance(tree, dict)
    return {
        str(name): parse(GPU, {**each, "name": str(name)}, str(name)) for name, each in tree.items()
    }


def find_gpu(name: str) -> GPU:
    """Return the GPU of a name, whatever its capitals.

    Raises:
        RequestError: When none is known by it.
    """
    found = gpus().get(name.lower().replace(" ", "-").removeprefix("nvidia-"))
    if found is None:
        raise RequestError(unknown_name("--gpu", name, gpus()))
    return found


def scaling_to(gpu: GPU, config: Config) -> Scaling:
    """Return how many times as fast a GPU would do what was measured here.

    Both work at the precision of the run. What was measured on a GPU of the file is held against
    its published throughput, what was measured elsewhere against a large product of matrices.
    """
    import torch

    from dylora_exp import runner

    low = config.trainer.bf16 or config.model.dtype != "float32"
    precision = "bfloat16" if low else "float32"
    device = runner.device_name()
    own = max(
        (each for each in gpus().values() if torch.cuda.is_available() and each.matches in device),
        key=lambda each: len(each.matches),
        default=None,
    )
    if own is not None:
        return Scaling(gpu.peak(precision) / own.peak(precision), precision, f"{own.name}'s")
    here = runner.matmul_speed(getattr(torch, precision))
    return Scaling(gpu.peak(precision) / here, precision, f"{here / _TERA:.3f} TFLOP/s here")
