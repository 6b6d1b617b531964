import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dylora_exp.config.choices import options
from dylora_exp.config.composition import compose
from dylora_exp.core.errors import RequestError
from dylora_exp.tasks.base import read, subset

BOM = b"\xef\xbb\xbf"
MRPC = b"Quality\t#1 ID\t#2 ID\t#1 String\t#2 String\n"

# Two lines of each official layout: the training file, the development file.
LAYOUTS = {
    "cola": (b"gj04\t1\t\tIt works.\ngj04\t0\t*\tIt work.\n",) * 2,
    "mrpc": (MRPC + b'1\t1\t2\ta "b\tc\n', BOM + MRPC + b"0\t1\t2\td\te\n"),
    "rte": (b"index\tsentence1\tsentence2\tlabel\n0\ta\tb\tnot_entailment\n1\tc\td\tentailment\n",)
    * 2,
    "qnli": (b"index\tquestion\tsentence\tlabel\n0\ta?\tb\tentailment\n",) * 2,
    "qqp": (b"id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n0\t1\t2\ta?\tb?\t1\n",) * 2,
    "sst2": (b"sentence\tlabel\nfine \t1\nbad \t0\n",) * 2,
    "stsb": (
        b"index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2\tscore\n"
        b"0\tg\tf\t2012\t1\tn\tn\ta\tb\t3.800\n",
    )
    * 2,
    "mnli": (
        b"index\tpromptID\tpairID\tgenre\tsentence1_binary_parse\tsentence2_binary_parse\t"
        b"sentence1_parse\tsentence2_parse\tsentence1\tsentence2\tlabel1\tgold_label\n"
        b"0\t1\t1n\tg\t(\t(\t(\t(\ta\tb\tneutral\tneutral\n",
        b"index\tpromptID\tpairID\tgenre\tsentence1_binary_parse\tsentence2_binary_parse\t"
        b"sentence1_parse\tsentence2_parse\tsentence1\tsentence2\tlabel1\tlabel2\tlabel3\tlabel4\t"
        b"label5\tgold_label\n"
        b"0\t1\t1n\tg\t(\t(\t(\t(\tc\td\tneutral\tx\tx\tx\tx\tcontradiction\n",
    ),
}
EXPECTED = {
    "cola": ([["It works."], ["It work."]], [1, 0]),
    "mrpc": ([["d", "e"]], [0]),
    "rte": ([["a", "b"], ["c", "d"]], [1, 0]),
    "qnli": ([["a?", "b"]], [0]),
    "qqp": ([["a?", "b?"]], [1]),
    "sst2": ([["fine "], ["bad "]], [1, 0]),
    "stsb": ([["a", "b"]], [3.8]),
    "mnli": ([["c", "d"]], [2]),
}


def task(name, folder, *words):
    return compose([f"task={name}", f"task.data_dir={folder}", *words]).task


def layout(name, folder, train=None, dev=None):
    tsv = task(name, folder).tsv
    folder.mkdir(parents=True, exist_ok=True)
    (folder / tsv.train).write_bytes(LAYOUTS[name][0] if train is None else train)
    (folder / tsv.eval).write_bytes(LAYOUTS[name][1] if dev is None else dev)
    return task(name, folder)


def problems(config):
    with pytest.raises(RequestError) as error:
        read(config)
    return error.value.problems


def test_every_glue_task_has_a_layout_here():
    assert set(LAYOUTS) == {
        name for name in options("task") if compose([f"task={name}"]).task.reader == "glue"
    }


@pytest.mark.parametrize("name", sorted(LAYOUTS))
@pytest.mark.parametrize("ending", [b"\n", b"\r\n"])
def test_official_layouts(name, ending, tmp_path):
    train, dev = (content.replace(b"\n", ending) for content in LAYOUTS[name])
    data = read(layout(name, tmp_path, train, dev))
    assert (list(data.eval["text"]), list(data.eval["label"])) == EXPECTED[name]
    assert [source["rows"] for source in data.sources] == [len(data.train), len(data.eval)]


def test_data_dir_may_be_the_parent_of_the_folder(tmp_path):
    layout("sst2", tmp_path / "SST-2")
    assert len(read(task("sst2", tmp_path)).train) == 2


def test_columns_are_found_by_name_and_quotes_are_text(tmp_path):
    train = b'#2 String\tQuality\t#1 String\nsays "no\t1\t"yes"\n'
    data = read(layout("mrpc", tmp_path, train))
    assert data.train[0] == {"text": ['"yes"', 'says "no'], "label": 1}


def test_only_newlines_end_a_line(tmp_path):
    text = "a\x85b\u2028c\x0bd"
    train = f"sentence\tlabel\n{text}\t1\n".encode()
    assert read(layout("sst2", tmp_path, train)).train[0]["text"] == [text]


@pytest.mark.parametrize(
    ("name", "train", "expected"),
    [
        ("sst2", b"sentence\tlabel\na\t1\nshort\n", "train.tsv:3: found 1 columns, expected 2."),
        ("cola", b"gj04\t1\t*\n", "train.tsv:1: found 3 columns, expected 4."),
        ("sst2", b"sentence\tlabel\na\tmaybe\n", "found label 'maybe', expected one of 0, 1."),
        ("rte", b"index\tsentence1\tsentence2\tlabel\n0\ta\tb\t1\n", "one of entailment, not_ent"),
        ("sst2", b"sentense\tlabel\na\t1\n", "no column 'sentence' among sentense, label; did you"),
        ("sst2", b"sentence\tlabel\n\xff\t1\n", "train.tsv:2: this line is not valid UTF-8."),
        ("sst2", b"", "train.tsv:1: there is no column 'sentence' among none."),
        ("sst2", b"sentence\tlabel\n", "train.tsv: there are no examples"),
        ("cola", b"", "train.tsv: there are no examples"),
    ],
)
def test_what_is_broken_is_named_with_file_and_line(name, train, expected, tmp_path):
    (problem,) = problems(layout(name, tmp_path, train))
    assert expected in problem


@pytest.mark.parametrize("score", ["nan", "inf", "5.1", "-1", "high", ""])
def test_scores_out_of_range_are_broken(score, tmp_path):
    header = LAYOUTS["stsb"][0].splitlines()[0]
    line = f"\n0\tg\tf\t2012\t1\tn\tn\ta\tb\t{score}\n".encode()
    (problem,) = problems(layout("stsb", tmp_path, header + line))
    assert problem.endswith(f"found label '{score}', expected a number from 0 to 5.")


def test_broken_lines_of_both_files_are_reported_together_and_counted(tmp_path):
    many = b"sentence\tlabel\n" + b"a\t7\n" * 9
    found = problems(layout("sst2", tmp_path, many, b"sentence\tlabel\na\n"))
    assert len(found) == 5 + 1 + 1
    assert "9 broken examples in all" in found[5]


def test_broken_lines_can_be_skipped_with_a_warning(tmp_path):
    layout("sst2", tmp_path, b"sentence\tlabel\na\t1\nshort\nb\t0\n")
    data = read(task("sst2", tmp_path, "task.broken_lines=skip"))
    assert list(data.train["label"]) == [1, 0]
    assert data.warnings == [f"{tmp_path / 'train.tsv'}:3: found 1 columns, expected 2."]


def test_skipping_every_line_leaves_nothing_to_learn_from(tmp_path):
    layout("sst2", tmp_path, b"sentence\tlabel\nshort\n")
    (problem,) = problems(task("sst2", tmp_path, "task.broken_lines=skip"))
    assert problem == f"{tmp_path / 'train.tsv'}: there are no examples in this file."


def test_the_hubs_commit_is_read_from_the_addresses():
    from datasets import Dataset, DatasetInfo

    from dylora_exp.tasks.hub_data import _revision

    address = f"hf://datasets/nyu-mll/glue@{'0a' * 20}/rte/train.parquet"
    info = DatasetInfo(download_checksums={address: {"num_bytes": 1, "checksum": None}})
    assert _revision(Dataset.from_dict({"x": [1]}, info=info)) == "0a" * 20


def test_a_missing_folder_or_file_is_named(tmp_path):
    assert problems(task("sst2", tmp_path / "no")) == [
        f"task.data_dir: there is no folder '{tmp_path / 'no'}'."
    ]
    assert "found neither 'train.tsv' nor 'dev.tsv'" in problems(task("sst2", tmp_path))[0]
    layout("sst2", tmp_path)
    (tmp_path / "dev.tsv").unlink()
    assert problems(task("sst2", tmp_path)) == [
        f"{tmp_path / 'dev.tsv'}: cannot be read (No such file or directory)."
    ]


cells = st.text(st.characters(blacklist_characters="\t\n\r", blacklist_categories=["Cs"]))


@settings(max_examples=15)
@given(rows=st.lists(st.tuples(cells, st.sampled_from("01")), min_size=1, max_size=20))
def test_whatever_stands_between_tabs_comes_back(rows, tmp_path_factory):
    train = "sentence\tlabel\n" + "".join(f"{text}\t{label}\n" for text, label in rows)
    data = read(layout("sst2", tmp_path_factory.mktemp("glue"), train.encode()))
    assert [(row["text"][0], str(row["label"])) for row in data.train] == rows


def test_a_subset_is_the_same_every_time_and_in_order(tmp_path):
    train = b"sentence\tlabel\n" + b"".join(b"%d\t1\n" % i for i in range(50))
    data = read(layout("sst2", tmp_path, train)).train
    chosen = [int(text[0]) for text in subset(data, 10)["text"]]
    assert chosen == [int(text[0]) for text in subset(data, 10)["text"]]
    assert chosen == sorted(set(chosen))
    assert chosen != list(range(10))
    assert subset(data, 99) is data


@pytest.mark.parametrize(
    ("name", "rows"),
    [("cola", (8551, 1043)), ("mrpc", (3668, 408)), ("rte", (2490, 277)), ("sst2", (67349, 872))],
)
def test_row_counts_of_the_real_files(name, rows, shared_data):
    data = read(task(name, shared_data / "glue"))
    assert (len(data.train), len(data.eval)) == rows


def test_without_a_network_the_hub_is_named_in_one_sentence():
    (problem,) = problems(compose(["task=rte"]).task)
    assert problem == (
        "task.data_dir: 'nyu-mll/glue' is not on this machine (HF_HUB_OFFLINE is set); on one with "
        "a network: dylora data fetch rte --to DIR, then here: hub_cache=DIR"
    )
