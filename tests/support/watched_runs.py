"""Runs with a note of every pass: its step, its ranks, its loss. Also a script for torchrun.

torchrun --nproc_per_node 2 watched_runs.py CASES.json DIR
"""

import json
import sys
from pathlib import Path

from dylora_exp.config.composition import compose
from dylora_exp.core import processes
from dylora_exp.runner.run import RunFailed, run_if_needed
from dylora_exp.training import trainer as training

STEPS = training.MethodTrainer.training_step


class Killed(Exception):
    pass


def run(name, words, folder, kill_at=None):
    """Do a run; leave one file of notes for each process, and for the main one its outcome."""
    notes = []

    def noted(trainer, model, inputs, *rest):
        loss = STEPS(trainer, model, inputs, *rest)
        mask, batch = trainer.method.mask, trainer.batch
        if batch.step == kill_at:
            raise Killed
        ranks = list(mask.ranks) if mask else []
        notes.append([batch.step, batch.index, ranks, loss.item(), inputs["input_ids"].tolist()])
        return loss

    training.MethodTrainer.training_step = noted
    try:
        place = folder / name
        to = [f"results_dir={place / 'results'}", f"outputs_dir={place / 'outputs'}"]
        outcome = run_if_needed(compose([*words, *to]))
    except RunFailed as error:
        notes = str(error)
    finally:
        training.MethodTrainer.training_step = STEPS
    kind = "cut" if kill_at is not None else "notes"
    (folder / f"{name}-{kind}-{processes.process_index()}.json").write_text(json.dumps(notes))
    return None if isinstance(notes, str) else outcome


def main(cases, folder):
    for name, case in cases.items():
        for kill_at in case.get("kill_at", []):
            run(name, case["words"], folder, kill_at)
        run(name, case["words"], folder)


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2]))
