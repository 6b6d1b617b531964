import csv
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dylora_exp.config.composition import compose
from dylora_exp.tasks.base import read

BOM = "\ufeff"
ROWS = 'mr,ref\r\n"name[A B], eatType[pub]","It says ""hi"", twice."\r\nname[C],Plain.\r\n'
LINES = "name : A B | Type : pub||It says `` hi '' . \nname : C||Plain . \n"
GOOD = {"trainset__csv": ROWS, "testset_w_refs__csv": ROWS}

cells = st.text(st.characters(blacklist_categories=["Cs", "Cc", "Zl", "Zp"]), min_size=1).filter(
    lambda text: text.strip() == text
)


def test_the_official_form(folder):
    data = folder("e2e").write(trainset__csv=BOM + ROWS, testset_w_refs__csv=ROWS).read()
    assert data.train.to_list() == [
        {"context": "name : A B | Type : pub", "text": 'It says "hi", twice.'},
        {"context": "name : C", "text": "Plain."},
    ]
    assert [source["form"] for source in data.sources] == ["csv", "csv"]


def test_the_form_of_the_lora_code(folder):
    data = folder("e2e").write(train__txt=LINES, valid__txt=LINES).read("task.eval_split=dev")
    assert data.train.to_list() == [
        {"context": "name : A B | Type : pub", "text": "It says `` hi '' ."},
        {"context": "name : C", "text": "Plain ."},
    ]
    assert [source["form"] for source in data.sources] == ["text", "text"]


def test_the_forms_are_not_mixed(folder):
    (problem,) = folder("e2e").write(trainset__csv=ROWS, test__txt=LINES).problems()
    assert "has trainset.csv, but for task.eval_split=test no testset_w_refs.csv." in problem
    data = folder("e2e").write(train__txt=LINES).read()
    assert [source["file"] for source in data.sources] == ["train.txt", "test.txt"]


def test_names_are_those_of_the_lora_code_and_keep_their_order(folder):
    row = '"near[N], priceRange[£20-25], familyFriendly[no], customer rating[5 out of 5]",text\n'
    data = folder("e2e").write(**{**GOOD, "trainset__csv": "mr,ref\n" + row}).read()
    assert data.train[0]["context"] == (
        "near : N | price : £20-25 | family friendly : no | customer rating : 5 out of 5"
    )


def test_a_text_of_several_lines_becomes_one_line(folder):
    rows = 'mr,ref\r\nname[A]," one\r\n\r\n two. "\r\n'
    data = folder("e2e").write(**{**GOOD, "trainset__csv": rows}).read()
    assert data.train[0]["text"] == "one two."


@settings(max_examples=15)
@given(st.lists(st.tuples(cells, cells), min_size=1, max_size=8))
def test_whatever_a_csv_file_holds_comes_back(tmp_path_factory, pairs):
    place = tmp_path_factory.mktemp("e2e")
    values = [(name.translate(dict.fromkeys(map(ord, "[]"), "x")), ref) for name, ref in pairs]
    stream = io.StringIO(newline="")
    csv.writer(stream).writerows([("mr", "ref"), *((f"name[{n}]", ref) for n, ref in values)])
    for name in ("trainset.csv", "testset_w_refs.csv"):
        (place / name).write_bytes(stream.getvalue().encode())
    data = read(compose(["task=e2e", f"task.data_dir={place}"]).task)
    assert [(row["context"], row["text"]) for row in data.train] == [
        (f"name : {name}", ref) for name, ref in values
    ]


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ("", "1: there is no column 'mr' among none."),
        ("mr,text\nname[A],b\n", "1: there is no column 'ref' among mr, text."),
        ("mr,reff\nname[A],b\n", "1: there is no column 'ref' among mr, reff; did you mean 'reff'"),
        ("mr,ref\n", " there are no examples in this file."),
        ("mr,ref\nname[A],b\nname[A]\n", "3: found more or fewer cells than columns."),
        ('mr,ref\nname[A],"b\nc"\n,b\n', "4: found an empty mr."),
        ("mr,ref\nname[A],\n", "2: found an empty text."),
        ("mr,ref\nname[ ],b\n", "2: found mr 'name[ ]', which has an empty key or value."),
        ("mr,ref\nname,b\n", "2: found mr 'name', expected key[value], key[value]."),
        ('mr,ref\n"name[A], x",b\n', "2: found mr 'name[A], x', expected key[value], key[value]."),
        ('mr,ref\n"name[A]]",b\n', "2: found mr 'name[A]]', expected key[value], key[value]."),
        ('mr,ref\nname[A],"b\n', "2: the CSV is broken (unexpected end of data)."),
        (b"mr,ref\nname[A],b\nname[A],\xff\n", "3: this line is not valid UTF-8."),
    ],
)
def test_a_bad_csv_file_is_named_with_its_line(rows, expected, folder):
    (problem,) = folder("e2e").write(**{**GOOD, "trainset__csv": rows}).problems()
    assert problem.startswith(f"trainset.csv:{expected}")


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("name : A\n", "1: found no '||' between context and text."),
        ("name : A||b\n\n||b\n", "3: found an empty context."),
        ("name : A|| \n", "1: found an empty text."),
        (b"\xff||a\n", "1: this line is not valid UTF-8."),
        ("\n", " there are no examples in this file."),
    ],
)
def test_a_bad_text_file_is_named_with_its_line(lines, expected, folder):
    (problem,) = folder("e2e").write(train__txt=LINES, test__txt=lines).problems()
    assert problem == f"test.txt:{expected}"


@pytest.mark.parametrize(("split", "texts", "contexts"), [("test", 4693, 630), ("dev", 4672, 547)])
def test_the_real_files(split, texts, contexts, folder, shared_data):
    data = folder("e2e", shared_data).read(f"task.eval_split={split}")
    assert (len(data.train), len(data.eval)) == (42061, contexts)
    assert sum(map(len, data.eval["references"])) == texts
    assert [source["rows"] for source in data.sources] == [42061, texts]


def test_real_contexts_character_by_character(folder, shared_data):
    data = folder("e2e", shared_data / "e2e").read()
    assert data.train["context"][:3] == [
        "name : The Vaults | Type : pub | price : more than £30 | customer rating : 5 out of 5 | "
        "near : Café Adriatic",
        "name : The Cambridge Blue | Type : pub | food : English | price : cheap | "
        "near : Café Brazil",
        "name : The Eagle | Type : coffee shop | food : Japanese | price : less than £20 | "
        "customer rating : low | area : riverside | family friendly : yes | near : Burger King",
    ]
    assert data.eval[0]["context"] == "name : Blue Spice | Type : coffee shop | area : city centre"
