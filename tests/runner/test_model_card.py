"""The card of an export, read back as the hub reads it."""

import pytest
from huggingface_hub import ModelCard
from huggingface_hub.utils import validate_repo_id

from dylora_exp.config import compose, run_id
from dylora_exp.core import RequestError
from dylora_exp.records import RankScore, rank_verdict
from dylora_exp.runner.card_metadata import Exported
from dylora_exp.runner.model_card import model_card
from tests.support.records import make_record


def card(overrides, scores=None, merged=False, has_tokenizer=True, **fields):
    """The card of rank 2 of a run, and its front matter as the hub's own class reads it."""
    config = compose(overrides.split())
    scores = scores or dict.fromkeys(config.task.metrics, 0.5)
    ranks = [
        RankScore(rank, "svd", "alpha/r", {name: rank * v / 2 for name, v in scores.items()}, 0.1)
        if None not in scores.values()
        else RankScore(rank, "svd", "alpha/r", scores, 0.1)
        for rank in (1, 2, 3)
    ]
    record = make_record(config, ranks=ranks, **fields)
    text = model_card(Exported(record, ranks[1], config, merged, 2, has_tokenizer))
    return text, ModelCard(text).data, record


def test_a_run_on_hub_data_with_a_hub_model():
    text, data, record = card("profile=paper method=lora task=mrpc")
    assert (data.base_model, data.library_name) == ("roberta-base", "peft")
    assert data.tags == ["lora", "dylora", "base_model:adapter:roberta-base"]
    assert (data.datasets, data.language) == (["nyu-mll/glue"], "en")
    assert data.pipeline_tag == "text-classification"
    validate_repo_id(data.base_model)
    validate_repo_id(data.datasets[0])
    found = {each.metric_type: each for each in data.eval_results}
    assert set(found) == {"accuracy", "f1"}
    f1 = found["f1"]
    assert (f1.metric_value, f1.dataset_type, f1.dataset_config) == (0.5, "nyu-mll/glue", "mrpc")
    assert (f1.dataset_split, f1.task_type, f1.metric_name) == (
        *("validation", "text-classification", "F1"),
    )
    assert f"Of all its ranks: {rank_verdict([record]).sentence}." in text
    assert "## Scores on the development set" in text


def test_a_merged_model_is_one_of_transformers():
    text, data, _ = card("profile=paper method=dylora task=mnli", merged=True)
    assert data.library_name == "transformers"
    assert data.tags == ["lora", "dylora", "base_model:finetune:roberta-base"]
    assert "`AutoModelForSequenceClassification.from_pretrained(FOLDER)`" in text


def test_a_generation_task():
    text, data, _ = card(
        "profile=paper-nlg task=e2e method=matryoshka", {"bleu": 0.6, "nist": 8.0, "rouge_l": 0.7}
    )
    assert data.pipeline_tag == "text-generation" and data.datasets is None
    assert {each.metric_type for each in data.eval_results} == {"bleu", "nist_mt", "rouge"}
    assert {each.dataset_split for each in data.eval_results} == {"test"}
    assert "matryoshka" in data.tags and "## Scores on the test set" in text
    assert "AutoPeftModelForCausalLM.from_pretrained(FOLDER)" in text


@pytest.mark.parametrize("location", ["", " model.name_or_path={folder}"])
def test_a_local_base_is_no_base_of_the_hub(location, tmp_path):
    (tmp_path / "config.json").write_text("{}")
    text, data, record = card("task=demo" + location.format(folder=tmp_path), has_tokenizer=False)
    assert data.base_model is None and data.datasets is None and data.language == "en"
    assert data.tags == ["lora", "dylora"]
    assert f"`{record.config['model']['name_or_path']}`), which has no name on the hub." in text
    assert "it was not here to be copied" in text
    assert str(tmp_path) not in text


def test_random_weights_are_not_those_of_the_hub():
    text, data, _ = card("model=roberta-base model.pretrained=false task=rte")
    assert data.base_model is None and "random weights (seed 10)" in text


def test_a_number_and_an_undefined_score():
    _, data, _ = card("profile=paper task=stsb", {"pearson": 0.8, "spearmanr": 0.9})
    assert {each.metric_type for each in data.eval_results} == {"pearsonr", "spearmanr"}
    text, data, _ = card("profile=paper task=stsb", {"pearson": None, "spearmanr": None})
    assert data.eval_results is None and "model-index" not in text.partition("\n---\n")[0]
    assert "no rank to deploy: Pearson is undefined at every rank (SVD)" in text


def test_a_part_of_the_data_and_another_language_are_said():
    _, data, _ = card(
        "profile=paper task=sst2 task.max_eval_samples=50 task.language=de", language="de"
    )
    assert data.language == "de"
    assert data.eval_results[0].dataset_args == {"max_eval_samples": 50}


def test_the_language_is_no_part_of_a_run_but_checked():
    assert run_id(compose(["task=mrpc", "task.language=fr"])) == run_id(compose(["task=mrpc"]))
    with pytest.raises(RequestError, match=r"task.language: found 'English', expected a code such"):
        compose(["task.language=English"])
