"""Times decoding once per context in batches against once per reference line, one at a time.

python scripts/bench_decode.py --model gpt2 --data ../shared/data --contexts 100
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import benchmarking
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
    """Measure, print the ratio, and write it with all numbers."""
    parser = benchmarking.parser_of(__doc__)
    parser.add_argument("--model", default="tiny-gpt2", help="a model that generates texts")
    parser.add_argument("--folder", metavar="DIR", help="its weights; at random without")
    parser.add_argument("--data", required=True, metavar="DIR", help="holds the files of E2E")
    parser.add_argument("--contexts", type=int, default=100, metavar="N", help="of E2E dev")
    parser.add_argument("--part", type=int, default=10, metavar="N", help="for batch 1")
    parser.add_argument("--batch", type=int, default=32, metavar="N", help="contexts in a batch")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    quiet_libraries()
    weights = f"model.name_or_path={options.folder}" if options.folder else "model.pretrained=false"
    if options.model.startswith("tiny"):
        weights = "model.pretrained=true"
    config = compose(
        [
            *(f"model={options.model}", weights, "task=e2e", "task.eval_split=dev"),
            *(f"task.data_dir={options.data}", f"task.max_eval_samples={options.contexts}"),
            *("task.max_train_samples=1", "ranks.r_max=4", "method=dylora"),
        ]
    )
    objective, model = prepared(config)
    model.to(options.device)
    beams = objective.decoder.settings.beams
    counts = [len(texts) for texts in objective.data["references"]]
    part = objective.prompts[: options.part]
    lines = [prompt for prompt, count in zip(part, counts, strict=False) for _ in range(count)]
    share = sum(counts) / len(lines)

    def ours(_round: int) -> float:
        with merged(model):
            return seconds(model, objective, objective.prompts, options.batch)

    found = benchmarking.measure_in_turn(
        {"ours": ours, "released way": lambda _: share * seconds(model, objective, lines, 1)},
        options.rounds,
    )
    rows = benchmarking.summarised(found, ["ours"])
    result = benchmarking.facts(
        options.device,
        model=options.model,
        contexts=len(objective.prompts),
        lines=sum(counts),
        lines_measured=len(lines),
        batch=options.batch,
        beams=beams,
        rounds=options.rounds,
        rows=rows,
    )
    text = (
        "# Decoding\n\n"
        f"{options.model}, E2E, {len(objective.prompts)} contexts with {sum(counts)} reference "
        f"lines, {beams} beams. Ours decodes each context once, in batches of "
        f"{options.batch}, the adapters merged; the released way each line by itself, not merged, "
        f"measured on {len(lines)} lines and multiplied by {share:.1f}. One rank; each further one "
        f"costs the same again, both ways. Medians of {options.rounds} rounds. "
        f"{benchmarking.facts_text(result)}\n\n"
    ) + benchmarking.markdown_table(
        ["way", "seconds", "/ ours"],
        [
            [row["name"], f"{row['seconds']:.1f}", benchmarking.ratio_text(row["over ours"])]
            for row in rows
        ],
    )
    benchmarking.save(options.to, "decode", result, text)


if __name__ == "__main__":
    main()
