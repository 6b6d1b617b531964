"""Where the project lies, and the words of a run in seconds, for tests that start processes too."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# A few examples, which is all that makes the run of an imported adapter shorter.
FEW = ["task.max_train_samples=96", "task.max_eval_samples=40"]
# A few steps on a few examples.
TINY = ["trainer.max_steps=3", *FEW]
