"""METEOR's process and the PTB tokenizer: with Java, without it, and with one that fails."""

import os
import shutil
from pathlib import Path

import pytest

from dylora_exp.metrics import METRICS, Scorer
from dylora_exp.metrics.java import JavaError, Meteor, ptb_tokenize

E2E = (["a b c d", ""], [["a b c d", "x"], ["a b"]])
BY_JAVA = [name for name, metric in METRICS.items() if metric.needs_java]

# Says when it starts, and speaks as much of both programs' protocols as is needed.
FAKE = """\
#!/bin/sh
echo started $$ >> {log}
case "$*" in
*PTBTokenizer*) cat ;;
*) while read -r line; do
     case "$line" in
     SCORE*) echo 7.0 ;;
     *DIE*) echo 'no memory' >&2; exit 1 ;;
     EVAL*) echo "$line" | grep -o '7.0' | sed 's/7.0/0.1/'; echo 0.5 ;;
     esac
   done ;;
esac
"""


@pytest.fixture(autouse=True)
def nothing_is_remembered():
    ptb_tokenize.cache_clear()
    yield
    ptb_tokenize.cache_clear()


@pytest.fixture
def java(tmp_path, monkeypatch):
    """Return a function that puts a program called java onto the PATH."""

    def install(script, rest=os.environ["PATH"]):
        folder = tmp_path / "bin"
        folder.mkdir(exist_ok=True)
        (folder / "java").write_text(script)
        (folder / "java").chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{rest}")

    return install


def is_alive(process):
    return Path(f"/proc/{process}").exists()


def test_without_java_the_rest_stands(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    scorer = Scorer("e2e")
    values = scorer.score(*E2E)
    assert {name for name, value in values.items() if value is None} == set(BY_JAVA)
    assert values["bleu"] > 0
    assert values["nist"] > 0
    reason = "There is no Java on the PATH; version 8 or later is needed."
    assert scorer.missing == dict.fromkeys(BY_JAVA, reason)
    assert list(Scorer("dart").score(["a"], [["a"]]).values())[1:] == [None, 0]


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        (
            "#!/bin/sh\necho 'Error: too old' >&2\necho more >&2\nexit 1\n",
            "failed: Error: too old.",
        ),
        ("#!/bin/sh\nexit 3\n", "failed: it said nothing."),
        ("\0", "Java cannot be started: Exec format error."),
        ("#!/bin/sh\nexit 0\n", ""),
    ],
)
def test_a_java_that_fails_is_a_reason(script, expected, java):
    java(script)
    scorer = Scorer("e2e")
    values = scorer.score(*E2E)
    assert [values[name] for name in BY_JAVA] == [None] * 3
    assert all(expected in scorer.missing[name] for name in BY_JAVA)


def test_one_process_serves_a_sweep_and_its_references_are_tokenised_once(java, tmp_path):
    log = tmp_path / "log"
    java(FAKE.format(log=log))
    with Scorer("e2e") as scorer:
        for _ in range(3):
            assert scorer.score(*E2E)["meteor"] == 0.5
        scorer.score(["other", "words"], E2E[1])
        # METEOR, the references, two sets of predictions.
        assert log.read_text().count("started") == 4
        started = [int(line.split()[1]) for line in log.read_text().splitlines()]
        assert len([process for process in started if is_alive(process)]) == 1
    assert not any(map(is_alive, started))
    assert scorer.score(*E2E)["meteor"] == 0.5
    scorer.close()


def test_a_process_that_dies_is_a_reason_and_the_next_score_starts_another(java, tmp_path):
    java(FAKE.format(log=tmp_path / "log").replace("SCORE*DIE", ""))
    meteor = Meteor()
    assert meteor(["a"], [["b"]]) == 0.5
    meteor._process.kill()
    with pytest.raises(JavaError, match=r"METEOR failed: it said nothing\."):
        meteor(["a"], [["b"]])
    assert meteor(["a ||| b\u2028c"], [["b"]]) == 0.5
    meteor.close()
    meteor.close()


def test_a_process_ends_with_its_metric(java, tmp_path):
    java(FAKE.format(log=tmp_path / "log"))
    meteor = Meteor()
    meteor(["a"], [["b"]])
    process = meteor._process
    del meteor
    assert process.poll() is not None


needs_java = pytest.mark.skipif(shutil.which("java") is None, reason="needs Java")


@needs_java
def test_ptb_words():
    texts = ("", 'It\'s "£20-25", (well) etc.', "a\u2028b\x85c\nd\re", "ünï 中", "")
    assert ptb_tokenize(texts) == (
        "",
        "it 's # 20-25 -lrb- well -rrb- etc.",
        "a b c d e",
        "ünï 中",
        "",
    )
    assert ptb_tokenize(("",)) == ("",)


@needs_java
def test_meteor():
    meteor = Meteor()
    ours, theirs = (
        ["the cat sat", "dogs run fast", ""],
        [["the cat sat"], ["the dogs", "dogs run"], ["b"]],
    )
    value = meteor(ours, theirs)
    assert 0 < value < 1
    assert meteor(ours, [item[::-1] for item in theirs]) == value
    assert meteor(ours, [item * 3 for item in theirs]) == value
    assert meteor(["the cat sat"], [["the cat sat"]]) == 1
    assert meteor([""], [["the cat sat"]]) == 0
    assert meteor(["café naïve"], [["café naïve"]]) == 1
    meteor.close()
