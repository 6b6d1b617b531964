"""Executors: each runs jobs somewhere and yields how each ended, whatever happens to its process.

An executor is one module of this folder and one file of ``conf/hydra/launcher`` that names it.
"""

from dylora_exp.multirun.executors.base import Executor, executor_names
from dylora_exp.multirun.executors.settings import launcher_names, load_executor, make_executor

__all__ = ["Executor", "executor_names", "launcher_names", "load_executor", "make_executor"]
