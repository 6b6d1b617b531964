"""What a task of solutions decodes and how it is scored."""

from types import SimpleNamespace

import pytest
from datasets import Dataset

from dylora_exp.config.composition import compose
from dylora_exp.config.run_identity import run_id
from dylora_exp.core.errors import RequestError
from dylora_exp.objectives.answer import AnswerObjective
from dylora_exp.objectives.base import ObjectiveContext
from dylora_exp.objectives.torch_parts.decoding import Decoded
from dylora_exp.tasks.base import TaskData
from tests.support.small_gpt2 import small_tokenizer

SOLUTIONS = ["1 + 1 = 2.\n\n#### 2", "It is 1,000.\n#### 1,000", "Three.\n#### -3"]


def make_objective(*words, solutions=SOLUTIONS, window=1024, rows=None):
    config = compose(["model=tiny-gpt2", "task=gsm8k", *words])
    rows = rows or [{"question": f"Is it {n}?", "answer": s} for n, s in enumerate(solutions)]
    found = [{**config.task.example(row), "where": f"file:{n}"} for n, row in enumerate(rows, 1)]
    data = TaskData(Dataset.from_list(found), Dataset.from_list(found), [], [])
    return AnswerObjective(ObjectiveContext(config, small_tokenizer(), window, data))


def score(objective, texts, monkeypatch):
    monkeypatch.setattr(objective.decoder, "decode", lambda *_: Decoded(texts, 1.5))
    found = objective.score(*[SimpleNamespace()] * 4)
    assert found.seconds == 1.5
    return found.metrics


def test_texts_are_scored_by_their_answers(monkeypatch):
    texts = ["So 2.\n\nThe answer is: $2.00", "#### 1000", "I do not know."]
    found = score(make_objective(), texts, monkeypatch)
    assert found == {
        "exact_match": pytest.approx(2 / 3),
        "peft_match": pytest.approx(1 / 3),
        "no_answer": pytest.approx(1 / 3),
    }


def test_the_answer_is_found_as_the_task_says(monkeypatch):
    texts = ["A=2", "A=7 then A=1000", "#### -3"]
    rows = [
        {"question": "?", "answer": s, "result": r}
        for s, r in zip(SOLUTIONS, ["2", "1,000", "A=-3"], strict=True)
    ]
    words = ["task.extract='A=(-?[0-9,]+)'", "task.reference='{{ result }}'"]
    objective = make_objective(*words, rows=rows)
    assert objective.scoring()["extract"] == "A=(-?[0-9,]+)"
    assert score(objective, texts, monkeypatch)["exact_match"] == pytest.approx(2 / 3)
    last = make_objective("task.extract=last_number", "task.metrics=[exact_match,no_answer]")
    found = score(last, ["1 or 2", "no 1000 .", "minus 3"], monkeypatch)
    assert found == {"exact_match": 1, "no_answer": 0}
    with pytest.raises(RequestError, match=r"task\.extract.*'markd'.*did you mean 'marked'"):
        make_objective("task.extract=markd")


def test_a_solution_without_an_answer_is_named():
    with pytest.raises(RequestError, match=r"^file:2: found no answer in the solution by task\.ex"):
        make_objective(solutions=[*SOLUTIONS[:1], "It is\nmany."])
    rows = [{"question": "?", "answer": "It is\nmany.", "result": "many"}]
    words = ["task.reference='{{ result }}'"]
    assert make_objective(*words, rows=rows).references[0].expected == "many"


def test_solutions_are_trained_whole_after_their_prompts():
    objective = make_objective()
    tokenizer = objective.tokenizer
    row = objective.train_set[0]
    text = "Question: Is it 0?\nAnswer: 1 + 1 = 2.\n\n#### 2"
    assert tokenizer.decode(row["input_ids"]) == text + tokenizer.eos_token
    learned = [token for token in row["labels"] if token != -100]
    assert tokenizer.decode(learned) == " 1 + 1 = 2.\n\n#### 2" + tokenizer.eos_token
    assert tokenizer.decode(objective.prompts[0]) == "Question: Is it 0?\nAnswer:"
    assert row["input_ids"][: len(objective.prompts[0])] == objective.prompts[0]


def test_texts_are_decoded_greedily_up_to_the_end_token():
    objective = make_objective("task.decode.max_new_tokens=200")
    assert objective.scoring()["decoding"] == {
        "beams": 1,
        "max_new_tokens": 200,
        "no_repeat_ngram": 0,
        "length_penalty": 1.0,
        "stop": "end",
        "stop_tokens": [objective.tokenizer.eos_token_id],
    }
    with pytest.raises(RequestError, match=r"file:1: the context has .* less the text's 300"):
        make_objective(window=305)


def test_a_run_is_the_same_whether_its_defaults_are_stated():
    stated = ["task.decode.stop=end", "task.decode.beams=1", "task.extract=marked"]
    assert run_id(compose(["task=gsm8k"])) == run_id(compose(["task=gsm8k", *stated]))
    other = ["task.decode.stop=blank_line"]
    assert run_id(compose(["task=gsm8k"])) != run_id(compose(["task=gsm8k", *other]))
