"""Rows in every format, and a sentence for each that is broken."""

import json

import pandas
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value

from dylora_exp.config.composition import compose
from dylora_exp.config.run_identity import run_id
from dylora_exp.core.errors import RequestError
from dylora_exp.tasks.base import checksums, read
from dylora_exp.tasks.row_files import rows_of

# What every format but TSV can hold in a cell.
ROWS = [
    {"text": 'He said "no",\nthen left', "queue": "billing"},
    {"text": "größer\tals 😀\u2028é", "queue": "technical"},
    {"text": " spaces ", "queue": "billing"},
]
PLAIN = [{**row, "text": row["text"].replace("\n", " ").replace("\t", " ")} for row in ROWS]
YAML = """\
name: tickets
objective: classification
reader: rows
labels: [billing, technical]
metrics: [accuracy]
headline: accuracy
text: [text]
label: queue
"""


def write(path, rows):
    frame = pandas.DataFrame(rows)
    match path.suffix:
        case ".csv":
            frame.to_csv(path, index=False, encoding="utf-8-sig", lineterminator="\r\n")
        case ".tsv":
            lines = ["\t".join(frame.columns), *("\t".join(row) for row in frame.values)]
            path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        case ".json":
            path.write_text(json.dumps(rows, indent=1), encoding="utf-8")
        case ".jsonl":
            path.write_text("\n".join(json.dumps(r, ensure_ascii=False) for r in rows) + "\n\n",
                            encoding="utf-8")  # fmt: skip
        case ".parquet":
            frame.to_parquet(path)
        case _:
            Dataset.from_list(rows).save_to_disk(path)
    return path


@pytest.fixture
def conf(tmp_path):
    (tmp_path / "conf" / "task").mkdir(parents=True)
    (tmp_path / "conf" / "task" / "tickets.yaml").write_text(YAML)
    return [f"hydra.searchpath=[{tmp_path / 'conf'}]", "task=tickets"]


def files(train, evaluation):
    return f"task.data_files={{train: '{train}', eval: '{evaluation}'}}"


def problems(words):
    with pytest.raises(RequestError) as error:
        read(compose(words).task)
    return error.value.problems


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".json", ".jsonl", ".parquet", ""])
def test_every_format_gives_the_same_rows(ending, tmp_path, conf):
    rows = PLAIN if ending == ".tsv" else ROWS
    paths = [write(tmp_path / f"{name}{ending}", rows) for name in ("some", "more")]
    data = read(compose([*conf, files(*paths)]).task)
    for split in (data.train, data.eval):
        assert [text for (text,) in split["text"]] == [row["text"] for row in rows]
        assert split["label"][:] == [0, 1, 0]
    assert [source["rows"] for source in data.sources] == [3, 3]
    assert all(len(source["sha256"]) == 64 for source in data.sources)


def test_tsv_has_no_quotes_and_csv_has(tmp_path):
    tsv, csv = tmp_path / "a.tsv", tmp_path / "a.csv"
    tsv.write_text('text\tlabel\n"a ""b""\t1\n')
    csv.write_text('text,label\n"a ""b""\nc",1\n"d",2\n')
    assert list(rows_of(tsv)) == [(":2", {"text": '"a ""b""', "label": "1"})]
    assert list(rows_of(csv)) == [
        (":2", {"text": 'a "b"\nc', "label": "1"}),
        (":4", {"text": "d", "label": "2"}),
    ]


def test_the_folder_of_the_task_or_its_parent(tmp_path, conf):
    folder = tmp_path / "data" / "my-Tickets"
    folder.mkdir(parents=True)
    for name in ("train.csv", "test.jsonl"):
        write(folder / name, ROWS)
    named = [*conf, "task.files={folder: my_tickets}"]
    found = [read(compose([*named, f"task.data_dir={each}"]).task) for each in
             (folder, folder.parent)]  # fmt: skip
    assert found[0].sources == found[1].sources
    task = compose([*conf, f"task.data_dir={folder}"]).task
    assert checksums(task) == {s["file"]: s["sha256"] for s in found[0].sources}
    write(folder / "train.json", ROWS)
    (sentence,) = problems([*conf, f"task.data_dir={folder}"])
    assert sentence == (
        f"task.data_dir: found train.csv and train.json in '{folder}', name one of them with its "
        "ending in task.files."
    )
    chosen = ["task.files={folder: my_tickets, train: [train.json]}", f"task.data_dir={folder}"]
    assert read(compose([*conf, *chosen]).task).sources[0]["file"] == "train.json"
    (folder / "test.jsonl").unlink()
    (sentence,) = problems([*conf, f"task.data_dir={folder}", "task.files={train: [train.csv]}"])
    assert sentence.startswith(f"task.data_dir: '{folder}' has no 'test' (.csv, .tsv, ")


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("a.csv", "text,queue\nx,billing\ny\n", "a.csv:3: found more or fewer cells than columns."),
        ("a.tsv", "text\tqueue\nx\tbilling\ty\n", "a.tsv:2: found 3 columns, expected 2."),
        ("a.csv", 'text,queue\n"x,billing\n', "a.csv:2: the CSV is broken"),
        ("a.csv", "text,text\nx,billing\n", "a.csv:1: the column 'text' is there twice."),
        ("a.csv", "text,qeue\nx,billing\n", "a.csv:2: there is no column 'queue' among text, qeue; "
         "did you mean 'qeue'?"),
        ("a.csv", "", "a.csv: there are no examples in it."),
        ("a.csv", "text,queue\n", "a.csv: there are no examples in it."),
        ("a.csv", "text,queue\nx,biling\n", "a.csv:2: found label 'biling', expected one of "
         "billing, technical."),
        ("a.jsonl", '{"text": "x", "queue": "billing"}\n{"text": \n', "a.jsonl:2: the JSON is "),
        ("a.jsonl", '["x"]\n', "a.jsonl:1: found no object, expected one with a key for each "),
        ("a.jsonl", '{"text": 3, "queue": "billing"}', "a.jsonl:1: column 'text': found 3, expect"),
        ("a.jsonl", '{"text": "\\ud800", "queue": "billing"}', "a.jsonl:1: found half a character"),
        ("a.jsonl", '{"text": "x", "text": "y"}', "a.jsonl:1: the key 'text' is there twice."),
        ("a.json", '"text"', "a.json: found no list, expected one of objects, or an object on "),
        ("a.json", "[1]", "a.json: entry 1: found no object"),
        ("a.json", "[{", "a.json:1: the JSON is broken"),
        ("a.parquet", "PAR1", "a.parquet: no readable Parquet file"),
        ("a.xlsx", "x", "a.xlsx: found 'a.xlsx', expected a name that ends with .csv, .tsv, "),
        ("a", "x", "a: found 'a', expected a name that ends with .csv, .tsv, "),
    ],
)  # fmt: skip
def test_what_is_broken_is_named(name, text, expected, tmp_path, conf):
    (tmp_path / name).write_text(text)
    good = write(tmp_path / "good.json", ROWS)
    (sentence,) = problems([*conf, files(good, tmp_path / name)])
    assert sentence.startswith(f"{tmp_path}/{expected}")
    assert sentence[-1] in ".?"


def test_other_encodings_and_missing_files_are_named(tmp_path, conf):
    good = write(tmp_path / "good.json", ROWS)
    (tmp_path / "a.csv").write_bytes("text,queue\nx,billing\ngrößer,billing\n".encode("latin-1"))
    assert problems([*conf, files(good, tmp_path / "a.csv")]) == [
        f"{tmp_path / 'a.csv'}:3: this line is not valid UTF-8."
    ]
    assert problems([*conf, files(tmp_path / "no.csv", tmp_path / "none")]) == [
        f"{tmp_path / 'no.csv'}: there is no such file.",
        f"{tmp_path / 'none'}: found 'none', expected a name that ends with .csv, .tsv, .json, "
        ".jsonl, .parquet, or a folder of save_to_disk.",
    ]
    DatasetDict({"a": Dataset.from_list(ROWS)}).save_to_disk(tmp_path / "all")
    (sentence,) = problems([*conf, files(good, tmp_path / "all")])
    assert sentence == f"{tmp_path}/all: found the data sets a, expected one: {tmp_path}/all/a."
    assert "read from files, name their folder" in problems(conf)[0]


def test_broken_rows_can_be_skipped(tmp_path, conf):
    path = tmp_path / "a.csv"
    path.write_text("text,queue\nx,billing\ny,other\nz,technical\n")
    data = read(compose([*conf, files(path, path), "task.broken_lines=skip"]).task)
    assert [text for (text,) in data.train["text"]] == ["x", "z"]
    assert len(data.warnings) == 2 and f"{path}:3: found label 'other'" in data.warnings[0]


def test_labels_by_id_and_numbers(tmp_path, conf):
    features = Features({"text": Value("string"), "queue": ClassLabel(names=["a", "b"])})
    rows = [{"text": "x", "queue": 1}, {"text": "y", "queue": 0}]
    Dataset.from_list(rows, features=features).save_to_disk(tmp_path / "d")
    data = read(compose([*conf, files(tmp_path / "d", tmp_path / "d")]).task)
    assert data.train["label"][:] == [1, 0]
    path = write(tmp_path / "n.jsonl", [{"text": "x", "queue": 2.5}, {"text": "y", "queue": "3"}])
    words = ["task.labels=[]", "task.metrics=[pearson]", "task.headline=pearson"]
    data = read(compose([*conf, files(path, path), *words]).task)
    assert data.train["label"][:] == [2.5, 3.0]


def test_the_contents_of_ones_own_files_are_of_the_runs_identity(tmp_path, conf):
    one = write(tmp_path / "one.csv", ROWS)
    (tmp_path / "sub").mkdir()
    same = write(tmp_path / "sub" / "other.csv", ROWS)
    changed = write(tmp_path / "changed.csv", ROWS[:2])
    ids = [run_id(compose([*conf, files(one, each)])) for each in (one, same, changed)]
    assert ids[0] == ids[1] != ids[2]
    assert ids[0] != run_id(compose(conf))


def test_settings_that_do_not_go_together(tmp_path, conf):
    with pytest.raises(RequestError, match=r"task.data_files: the reader glue has its own files"):
        compose(["task=mrpc", files("a", "b")])
    with pytest.raises(RequestError, match=r"task.data_dir: it would change nothing, task.data_f"):
        compose([*conf, files("a.csv", "b.csv"), f"task.data_dir={tmp_path}"])
    with pytest.raises(RequestError, match=r"task.text: found 0 columns"):
        compose([*conf, "task.text=[]"])
    with pytest.raises(RequestError, match=r"task.data_files.eval: found nothing"):
        compose([*conf, "task.data_files={train: a.csv}"])
