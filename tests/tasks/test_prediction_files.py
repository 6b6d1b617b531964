"""``dylora score``: the forms of files, the official scores, one sentence for each mistake."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dylora_exp.cli.entry import main
from dylora_exp.tasks.prediction_files import read_lines, read_references

SHARED_DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
REFERENCE = SHARED_DATA / "metric_reference"
needs_data = pytest.mark.skipif(not REFERENCE.is_dir(), reason="needs ../shared/data")
needs_java = pytest.mark.skipif(shutil.which("java") is None, reason="needs Java")


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def write(tmp_path):
    def write(name, content):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def score(capsys, *words):
    code = main(["score", *map(str, words)])
    captured = capsys.readouterr()
    assert (code, captured.err) == (0, "")
    return json.loads(captured.out)


def official(task):
    if not REFERENCE.is_dir():
        return {}
    return json.loads((REFERENCE / "scores.json").read_text())[task]


def test_e2e_lines(write):
    for text in ("a\nb c\n\nd\n", "\n\na \nb c\n \n\nd", "\ufeffa\r\nb c\r\n\r\nd\r\n"):
        path = write("refs.txt", text)
        assert read_references("e2e", [path]) == ([["a", "b c"], ["d"]], "lines")


def test_e2e_csv_is_grouped_by_its_meanings_in_order_of_first_appearance(write):
    path = write("a.csv", '\ufeffmr,ref\r\n"x[1], y",A\r\nz,"B, ""b"""\r\n"x[1], y"," C\nc"\r\n')
    assert read_references("e2e", [path]) == ([["A", "C\nc"], ['B, "b"']], "csv")


@pytest.mark.parametrize(("task", "official"), [("dart", 6), ("webnlg", 6), ("e2e", None)])
def test_the_first_six_references_count_unless_asked(task, official, write, capsys):
    texts = ["a b c d e", *("x y z w v" for _ in range(6))]
    names = [write(f"refs/reference{n}", f"{text}\n") for n, text in enumerate(texts[::-1])]
    lines = write("lines", "\n".join(texts[::-1]))
    words = [task, "--predictions", write("p", "a b c d e\n"), "--metrics", "bleu", "--json"]
    words += ["--references", lines if official is None else names[0].parent]
    default = score(capsys, *words)
    everything = score(capsys, *words, "--max-references", "all")
    assert everything["bleu"] == pytest.approx(1 if official is None else 100)
    six = score(capsys, *words, "--max-references", 6)
    assert six["bleu"] == 0 and six["signature"].endswith("; refs:6")
    assert default == (six if official else everything)
    assert everything["signature"].endswith("; refs:all") == (official is not None)
    assert ("; refs:" in default["signature"]) == (official is not None)


def test_the_beginning_of_the_references_paths_will_do(write, tmp_path):
    for number in range(11):
        write(f"refs/reference{number}", f"a{number}\n")
        write(f"refs/ref.{number}", f"b{number}\n")
    write("refs/reference.bak", "x")
    for name, letter in (("reference", "a"), ("ref.", "b")):
        found = read_references("webnlg", [tmp_path / "refs" / name])
        assert found == ([[f"{letter}{number}" for number in range(11)]], "streams")


@pytest.mark.parametrize("text", ["0", "some", "-1"])
def test_a_wrong_number_of_references_is_refused(text, capsys):
    words = ["score", "dart", "--predictions", "p", "--references", "r"]
    assert main([*words, f"--max-references={text}"]) == 2
    assert f"found '{text}', expected a number from 1, or all" in capsys.readouterr().err


def test_streams_in_a_folder_by_their_first_and_by_name(write, tmp_path):
    write("refs/reference0", "a0\nb0\nc0")
    write("refs/reference1", "a1\n\nc1\n")
    write("refs/reference2", "\nb2\n")
    for number in range(3, 50):
        write(f"refs/reference{number}", f"a{number}\n\n")
    write("refs/reference.bak", "x")
    many = [[f"a{i}" for i in range(50) if i != 2], ["b0", "b2"], ["c0", "c1"]]
    folder = tmp_path / "refs"
    for paths in ([folder], [folder / "reference0"]):
        assert read_references("webnlg", paths) == (many, "streams")
    some = [folder / "reference1", folder / "reference0"]
    assert read_references("dart", some)[0] == [["a1", "a0"], ["b0"], ["c1", "c0"]]
    assert read_references("dart", [write("own", "a\nb\n")])[0] == [["a"], ["b"]]


def test_a_blank_line_is_an_empty_prediction(write):
    assert read_lines(write("f", "\na\n \n\n")) == ["", "a", "", ""]
    assert read_lines(write("f", "\n")) == [""]
    assert read_lines(write("f", "a\u2028b\x85c\rd")) == ["a\u2028b\x85c\rd"]


def test_scores_of_blank_predictions_and_of_many_references(write, capsys):
    predictions = write("out", "a b c d e\n\n")
    references = write("refs", "a b c d e\n" * 50 + "\nx\n")
    words = ["--predictions", predictions, "--references", references]
    found = score(capsys, "e2e", *words, "--metrics", "bleu,nist", "--json")
    assert list(found) == ["bleu", "nist", "signature", "missing"]
    assert 0 < found["bleu"] <= 1
    assert found["missing"] == {}
    assert "e2e|items:2|refs:1-50|form:lines; bleu|" in found["signature"]


def test_webnlg_formats_raw_text(write, capsys):
    words = ["--predictions", write("out", "AARHUS, Denmark has 2.5.\n")]
    words += ["--references", write("refs", "Aarhus , Denmark has 2.5.\n")]
    found = score(capsys, "webnlg", *words, "--metrics", "ter,bleu", "--json")
    assert (found["bleu"], found["ter"]) == (pytest.approx(100), 0)


def test_the_table(write, capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    words = ["--predictions", write("out", "a b c d\n"), "--references", write("refs", "a b c d\n")]
    assert main(["score", "dart", *map(str, words)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["bleu", "100.0000"]
    assert lines[1] == "meteor   There is no Java on the PATH; version 8 or later is needed."
    assert lines[2].split() == ["ter", "0.0000"]
    assert lines[3].startswith("signature: dart|items:1|refs:1-1|form:streams; bleu|case:lc|")
    found = score(capsys, "dart", *words, "--json")
    assert found["meteor"] is None
    assert "no Java" in found["missing"]["meteor"]


@pytest.mark.parametrize(
    ("task", "files", "references", "expected"),
    [
        ("e2", {}, ["refs"], "task: 'e2' is not one of dart, e2e, webnlg; did you mean 'e2e'?"),
        ("e2e", {}, ["refs"], "refs: cannot be read (No such file or directory)."),
        ("e2e", {"refs": "a\n"}, ["refs", "x"], "--references: found 2 files, expected one for"),
        ("e2e", {"refs/a": ""}, ["refs"], "refs: cannot be read (Is a directory)."),
        ("e2e", {"refs": ""}, ["refs"], "refs: this file is empty."),
        ("e2e", {"out": "", "refs": "a\n"}, ["refs"], "out: this file is empty."),
        (
            "e2e",
            {"refs": "a\nb\n\nc\n"},
            ["refs"],
            "out: found 1 predictions, but refs has references for 2 items.",
        ),
        ("e2e", {"refs": b"a\n\n\xff\n"}, ["refs"], "refs:3: this line is not valid UTF-8."),
        (
            "e2e",
            {"out": b"\xef\xbb\xbffirst\nsecond \xe9"},
            ["refs"],
            "out:2: this line is not valid UTF-8.",
        ),
        ("e2e", {"r.csv": "mr,text\na,b\n"}, ["r.csv"], "r.csv:1: there is no column 'ref' among"),
        ("e2e", {"r.csv": "mr,ref\na\n"}, ["r.csv"], "r.csv:2: found more or fewer cells than"),
        ("e2e", {"r.csv": "mr,ref\na,b,c\n"}, ["r.csv"], "r.csv:2: found more or fewer cells"),
        ("e2e", {"r.csv": 'mr,ref\na,"b\n'}, ["r.csv"], "r.csv:2: the CSV is broken (unexpected"),
        ("e2e", {"r.csv": "mr,ref\na, \n"}, ["r.csv"], "r.csv:2: there is no reference."),
        ("e2e", {"r.csv": "mr,ref\n"}, ["r.csv"], "found 1 predictions, but r.csv has references"),
        ("dart", {"r/reference1": "a\n"}, ["r"], "there is no file 'reference0' in 'r'."),
        ("dart", {}, ["reference0"], "there is no file 'reference0' in '.'."),
        ("dart", {"r": "a\n\n"}, ["r"], "r:2: there is no reference."),
        ("dart", {"r": "a\n", "q": "a\nb\n"}, ["r", "q"], "q: found 2 lines, but r has 1."),
    ],
)
def test_a_wrong_file_is_one_sentence(task, files, references, expected, write, capsys):
    for name, content in ({"out": "a\n"} | files).items():
        write(name, content)
    words = ["--predictions", "out", "--references", *references, "--metrics", "bleu"]
    assert main(["score", task, *words]) == 2
    captured = capsys.readouterr()
    assert (captured.out, len(captured.err.splitlines())) == ("", 1)
    assert expected in captured.err


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--metrics", "blue"], "metrics: 'blue' is not one of bleu"),
        (["--metrics", ""], "metrics: '' is not one of bleu"),
        (["--jsn"], "--jsn"),
    ],
)
def test_a_wrong_word_is_one_sentence(words, expected, write, capsys):
    write("f", "a\n")
    assert main(["score", "e2e", "--predictions", "f", "--references", "f", *words]) == 2
    captured = capsys.readouterr()
    assert (captured.out, len(captured.err.splitlines())) == ("", 1)
    assert expected in captured.err


def test_cheap_metrics_start_without_torch_and_at_once(write):
    write("f", "a b c d\n")
    code = (
        "import sys, time\n"
        "from dylora_exp.cli.entry import main\n"
        "words = ['--predictions', 'f', '--references', 'f', '--metrics', 'bleu,nist', '--json']\n"
        "assert main(['score', 'e2e', *words]) == 0\n"
        "heavy = {'torch', 'transformers', 'evaluate', 'datasets', 'nltk'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "assert time.process_time() < 3\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@needs_data
@pytest.mark.parametrize("name", official("e2e"))
@pytest.mark.slow
def test_e2e_is_as_the_official_scripts_say(name, capsys):
    expected = official("e2e")[name]
    words = ["--predictions", REFERENCE / expected["predictions"]]
    words += ["--references", REFERENCE / expected["references"], "--metrics", "bleu,nist"]
    found = score(capsys, "e2e", *words, "--json")
    for metric in ("bleu", "nist"):
        assert found[metric] == pytest.approx(expected[metric.upper()], rel=0, abs=1e-9)


@needs_data
@needs_java
@pytest.mark.slow
@pytest.mark.parametrize("name", official("e2e"))
def test_e2e_with_java_is_as_the_official_scripts_say(name, capsys):
    expected = official("e2e")[name]
    words = ["--predictions", REFERENCE / expected["predictions"]]
    words += ["--references", REFERENCE / expected["references"]]
    found = score(capsys, "e2e", *words, "--metrics", "meteor,rouge_l,cider", "--json")
    for metric, official_name in (("meteor", "METEOR"), ("rouge_l", "ROUGE_L"), ("cider", "CIDEr")):
        assert found[metric] == pytest.approx(expected[official_name], rel=0, abs=1e-9)


@needs_data
@needs_java
def test_e2e_rouge_l_and_cider_on_one_set(capsys):
    expected = official("e2e")["dev_dropswap"]
    words = ["--predictions", REFERENCE / expected["predictions"]]
    words += ["--references", REFERENCE / expected["references"]]
    found = score(capsys, "e2e", *words, "--metrics", "rouge_l,cider", "--json")
    assert found["rouge_l"] == pytest.approx(expected["ROUGE_L"], rel=0, abs=1e-9)
    assert found["cider"] == pytest.approx(expected["CIDEr"], rel=0, abs=1e-9)


@needs_data
def test_the_official_csv_has_the_references_of_the_text_form():
    csv, _ = read_references("e2e", [SHARED_DATA / "e2e" / "devset.csv"])
    lines, _ = read_references("e2e", [REFERENCE / "dev_refs.txt"])
    assert len(csv) == len(lines) == 547
    # The official script squeezed the spaces, which no metric sees.
    assert [[" ".join(text.split()) for text in item] for item in csv] == lines
    assert len(read_references("e2e", [SHARED_DATA / "e2e" / "testset_w_refs.csv"])[0]) == 630


WEBNLG = REFERENCE / "webnlg_dev_degraded"


@needs_data
def test_webnlg_bleu_is_as_the_official_scripts_say(capsys):
    expected = official("webnlg_dart")["webnlg_dev_degraded"]
    words = ["--predictions", WEBNLG / "hypothesis", "--references", WEBNLG, "--metrics", "bleu"]
    found = score(capsys, "webnlg", *words, "--json")
    assert found["bleu"] == pytest.approx(expected["BLEU"], rel=0, abs=1e-9)
    assert round(found["bleu"], 2) == expected["BLEU_official_2dp"]


@needs_data
@needs_java
@pytest.mark.slow
def test_webnlg_meteor_is_as_the_official_scripts_say(capsys):
    expected = official("webnlg_dart")["webnlg_dev_degraded"]
    words = ["--predictions", WEBNLG / "hypothesis", "--references", WEBNLG / "reference0"]
    found = score(capsys, "webnlg", *words, "--metrics", "meteor", "--json")
    assert found["meteor"] == pytest.approx(expected["METEOR"], rel=0, abs=1e-6)


@needs_data
def test_ter_is_as_the_official_scripts_say(capsys, write, tmp_path):
    expected = official("webnlg_dart")["webnlg_dev_degraded"]
    for path in WEBNLG.iterdir():
        write(f"first/{path.name}", "".join(f"{line}\n" for line in read_lines(path)[:120]))
    folder = tmp_path / "first"
    words = ["--predictions", folder / "hypothesis", "--references", folder, "--metrics", "ter"]
    found = score(capsys, "dart", *words, "--json")
    assert found["ter"] == pytest.approx(expected["TER_first120"], rel=0, abs=1e-9)


def test_a_file_in_one_line_is_refused(write, capsys):
    """ROUGE-L alone would take hours for it."""
    file, good = write("one.txt", "word " * 280_000 + "\n"), write("good.txt", "a\n")
    for words in ((file, good), (good, file)):
        code = main(["score", "e2e", "--predictions", str(words[0]), "--references", str(words[1])])
        (line,) = capsys.readouterr().err.splitlines()
        assert code == 2
        assert line.startswith(f"dylora: {file}: item 1 has a text of 280000 words")
