"""The shipped multiple-choice tasks: rows of LLM-Adapters' files and of the hub to examples."""

import json

import pytest

from dylora_exp.config.composition import compose
from dylora_exp.tasks.base import read

GIVEN = "Please choose the correct"
# Of each task: a row of its file, and the prompts, completions and the index that it stands for.
LOCAL = {
    "arc-challenge": (
        f"{GIVEN} answer to the question: What do cells: plants?\n\nAnswer1: ATP Answer2: O2, "
        "water Answer3: fat\n\nAnswer format: answer1/answer2/answer3",
        "answer2",
        ["Question: What do cells: plants?\nAnswer:"],
        [" ATP", " O2, water", " fat"],
        1,
    ),
    "openbookqa": (
        f"{GIVEN} answer to the question: The sun is responsible for\n\nAnswer1: puppies "
        "Answer2: plants\n\nAnswer format: answer1/answer2",
        "answer1",
        ["The sun is responsible for"],
        [" puppies", " plants"],
        0,
    ),
    "boolq": (
        "Please answer the following question with true or false, question: is butter margarine?"
        "\n\nAnswer format: true/false",
        "true",
        ["Question: is butter margarine?\nAnswer:"],
        [" no", " yes"],
        1,
    ),
    "piqa": (
        f"{GIVEN} solution to the question: Make a pillow.\n\nSolution1: Blow into a can.\n\n"
        "Solution2: Blow into a bag\nand tie it.\n\nAnswer format: solution1/solution2",
        "solution2",
        ["Question: Make a pillow.\nAnswer:"],
        [" Blow into a can.", " Blow into a bag\nand tie it."],
        1,
    ),
    "siqa": (
        f"{GIVEN} answer to the question: Carson moved. How is Carson?\n\nAnswer1: mobile Answer2: "
        "anxious Answer3: lonely\n\nAnswer format: answer1/answer2/answer3",
        "answer3",
        ["Q: Carson moved. How is Carson?\nA:"],
        [" mobile", " anxious", " lonely"],
        2,
    ),
    "hellaswag": (
        f"{GIVEN} ending to complete the given sentence: Travel: [header] How to go [title] Look. "
        "A man\n\nEnding1: [step] runs. [title] He stops. Ending2: sits  down.\n\nAnswer format: "
        "ending1/ending2",
        "ending1",
        ["Travel: How to go. Look. A man"],
        ["  runs.. He stops.", " sits down."],
        0,
    ),
    "winogrande": (
        f"{GIVEN} answer to fill in the blank to complete the given sentence: Ian ate Bo's stew "
        "as _ hated it.\n\nOption1: Ian Option2: Bo Answer format: option1/option2",
        "option2",
        ["Ian ate Bo's stew as Ian", "Ian ate Bo's stew as Bo"],
        [" hated it.", " hated it."],
        1,
    ),
}
LOCAL["arc-easy"] = LOCAL["arc-challenge"]
# Of each task: a row of the hub's dataset, and what it stands for, as in lm-evaluation-harness.
ARC = {"question": "What?", "answerKey": "C"}
LETTERS = {"label": ["A", "B", "C"], "text": ["x", "y", "z"]}
HUB = {
    "arc-easy": (ARC | {"choices": LETTERS}, ["Question: What?\nAnswer:"], [" x", " y", " z"], 2),
    "openbookqa": (
        {"question_stem": "It is", "answerKey": " B", "choices": LETTERS},
        ["It is"],
        [" x", " y", " z"],
        1,
    ),
    "boolq": (
        {"passage": "P.", "question": "is it", "label": 0},
        ["P.\nQuestion: is it?\nAnswer:"],
        [" no", " yes"],
        0,
    ),
    "piqa": (
        {"goal": "G", "sol1": "a", "sol2": "b", "label": 1},
        ["Question: G\nAnswer:"],
        [" a", " b"],
        1,
    ),
    "siqa": (
        {"context": "C.", "question": "Q?", "answerA": "a", "answerB": "b", "answerC": "c",
         "label": "3"},
        ["Q: C. Q?\nA:"],
        [" a", " b", " c"],
        2,
    ),
    "hellaswag": (
        {"activity_label": "Travel", "ctx_a": "[header] Go [title] On.", "ctx_b": "a Man",
         "endings": [" [step] runs. [title] ok", "sits  down"], "label": "1"},
        ["Travel: Go. On. A man"],
        ["  runs.. ok", " sits down"],
        1,
    ),
    "winogrande": (
        {"sentence": "Ian saw Bo as _ ran.", "option1": "Ian", "option2": "Bo", "answer": "1"},
        ["Ian saw Bo as Ian", "Ian saw Bo as Bo"],
        [" ran.", " ran."],
        0,
    ),
}  # fmt: skip


def found(row):
    return row["prompts"], row["completions"], row["label"]


@pytest.mark.parametrize("name", LOCAL)
def test_a_row_of_llm_adapters(name, tmp_path):
    instruction, answer, *expected = LOCAL[name]
    row = {"instruction": instruction, "input": "", "output": f"the correct answer is {answer}"}
    task = compose([f"task={name}", f"task.data_dir={tmp_path}"]).task
    folder = tmp_path / task.files.folder
    folder.mkdir()
    for split in ("train", "test"):
        (folder / f"{split}.json").write_text(json.dumps([row | {"answer": answer}]))
    data = read(task)
    assert list(found(data.eval[0])) == expected
    prompts, completions, label = expected
    assert data.train[0]["prompt"] == prompts[label if len(prompts) > 1 else 0]
    assert data.train[0]["completion"] == completions[label]
    assert data.eval[0]["where"] == f"{folder / 'test.json'}: entry 1"


@pytest.mark.parametrize("name", HUB)
def test_a_row_of_the_hub(name):
    row, *expected = HUB[name]
    task = compose([f"task={name}", "model=tiny-gpt2"]).task
    assert not task.reads_files
    assert list(found(task.on_hub.example(row))) == expected


def test_the_eight_tasks_together(tmp_path):
    task = compose(["task=commonsense", f"task.data_dir={tmp_path}"]).task
    rows = []
    for number, name in enumerate(task.files.eval):
        key = "piqa" if number % 2 else "boolq"
        instruction, answer, *_ = LOCAL[key]
        rows.append({"instruction": instruction, "input": "", "output": "", "answer": answer})
        file = tmp_path / f"{name}.json"
        file.parent.mkdir()
        file.write_text(json.dumps(rows[-1:]))
    (tmp_path / "commonsense_170k.json").write_text(json.dumps(rows))
    data = read(task)
    assert len(data.train) == len(data.eval) == 8
    parts = ["boolq", "piqa", "social_i_qa", "hellaswag", "winogrande", "arc_easy",
             "arc_challenge", "openbookqa"]  # fmt: skip
    assert data.eval["part"][:] == parts
    row = data.train[1]
    assert row["completion"] == "the correct answer is solution2"
    assert row["completions"] == [f"the correct answer is solution{n}" for n in (1, 2)]
    assert row["prompt"] == (
        "Below is an instruction that describes a task. Write a response that appropriately "
        f"completes the request. \n\n                ### Instruction:\n                "
        f"{LOCAL['piqa'][0]}\n\n                ### Response:\n                "
    )
