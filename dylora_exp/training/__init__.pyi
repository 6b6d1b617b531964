from .epochs import EpochSweep as EpochSweep
from .epochs import epoch_scores as epoch_scores
from .rank_sweep import sweep as sweep
from .trainer import Trained as Trained
from .trainer import train as train

__all__ = ["EpochSweep", "Trained", "epoch_scores", "sweep", "train"]
