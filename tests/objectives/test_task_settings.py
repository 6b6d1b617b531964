"""What the settings of a task say about the model that it needs."""

import peft
import pytest
import transformers

from dylora_exp.config.composition import compose
from dylora_exp.config.registry import objective_class
from dylora_exp.config.run_identity import run_id
from dylora_exp.core.errors import RequestError


@pytest.mark.parametrize(
    ("task", "scored", "outputs", "auto_class", "task_type"),
    [
        ("mnli", "labels", 3, transformers.AutoModelForSequenceClassification, "SEQ_CLS"),
        ("stsb", "numbers", 1, transformers.AutoModelForSequenceClassification, "SEQ_CLS"),
        ("e2e", "texts", None, transformers.AutoModelForCausalLM, "CAUSAL_LM"),
    ],
)
def test_an_objective_names_its_model_and_what_is_scored(
    task, scored, outputs, auto_class, task_type
):
    config = compose([f"task={task}"])
    settings = config.task
    assert (settings.scored, settings.number_of_outputs) == (scored, outputs)
    assert getattr(transformers, settings.auto_model_class) is auto_class
    assert peft.TaskType(settings.peft_task_type).value == task_type
    assert settings.trains_head == (outputs is not None)
    assert objective_class(settings).settings_class is type(settings)


def test_the_objective_can_be_chosen_and_brings_its_settings():
    with pytest.raises(RequestError) as error:
        compose(["task=mrpc", "task.objective=generation"])
    found = error.value.problems
    assert "task.decode: found nothing, a task whose answers are texts needs it." in found


@pytest.mark.parametrize("value", ["all", "6", "3"])
def test_the_number_of_references_is_a_setting_of_texts(value):
    words = ["profile=paper-nlg", "task=dart"]
    config = compose([*words, f"task.max_references={value}"])
    assert str(config.task.max_references) == value
    assert compose(words).task.max_references is None
    assert run_id(config) != run_id(compose(words))
    with pytest.raises(RequestError, match="has no such setting, only generation has"):
        compose(["task=mrpc", f"task.max_references={value}"])


@pytest.mark.parametrize("value", ["0", "some", "1.5"])
def test_a_wrong_number_of_references_is_refused(value):
    with pytest.raises(RequestError, match=r"^task\.max_references: "):
        compose(["profile=paper-nlg", "task=dart", f"task.max_references={value}"])
