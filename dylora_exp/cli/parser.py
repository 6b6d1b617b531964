"""The words of the ``dylora`` command: its commands and their options."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NoReturn

from dylora_exp.core import RequestError

COMMANDS = [
    *("run", "reproduce", "validate", "list", "export"),
    *("data", "models", "score", "tables", "report"),
]
LISTS = ["models", "tasks", "methods", "ranks", "profiles", "tables", "runs"]

_EPILOG = """\
examples:
  dylora run                                     the offline demo: DyLoRA on a tiny model
  dylora run model=minilm task=sst2 profile=mini task.data_dir=GLUE_DIR
  dylora run -m method=lora,dylora seed=10,42    every combination, one after the other
  dylora validate task=mrpc ranks.r_max=4        check a config without running it
  dylora reproduce 2 --plan                      which runs Table 2 needs, and which are missing
  dylora reproduce all --profile demo --jobs 2   run what is missing, then make the tables
  dylora tables 2 --profile demo                 Table 2 from the records
  dylora report --where task=mrpc                means over seeds, and which claims hold
  dylora export 3fa9 --rank 2 --to adapter       rank 2 of a run, for plain PEFT
  dylora score e2e --predictions out.txt --references refs.txt

exit codes: 0 done, 1 the work failed, 2 the request was wrong
"""


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one sentence, as every other part of the project does."""

    def error(self, message: str) -> NoReturn:
        message = message.replace(", overrides", "")  # of which there may be none
        raise RequestError(f"{message}; see {self.prog} --help.")


def _folder(text: str) -> str:
    return str(Path(text).expanduser())


def command_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands; it raises ``RequestError`` for wrong words."""
    parser = _Parser(
        prog="dylora",
        description="Train low-rank adapters once, score every rank, regenerate the tables.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    results = _Parser(add_help=False)
    results.add_argument(
        "--results", default="results", type=_folder, metavar="DIR", help="default: results"
    )
    select = _Parser(add_help=False)
    select.add_argument(
        "--select",
        metavar="last|best",
        help="the scores after the last epoch, or each rank's best epoch, for which runs are "
        "scored after each (trainer.score_every=epoch); default: as the table says, last",
    )
    commands = parser.add_subparsers(title="commands", dest="command", metavar="COMMAND")

    run = commands.add_parser(
        "run",
        help="train once, score every rank, leave a record",
        description="Train once, score every rank, leave a record. Takes Hydra overrides and "
        "Hydra's own flags; -m runs every combination of comma-separated values. -v tells more, "
        "-q only errors and the last line; run.log in a run's folder has it all.",
    )
    run.add_argument("overrides", nargs="*", help="for example task=mrpc method=lora seed=42")

    reproduce = commands.add_parser(
        "reproduce",
        parents=[results, select],
        help="run what a table lacks, then render it",
        description="Run what a table lacks, the runs that fail once more, then render it. "
        "Further overrides hold for all runs: paths, logging and hardware, for example "
        "task.data_dir=DIR, which may be the folder above those of all tasks. Jobs that run at a "
        "time on this machine share its cores (trainer.threads=cores/N; the last bits of a result "
        "depend on it). -v and -q are those of run.",
    )
    reproduce.add_argument("table", metavar="TABLE", help="for example 2 or A; all: every one")
    reproduce.add_argument("--profile", default="demo", help="default: demo")
    reproduce.add_argument("--plan", action="store_true", help="list the runs and do none")
    reproduce.add_argument("--jobs", type=int, metavar="N", help="runs at a time")
    reproduce.add_argument(
        "--launcher",
        metavar="L",
        help="joblib, submitit_local or submitit_slurm (default: this process, several jobs: "
        "joblib); hydra.launcher.KEY=VALUE sets more",
    )
    reproduce.add_argument(
        "--outputs", default="outputs", type=_folder, metavar="DIR", help="default: outputs"
    )
    reproduce.add_argument("overrides", nargs="*", help="for example trainer.threads=1")

    validate = commands.add_parser(
        "validate", help="check a config and name every problem, without running it"
    )
    validate.add_argument("overrides", nargs="*", help="as for run")

    show = commands.add_parser(
        "list", parents=[results], help="show what can be chosen, and the runs there are"
    )
    show.add_argument("what", nargs="?", help=f"{', '.join(LISTS)} (default: all but runs)")

    export = commands.add_parser(
        "export",
        parents=[results],
        help="write a rank of a run as a standard PEFT adapter",
        description="Write a rank of a completed run as an ordinary LoRA that PEFT loads by "
        "itself, with the trained head and a model card.",
    )
    export.add_argument("run", metavar="RUN", help="a run id or the beginning of one")
    export.add_argument("--rank", required=True, metavar="B", help="a scored rank, or all")
    export.add_argument(
        "--to", required=True, type=_folder, metavar="DIR", help="with all: its parent"
    )
    export.add_argument("--truncation", help="leading or svd (default: svd where scored)")
    export.add_argument("--merge", action="store_true", help="write the whole model, merged")
    export.add_argument("--force", action="store_true", help="replace what is in DIR")
    export.add_argument(
        "--outputs", default="outputs", type=_folder, metavar="DIR", help="default: outputs"
    )

    score = commands.add_parser(
        "score",
        help="score a file of generated texts against references",
        description="Score generated texts as the official scripts of a task do. A metric that "
        "needs Java is missing without it, with the reason; the others stand.",
    )
    score.add_argument("task", metavar="TASK", help="e2e, webnlg or dart")
    score.add_argument(
        "--predictions", required=True, metavar="F", help="a text a line; it may be blank"
    )
    score.add_argument(
        "--references",
        required=True,
        nargs="+",
        metavar="F",
        help="e2e: a text a line, blank lines between items, or the official CSV; webnlg, dart: "
        "a folder with reference0, reference1, ..., its reference0, or files that go line by line",
    )
    score.add_argument("--metrics", metavar="M", help="for example bleu,nist (default: all)")
    score.add_argument("--json", action="store_true", help="print one JSON object")

    data = commands.add_parser(
        "data",
        help="fetch the data of tasks, for machines without a network",
        description="Fetch the data of tasks from their publishers or the hub, and say with which "
        "words runs use them: hub_cache=DIR, or task.data_dir=DIR. An interrupted fetch goes on.",
    )
    data.add_argument("action", metavar="fetch", help="fetch")
    data.add_argument("names", nargs="+", metavar="TASK", help="for example e2e or mrpc; or all")
    data.add_argument(
        "--to", required=True, type=_folder, metavar="DIR", help="what is there already stays"
    )

    models = commands.add_parser(
        "models",
        help="fetch models of the hub, for machines without a network",
        description="Fetch models and their tokenizers from the hub, for hub_cache=DIR: settings, "
        "vocabularies and safetensors, no pickles. An interrupted fetch goes on.",
    )
    models.add_argument("action", metavar="fetch", help="fetch")
    models.add_argument(
        "names",
        nargs="+",
        metavar="MODEL",
        help="for example roberta-base, or OWNER/NAME on the hub, each also with @REVISION; or all",
    )
    models.add_argument(
        "--to", required=True, type=_folder, metavar="DIR", help="what is there already stays"
    )
    models.add_argument("--hub", action="store_true", help="MODEL is the hub's name as it stands")

    tables = commands.add_parser(
        "tables", parents=[results, select], help="render tables from records, without training"
    )
    tables.add_argument("names", nargs="*", metavar="TABLE", help="default: all")
    tables.add_argument("--profile", default="demo", help="demo, mini or paper (default: demo)")

    report = commands.add_parser(
        "report",
        parents=[results],
        help="averages over seeds, differences, recommended ranks, cost, claims",
        description="What the records say: averages over seeds, paired differences between "
        "methods, recommended ranks, cost, and the claims of the paper. As text, or as files in "
        "the results folder.",
    )
    report.add_argument("--html", action="store_true", help="write report.html, one file")
    report.add_argument(
        "--csv", action="store_true", help="write averages, differences and claims as CSV"
    )
    report.add_argument(
        "--figures", action="store_true", help="write each figure as PNG and SVG into figures/"
    )
    report.add_argument(
        "--where",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="for example task=mrpc,method=lora,dylora,ranks.r_max=8: task, method, model, "
        "profile, status, seed, rank, metric or a config key",
    )
    report.add_argument(
        "--tolerance",
        type=float,
        metavar="T",
        help="what a recommended rank may lose, part of the best (default: one standard error)",
    )
    return parser
