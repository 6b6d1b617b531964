"""Times a search over ranks against one dynamic run: Table 5 of the paper, end to end.

The search trains and scores a LoRA at each rank; the dynamic run trains one DyLoRA and scores it at
all of them. Both are whole commands, ``dylora run``, imports and data included, one after the
other in an order that changes from round to round.

    python scripts/bench_search.py --profile demo
    python scripts/bench_search.py --profile mini --overrides task.data_dir=../shared/data/glue
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import benchmarking

SEARCHES = {"ranks 1 to 8": list(range(1, 9)), "powers of two to 64": [2**i for i in range(7)]}


def seconds_of(overrides: Sequence[str], threads: int) -> float:
    """Return the seconds of one run in folders that are thrown away.

    Raises:
        RuntimeError: When it fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        words = [f"results_dir={folder}/results", f"outputs_dir={folder}/outputs"]
        command = [sys.executable, "-m", "dylora_exp", "run", *overrides, *words]
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        start = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        spent = time.perf_counter() - start
        if done.returncode or not list(Path(folder, "results", "runs").glob("*.json")):
            raise RuntimeError(done.stderr[-2000:])
        return spent


def main() -> None:
    """Measure, print the table, and write it with all numbers."""
    parser = benchmarking.parser_of(__doc__)
    parser.add_argument("--profile", default="demo")
    parser.add_argument("--overrides", nargs="*", default=[], help="of all runs")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--searches", nargs="+", default=list(SEARCHES), choices=list(SEARCHES))
    options = parser.parse_args()
    common = [
        f"profile={options.profile}",
        f"trainer.threads={options.threads}",
        *options.overrides,
    ]
    rows = []
    for search in options.searches:
        ranks = SEARCHES[search]
        of_one_rank = "method.score=[{truncation: leading, scale: alpha/r}]"
        contestants = {
            f"LoRA at rank {rank}": [
                *("method=lora", f"ranks.r_max={rank}", f"ranks.score=[{rank}]", of_one_rank)
            ]
            for rank in ranks
        }
        listed = "[" + ",".join(map(str, ranks)) + "]"
        contestants["DyLoRA"] = [
            *("method=dylora", f"ranks.r_max={ranks[-1]}", f"ranks.values={listed}"),
        ]
        seconds = benchmarking.measure_in_turn(
            {
                name: lambda _, words=words: seconds_of([*common, *words], options.threads)
                for name, words in contestants.items()
            },
            options.rounds,
            warm_up=0,
        )
        sums = [
            sum(seconds[name][i] for name in contestants if name != "DyLoRA")
            for i in range(options.rounds)
        ]
        found = {"the search": sums, "one DyLoRA": seconds["DyLoRA"]}
        rows.append(
            {
                "search": search,
                "runs": len(ranks),
                "rows": benchmarking.summarised(found, ["one DyLoRA"]),
                "each": benchmarking.summarised(seconds, ["DyLoRA"]),
            }
        )
    result = benchmarking.facts(
        options.device,
        profile=options.profile,
        overrides=list(options.overrides),
        rounds=options.rounds,
        searches=rows,
    )
    result["threads"] = options.threads
    text = (
        "# Searching for a rank against training for all of them\n\n"
        f"Whole commands of profile {options.profile} ({' '.join(options.overrides) or 'as it is'})"
        f", medians of {options.rounds} rounds. {benchmarking.facts_text(result)}\n\n"
    ) + benchmarking.markdown_table(
        ["ranks", "runs of LoRA", "the search", "one DyLoRA", "ratio"],
        [
            [
                row["search"],
                str(row["runs"]),
                *[f"{each['seconds']:.0f} s" for each in row["rows"]],
                benchmarking.ratio_text(row["rows"][0]["over one DyLoRA"]),
            ]
            for row in rows
        ],
    )
    benchmarking.save(options.to, "search", result, text)


if __name__ == "__main__":
    main()
