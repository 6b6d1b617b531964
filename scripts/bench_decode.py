"""Times decoding once per context in batches against once per reference line, one at a time."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import torch

from dylora_exp.adapters import merged
from dylora_exp.config import Config, compose
from dylora_exp.methods import TrainedModel, make_method
from dylora_exp.models import load, longest_input
from dylora_exp.objectives import GenerationObjective, ObjectiveContext, decode
from dylora_exp.runner import quiet_libraries
from dylora_exp.tasks import read


def seconds(
    model: TrainedModel, objective: GenerationObjective, prompts: list[list[int]], batch_size: int
) -> float:
    """Decode prompts into a file that is thrown away and return the seconds."""
    with tempfile.TemporaryDirectory() as folder:
        return decode(
            model,
            objective.tokenizer,
            prompts,
            objective.decoder.settings,
            batch_size,
            Path(folder) / "texts.jsonl",
            "",
            f"batch {batch_size}",
        ).seconds


def prepared(config: Config) -> tuple[GenerationObjective, TrainedModel]:
    """Return the task's contexts and a model with fresh adapters, which cost what trained ones do.

    They are shown at r_max, where a model with mask and one without cost the same.
    """
    torch.manual_seed(0)
    backbone, tokenizer = load(config.model, labels=None)
    objective = GenerationObjective(
        ObjectiveContext(config, tokenizer, longest_input(backbone), read(config.task))
    )
    return objective, make_method(config).attach(backbone)


def main() -> None:
    """Print the seconds per 100 contexts of both ways, and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True, metavar="FOLDER", help="a GPT-2")
    parser.add_argument("--data", required=True, metavar="DIR", help="holds the files of E2E")
    parser.add_argument("--contexts", type=int, default=100, metavar="N", help="of E2E dev")
    parser.add_argument("--batch", type=int, default=32, metavar="N", help="contexts in a batch")
    arguments = parser.parse_args()
    quiet_libraries()
    config = compose(
        [
            "model=gpt2",
            f"model.name_or_path={arguments.model}",
            "task=e2e",
            "task.eval_split=dev",
            f"task.data_dir={arguments.data}",
            f"task.max_eval_samples={arguments.contexts}",
            "task.max_train_samples=1",
            "ranks.r_max=4",
        ]
    )
    objective, model = prepared(config)
    counts = [len(texts) for texts in objective.data["references"]]
    pairs = zip(objective.prompts, counts, strict=True)
    lines = [prompt for prompt, count in pairs for _ in range(count)]
    seconds(model, objective, lines[:1], 1)  # warms up
    with merged(model):
        ours = seconds(model, objective, objective.prompts, arguments.batch)
    theirs = seconds(model, objective, lines, 1)
    for name, spent, inputs in (
        (f"once per context, batch {arguments.batch}, merged", ours, objective.prompts),
        ("once per reference line, batch 1, not merged", theirs, lines),
    ):
        share = 100 * spent / len(objective.prompts)
        print(f"{name:46} {len(inputs):5} inputs {share:8.1f} s per 100 contexts")
    print(
        f"ratio {theirs / ours:.1f}, of it {len(lines) / len(objective.prompts):.1f} by the lines"
    )


if __name__ == "__main__":
    main()
