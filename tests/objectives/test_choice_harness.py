"""Choice scores against lm-evaluation-harness, on the same file and model, and of exports."""

import json

import pytest
import torch
import yaml
from peft import PeftModel
from tokenizers.processors import TemplateProcessing
from transformers import AutoModelForCausalLM, AutoTokenizer

from dylora_exp.config.composition import compose
from dylora_exp.models.loading import load
from dylora_exp.objectives.base import ObjectiveContext
from dylora_exp.objectives.choice import ChoiceObjective
from dylora_exp.runner import export
from dylora_exp.runner.run import run_if_needed
from dylora_exp.tasks.base import read
from tests.support.choice_items import make_choice_task

NAMES = {"accuracy": "acc", "accuracy_norm": "acc_norm", "accuracy_bytes": "acc_bytes"}
OWN = {"doc_to_text": "Question: {{question}}\nAnswer:", "doc_to_choice": "{{options}}",
       "doc_to_target": "{{right}}"}  # fmt: skip


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / "cache"))


def judge(model, tokenizer, file, folder, task=OWN):
    """Return the harness's metrics and log-likelihoods of a model on a file."""
    lm_eval = pytest.importorskip("lm_eval", reason="needs the extra eval")
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    tree = {
        "task": "referee",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(file)}},
        "output_type": "multiple_choice",
        "test_split": "test",
        "metric_list": [
            {"metric": name, "aggregation": "mean", "higher_is_better": True}
            for name in NAMES.values()
        ],
        **task,
    }
    folder.mkdir(exist_ok=True)
    (folder / "referee.yaml").write_text(yaml.safe_dump(tree, allow_unicode=True))
    found = lm_eval.simple_evaluate(
        model=HFLM(pretrained=model, tokenizer=tokenizer, batch_size=4, device="cpu"),
        tasks=["referee"],
        task_manager=TaskManager(include_path=str(folder), include_defaults=False),
        bootstrap_iters=0,
        log_samples=True,
    )
    samples = sorted(found["samples"]["referee"], key=lambda sample: sample["doc_id"])
    values = [[float(value) for value, _ in sample["filtered_resps"]] for sample in samples]
    return {
        ours: found["results"]["referee"][f"{name},none"] for ours, name in NAMES.items()
    }, values


def our_scores(words):
    config = compose(words)
    backbone, tokenizer = load(config.model, None)
    objective = ChoiceObjective(ObjectiveContext(config, tokenizer, 256, read(config.task)))
    values = objective.log_likelihoods(backbone)
    assert objective.packed
    return backbone, tokenizer, objective._metrics(values), values


def same(ours, theirs):
    (metrics, values), (other_metrics, other_values) = ours, theirs
    assert len(values) == len(other_values)
    for one, other in zip(values, other_values, strict=True):
        assert one == pytest.approx(other, rel=1e-5)
    assert metrics == pytest.approx(other_metrics, abs=1e-9)


def with_start_token(folder):
    """Make the model's tokenizer one that begins each text with a token, as Llama's do."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=f"{tokenizer.bos_token} $A", special_tokens=[(tokenizer.bos_token, 0)]
    )
    tokenizer.save_pretrained(folder)


@pytest.mark.parametrize("start", [pytest.param(False, marks=pytest.mark.slow), True])
def test_the_harness_gives_the_same_scores(start, tmp_path):
    pytest.importorskip("lm_eval", reason="needs the extra eval")
    words = make_choice_task(tmp_path, 30)
    if start:
        with_start_token(tmp_path / "model")
    backbone, tokenizer, *ours = our_scores(words)
    assert (tokenizer.encode("B")[0] == tokenizer.bos_token_id) == start
    same(ours, judge(backbone, tokenizer, tmp_path / "test.jsonl", tmp_path / "harness"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        # White space at the end of a prompt; an empty prompt; prompts that hold the option.
        ({"prompt": "{{ question }} :\n\n "}, {"doc_to_text": "{{question}} :\n\n "}),
        ({"prompt": ""}, {"doc_to_text": "{{''}}"}),
        (
            {"prompt": "{{ question }} {{ choice }}", "completion": " is it"},
            {
                "doc_to_text": "{{right}}",
                "doc_to_choice": "{% set all = [] %}{% for each in options %}{% set _ = "
                "all.append(question ~ ' ' ~ each) %}{% endfor %}{{all}}",
                "doc_to_target": "is it",
            },
        ),
    ],
)
def test_prompts_of_other_forms(ours, theirs, tmp_path):
    pytest.importorskip("lm_eval", reason="needs the extra eval")
    words = make_choice_task(tmp_path, 20)
    file = tmp_path / "conf" / "task" / "own.yaml"
    tree = yaml.safe_load(file.read_text()) | ours
    file.write_text(yaml.safe_dump(tree))
    backbone, tokenizer, metrics, values = our_scores(words)
    judged, other = judge(
        backbone, tokenizer, tmp_path / "test.jsonl", tmp_path / "harness", OWN | theirs
    )
    if "completion" in ours:  # the harness counts the length of prompt and option
        metrics, judged = {"accuracy": metrics["accuracy"]}, {"accuracy": judged["accuracy"]}
    same((metrics, values), (judged, other))


@pytest.mark.slow
def test_exported_ranks_have_the_records_scores_in_the_harness(tmp_path):
    pytest.importorskip("lm_eval", reason="needs the extra eval")
    folders = [tmp_path / "results", tmp_path / "outputs"]
    words = [
        *make_choice_task(tmp_path, 40),
        *("method=dylora", "ranks.r_max=4", "ranks.score=[1,3]", "trainer.max_steps=20"),
        *("trainer.batch_size=8", "trainer.learning_rate=0.02", "method.alpha=16"),
        *(f"{name}_dir={folder}" for name, folder in zip(("results", "outputs"), folders,
                                                         strict=True)),
    ]  # fmt: skip
    record = run_if_needed(compose(words)).record
    base = AutoModelForCausalLM.from_pretrained(tmp_path / "model", dtype=torch.float32)
    plain, _ = judge(base, AutoTokenizer.from_pretrained(tmp_path / "model"),
                     tmp_path / "test.jsonl", tmp_path / "harness")  # fmt: skip
    for score in record.ranks:
        adapter = tmp_path / f"rank-{score.rank}"
        export(record.run_id, str(score.rank), adapter, *folders)
        model = AutoModelForCausalLM.from_pretrained(tmp_path / "model", dtype=torch.float32)
        model = PeftModel.from_pretrained(model, adapter).eval()
        tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model")
        found, _ = judge(model, tokenizer, tmp_path / "test.jsonl", tmp_path / "harness")
        assert score.metrics == pytest.approx(found, abs=1e-9)
        assert found != plain


@pytest.mark.slow
def test_arc_easy_as_the_harness_scores_it(tmp_path, shared_data):
    """The questions and options, taken out of the instructions by hand."""
    pytest.importorskip("lm_eval", reason="needs the extra eval")
    folder = tmp_path / "data" / "arc_easy"
    folder.mkdir(parents=True)
    rows = json.loads((shared_data / "llm" / "arc_easy" / "test.json").read_text())[:60]
    for split in ("train", "test"):
        (folder / f"{split}.json").write_text(json.dumps(rows))
    plain = []
    for row in rows:
        _, _, rest = row["instruction"].partition("the correct answer to the question: ")
        question, _, rest = rest.partition("\n\nAnswer1: ")
        options, _, _ = rest.partition("\n\nAnswer format: ")
        for number in range(2, 6):
            options = options.replace(f" Answer{number}: ", "\n")
        right = int(row["answer"].removeprefix("answer")) - 1
        plain.append({"question": question, "options": options.split("\n"), "right": right})
    (tmp_path / "plain.jsonl").write_text("".join(json.dumps(row) + "\n" for row in plain))
    words = ["model=tiny-gpt2", "task=arc-easy", f"task.data_dir={tmp_path / 'data'}",
             "task.metrics=[accuracy,accuracy_norm,accuracy_bytes]"]  # fmt: skip
    backbone, tokenizer, *ours = our_scores(words)
    same(ours, judge(backbone, tokenizer, tmp_path / "plain.jsonl", tmp_path / "harness"))
