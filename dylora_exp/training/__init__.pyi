from .arguments import optimizer_steps as optimizer_steps
from .checkpoint_names import newest_step as newest_step
from .epoch_sweep import EpochSweep as EpochSweep
from .epoch_sweep import epoch_scores as epoch_scores
from .example_order import RandomOrderSampler as RandomOrderSampler
from .example_order import order_sampler as order_sampler
from .rank_sweep import score_all_ranks as score_all_ranks
from .timed_steps import time_steps as time_steps
from .timed_steps import wait_for_device as wait_for_device
from .trainer import TrainingResult as TrainingResult
from .trainer import train as train

__all__ = [
    "EpochSweep",
    "RandomOrderSampler",
    "TrainingResult",
    "epoch_scores",
    "newest_step",
    "optimizer_steps",
    "order_sampler",
    "score_all_ranks",
    "time_steps",
    "train",
    "wait_for_device",
]
