import pytest

from dylora_exp.config.composition import compose
from dylora_exp.core.errors import RequestError
from dylora_exp.tasks.base import checksums, needs_hub, read


def rows(*pairs):
    return "mr,ref\n" + "".join(f"name[{name}],{text}\n" for name, text in pairs)


MANY = rows(*((i % 10, f"text {i}") for i in range(50)))


def test_contexts_are_scored_once_in_order_of_appearance(folder):
    test = rows(("B", "1"), ("A", "2"), ("B", "3"), ("B", "3"))
    made = folder("e2e").write(trainset__csv=MANY, testset_w_refs__csv=test)
    data = made.read()
    assert data.eval.remove_columns("where").to_list() == [
        {"context": "name : B", "references": ["1", "3", "3"], "category": "", "seen": True},
        {"context": "name : A", "references": ["2"], "category": "", "seen": True},
    ]
    assert data.eval["where"][:] == [f"{made.path}/testset_w_refs.csv:{line}" for line in (2, 3)]


def test_limits_count_texts_to_train_on_and_contexts_to_score(folder):
    made = folder("e2e").write(trainset__csv=MANY, testset_w_refs__csv=MANY)
    data = made.read("task.max_train_samples=12", "task.max_eval_samples=3")
    assert (len(data.train), len(data.eval)) == (12, 3)
    assert all(len(references) == 5 for references in data.eval["references"])
    told = [
        {name: source[name] for name in ("entries", "rows", "contexts", "used")}
        for source in data.sources
    ]
    assert told == [
        {"entries": 50, "rows": 50, "contexts": 10, "used": 12},
        {"entries": 50, "rows": 50, "contexts": 10, "used": 3},
    ]


@pytest.mark.parametrize("task", ["e2e", "dart", "webnlg"])
def test_without_a_folder_the_setting_is_named(task):
    config = compose([f"task={task}"]).task
    assert config.scored == "texts"
    assert not needs_hub(config)
    assert checksums(config) == {}
    with pytest.raises(RequestError) as error:
        read(config)
    assert error.value.problems == [
        f"task.data_dir: task '{task}' is read from its publisher's files, name their folder with "
        f"task.data_dir=DIR; dylora data fetch {task} --to DIR fetches them."
    ]


def test_an_empty_or_missing_folder_is_named(folder, tmp_path):
    assert folder("e2e").problems() == [
        f"task.data_dir: found no file of task 'e2e' in '{tmp_path}' or '{tmp_path / 'e2e'}', "
        f"such as trainset.csv or train.txt; dylora data fetch e2e --to {tmp_path} fetches them."
    ]
    missing = tmp_path / "missing"
    assert folder("e2e", missing).problems() == [f"task.data_dir: there is no folder '{missing}'."]


def test_the_folder_or_its_parent_may_be_named(folder, tmp_path):
    inner = folder("e2e", tmp_path / "e2e").write(trainset__csv=MANY, testset_w_refs__csv=MANY)
    assert inner.read().sources == folder("e2e").read().sources


def test_checksums_are_those_of_the_record(folder):
    made = folder("e2e").write(trainset__csv=MANY, testset_w_refs__csv=MANY)
    config = made.config()
    before = checksums(config)
    assert before == {source["file"]: source["sha256"] for source in made.read().sources}
    made.write(trainset__csv=MANY + "name[A],more\n")
    after = checksums(config)
    assert [before[name] == after[name] for name in before] == [False, True]


def test_broken_examples_are_counted_for_both_files(folder):
    bad = rows(*(("", "x") for _ in range(8)))
    problems = (
        folder("e2e").write(trainset__csv=bad, testset_w_refs__csv=rows(("A", ""))).problems()
    )
    assert len(problems) == 5 + 1 + 1
    assert problems[5] == "trainset.csv: 8 broken examples in all."
    assert problems[6] == "testset_w_refs.csv:2: found an empty text."


def test_broken_examples_can_be_skipped_with_a_warning(folder):
    made = folder("e2e").write(trainset__csv=rows(("A", ""), ("B", "b")), testset_w_refs__csv=MANY)
    data = made.read("task.broken_lines=skip")
    assert data.train["text"][:] == ["b"]
    assert data.warnings == [f"{made.path}/trainset.csv:2: found an empty text."]
    made.write(trainset__csv=rows(("A", "")))
    assert made.problems("task.broken_lines=skip") == ["trainset.csv: there are no texts in it."]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (
            ["task=mrpc", "task.eval_split=dev"],
            "'mrpc' has no such setting, its answers are labels",
        ),
        (["task=e2e", "task.labels=[a,b]"], "'e2e' has no such setting, its answers are texts."),
        (["task=e2e", "task.decode=null"], "task.decode: found nothing, a task whose answers are"),
        (["task=e2e", "task.eval_split=null"], "task.eval_split: found nothing"),
        (["task=e2e", "task.eval_split=train"], "'train' is not one of dev, test"),
        (["task=e2e", "task.decode.beams=0"], "task.decode.beams: found 0, expected a number at"),
        (["task=e2e", "task.metrics=[bleu,f1]"], "'f1' scores labels, which this task has not."),
        (["task=mrpc", "task.metrics=[f1,ter]"], "'ter' scores texts, which this task has not."),
    ],
)
def test_settings_of_the_other_kind_of_task_are_refused(words, expected):
    with pytest.raises(RequestError) as error:
        compose(words)
    (problem,) = error.value.problems
    assert expected in problem


def test_the_papers_decoding_can_be_changed():
    decode = compose(["task=e2e", "task.decode.beams=4"]).task.decode
    assert (decode.beams, decode.max_new_tokens, decode.no_repeat_ngram) == (4, 64, 4)
    penalties = {
        name: compose([f"task={name}"]).task.decode.length_penalty
        for name in ("e2e", "dart", "webnlg")
    }
    assert penalties == {"e2e": 0.9, "dart": 0.8, "webnlg": 0.8}
