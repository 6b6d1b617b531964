"""The project's launcher where Hydra looks for plugins: in this namespace package alone."""

from dylora_exp.multirun.launcher import ExecutorLauncher


class DyloraLauncher(ExecutorLauncher):
    """What the files of ``conf/hydra/launcher`` name as their target."""
