"""Times scoring at eight ranks against the released way, on the same examples and the same model.

Ours tokenises once, pads to the longest text of a batch of similar lengths and scores all ranks one
after the other. The released way pads every text to 512 tokens and evaluates in batches of 8, once
for each rank, as its scripts do. Its time is measured on a part of the examples, all of which take
as long there, and is multiplied by what they are a part of.

    python scripts/bench_sweep.py --model minilm --data ../shared/data/glue
"""

from __future__ import annotations

import time
from typing import Any

import benchmarking
import torch

from dylora_exp.config import Config, compose
from dylora_exp.methods import make_method
from dylora_exp.models import load, longest_input
from dylora_exp.objectives import ObjectiveContext, make_objective
from dylora_exp.runner import quiet_libraries
from dylora_exp.tasks import read

RANKS = list(range(1, 9))
PADDED, BATCH = 512, 8


def prepared(config: Config) -> tuple[Any, Any, Any]:
    """Return the method, its model and the objective of a config, with adapters at random."""
    torch.manual_seed(0)
    backbone, tokenizer = load(config.model, config.task.number_of_outputs)
    data = read(config.task)
    objective = make_objective(ObjectiveContext(config, tokenizer, longest_input(backbone), data))
    method = make_method(config)
    return method, method.attach(backbone).eval(), objective


def ours(method: Any, model: Any, objective: Any) -> float:
    """Return the seconds of one sweep over all ranks."""
    start = time.perf_counter()
    for cut in method.cuts():
        objective.score(model, method, cut, None)
    return time.perf_counter() - start


@torch.inference_mode()
def released(method: Any, model: Any, texts: list[list[str]], tokenizer: Any) -> float:
    """Return the seconds of one evaluation for each rank, its tokenisation included."""
    start = time.perf_counter()
    width = min(PADDED, longest_input(model))
    for cut in method.cuts():
        with method.at_cut(model, cut):
            for first in range(0, len(texts), BATCH):
                columns = [
                    list(column) for column in zip(*texts[first : first + BATCH], strict=True)
                ]
                inputs = tokenizer(
                    *columns,
                    padding="max_length",
                    truncation=True,
                    max_length=width,
                    return_tensors="pt",
                ).to(model.device)
                model(**inputs).logits.argmax(dim=-1).tolist()
    return time.perf_counter() - start


def main() -> None:
    """Measure, print the ratio, and write it with all numbers."""
    parser = benchmarking.parser_of(__doc__)
    parser.add_argument("--model", default="minilm")
    parser.add_argument("--task", default="mrpc")
    parser.add_argument("--data", metavar="DIR", help="the folder of GLUE")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--part", type=int, default=48, metavar="N", help="for the released way")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    quiet_libraries()
    words = [f"task.data_dir={options.data}"] if options.data else []
    config = compose(
        [
            *(f"model={options.model}", f"task={options.task}", "method=dylora"),
            *("ranks.r_max=8", "task.max_train_samples=8", *words),
        ]
    )
    method, model, objective = prepared(config)
    model.to(options.device)
    texts = [list(text) for text in read(config.task).eval["text"]]
    part = texts[: options.part]
    share = len(texts) / len(part)
    seconds = benchmarking.measure_in_turn(
        {
            "ours": lambda _: ours(method, model, objective),
            "released way": lambda _: share * released(method, model, part, objective.tokenizer),
        },
        options.rounds,
    )
    rows = benchmarking.summarised(seconds, ["ours"])
    result = benchmarking.facts(
        options.device,
        model=options.model,
        task=options.task,
        examples=len(texts),
        part=len(part),
        ranks=len(RANKS),
        rounds=options.rounds,
        rows=rows,
    )
    text = (
        "# Scoring at eight ranks\n\n"
        f"{options.model}, {options.task}, {len(texts)} examples, ranks 1 to 8; the released way "
        f"on {len(part)} of them, multiplied by {share:.1f}. Medians of {options.rounds} rounds. "
        f"{benchmarking.facts_text(result)}\n\n"
    ) + benchmarking.markdown_table(
        ["way", "seconds", "/ ours"],
        [
            [
                row["name"],
                f"{row['seconds']:.1f}",
                benchmarking.ratio_text(row["over ours"]),
            ]
            for row in rows
        ],
    )
    benchmarking.save(options.to, "sweep", result, text)


if __name__ == "__main__":
    main()
