"""Writes the golden files of ``test_guard.py``; run once, before a refactoring.

python tests/guard/make_golden.py
"""

import contextlib
import io
import itertools
import json
import re
import shutil
import tempfile
from pathlib import Path

import dylora_exp
from dylora_exp.cli import main as dylora

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
COMMANDS = (
    *("run", "reproduce", "validate", "list", "export"),
    *("data", "models", "score", "tables", "report"),
)
METHODS = (
    *("lora", "dylora", "dylora-frozen", "released-code", "nested-dropout"),
    *("matryoshka", "sorted-lora", "finetune", "flop"),
)
TASKS = (
    *("demo", "mrpc", "sst2", "cola", "mnli", "qnli", "qqp", "rte", "stsb"),
    *("demo-e2e", "demo-webnlg", "e2e", "dart", "webnlg"),
)
PROFILES = ("demo", "mini", "paper", "demo-nlg", "mini-nlg", "paper-nlg")
MODELS = (
    *("tiny-roberta", "tiny-gpt2", "minilm", "roberta-base", "roberta-large"),
    *("gpt2", "gpt2-medium"),
)
RANKS = ("uniform", "geometric", "powers", "per-example", "sandwich")
# Options at and off their defaults.
OPTIONS = [
    ["seed=42"],
    ["seed=10"],
    ["trainer.learning_rate=1e-3", "trainer.epochs=3", "trainer.max_steps=null"],
    ["trainer.batch_size=8", "trainer.accumulation_steps=4", "trainer.warmup_steps=10"],
    ["trainer.schedule=cosine", "trainer.bf16=true", "trainer.score_every=epoch"],
    ["trainer.save_steps=7", "trainer.threads=1", "trainer.eval_batch_size=3"],
    ["trainer.compile=true", "trainer.weight_decay=0.0", "trainer.max_steps=null"],
    ["ranks.r_max=4"],
    ["ranks.r_max=16", "ranks.score=[1,2,4]"],
    ["ranks.values=[1,2,4,8]"],
    ["ranks=custom", "ranks.weights=[0.5,0.5,0,0,0,0,0,0]"],
    ["ranks=geometric", "ranks.p=0.3", "ranks.tail=clip"],
    ["ranks.sample_every=micro_batch"],
    ["ranks.tolerance=0.05"],
    ["method.alpha=32", "method.dropout=0.1", "method.init=gaussian"],
    ["method.freeze=strict", "method.update=row"],
    ["method.scale=alpha/r"],
    ["method=sorted-lora", "method.share=0.5", "method.optimizer_state=keep"],
    ["method=nested-dropout", "method.loss_weights=distribution", "method.budget=passes"],
    ["method=nested-dropout", "method.examples_per_pass=64"],
    ["method=flop", "method.target_parameters=120000"],
    ["method=flop", "method.final_count=expected", "method.gate_drop_rate=0.1"],
    ["method=finetune", "method.weight_learning_rate_share=0.5"],
    ["method=lora", "method.score=[{truncation: svd, scale: alpha/b}]"],
    ["model.pretrained=false", "model=roberta-base"],
    ["model.targets=[query,key,value]"],
    ["model.overrides={hidden_dropout_prob: 0.1}"],
    ["task=mrpc", "task.max_length=64", "task.max_train_samples=100"],
    ["task=mrpc", "task.broken_lines=skip", "task.headline=accuracy"],
    ["profile=mini-nlg", "task.decode.beams=4", "task.decode.length_penalty=1.0"],
    ["profile=paper-nlg", "task=webnlg", "task.eval_split=test"],
    ["results_dir=elsewhere", "outputs_dir=there", "running=skip", "tracker=wandb"],
]


def configs() -> list[list[str]]:
    """Return the overrides of every pinned config."""
    found = [[f"method={name}"] for name in METHODS]
    found += [[f"task={name}"] for name in TASKS]
    found += [[f"model={name}"] for name in MODELS]
    found += [[f"ranks={name}"] for name in RANKS]
    found += [
        [f"profile={profile}", f"method={method}"]
        for profile, method in itertools.product(PROFILES, METHODS)
    ]
    found += [
        ["profile=mini", f"task={task}", f"method={method}", f"seed={seed}"]
        for task, method, seed in itertools.product(
            ("sst2", "mrpc"), ("lora", "dylora", "dylora-frozen"), (10, 42)
        )
    ]
    found += [["profile=mini-nlg", f"method={method}"] for method in ("lora", "dylora")]
    found += [
        [f"profile={profile}", f"method={method}"]
        for profile, method in itertools.product(
            ("smollm", "smollm-nlg"), ("lora", "dylora", "sorted-lora")
        )
    ]
    return [*found, *OPTIONS]


def render(folder: Path) -> dict[str, str]:
    """Render every table and the report's CSV files from the committed records.

    Returns:
        The text of each file by its path below ``folder``; figures are left out.
    """
    shutil.copytree(ROOT / "results" / "runs", folder / "runs")
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        for profile in ("demo", "mini", "paper"):
            assert dylora(["tables", "--profile", profile, "--results", str(folder)]) == 0
        assert dylora(["report", "--csv", "--results", str(folder)]) == 0
    files = [path for path in folder.rglob("*") if path.suffix in (".md", ".tex", ".csv")]
    return {path.relative_to(folder).as_posix(): path.read_text("utf-8") for path in sorted(files)}


def flags(command: str) -> list[str]:
    """Return the flags that a command's help names."""
    output = io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.suppress(SystemExit):
        dylora([command, "--help"])
    return sorted(set(re.findall(r"(?<![\w-])--?[a-z][\w-]*", output.getvalue())))


def main() -> None:
    """Write the golden files."""
    with tempfile.TemporaryDirectory() as folder:
        rendered = render(Path(folder))
    for name, text in rendered.items():
        path = HERE / "rendered" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    known = {command: flags(command) for command in COMMANDS}
    (HERE / "flags.json").write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")
    ids = [[words, dylora_exp.run_id(dylora_exp.compose_config(words))] for words in configs()]
    lines = ",\n".join(json.dumps(pair) for pair in ids)
    (HERE / "run_ids.json").write_text(f"[\n{lines}\n]\n", encoding="utf-8")


if __name__ == "__main__":
    main()
