"""Words that nobody means, in every place of the command line: a sentence, and no traceback."""

import logging

import pytest

from dylora_exp.cli.entry import main

LONG, LONGER = "x" * 300, "x" * 5000
WORDS = [
    *("", " ", ".", "..", "--", "-", "~nobody-here", "a\0b", LONG, LONGER, "9" * 5000),
    *("\n", "a\nb", "\r", "\t", "\x1b[31mred", "\u202eabc", "\ud800", "😀", "ß"),
    *("../../x", "/dev/null", "/dev/null/x", "$HOME", "${x}", "${oc.env:HOME}"),
    *("[", "{", "(", "'", '"', "=", "=x", "-1", "0", "1e999", "nan", "%s", "\\", "null", "?"),
    *("interval(1,2)", "choice()", "range(0,1,0)", "[a", "{a: b}", "a,b", "???", "a=b=c", "@"),
]
# @ stands for the hostile word.
LINES = [
    *("list runs --results @", "list runs --results=@", "list @"),
    *("report --results @", "report --where @", "report --where @=1", "report --where task=@"),
    *("report --tolerance @", "tables @", "tables --profile @", "tables 2 --select @"),
    "tables 2 --results @",
    *("export @ --rank 1 --to x", "export a --rank @ --to x", "export a --rank 1 --to @"),
    *("export a --rank 1 --to x --outputs @", "export a --rank 1 --to x --results @"),
    *("score @ --predictions p --references r", "score e2e --predictions @ --references r"),
    *("score e2e --predictions p --references @", "score e2e --max-references @"),
    *("validate @", "validate method=@", "validate task=@", "validate @=1", "validate seed=@"),
    *("validate task=mrpc task.data_dir=@", "validate model.name_or_path=@", "validate +@=1"),
    *("validate model.tokenizer=@", "validate hub_cache=@", "validate results_dir=@"),
    *("validate hydra.searchpath=@", "validate hydra/launcher=@", "validate tracker.name=@"),
    *("validate ranks.score=@", "validate task.labels=@", "validate model.config=@"),
    *("run --cfg @", "run --info @", "run --config-dir @ seed=a", "run --config-name @ seed=a"),
    *("run -m method=@ seed=a", "run -m hydra/launcher=@ seed=a"),
    *("run -m hydra/sweeper=@ seed=a", "run experiment=@ seed=a", "run --@ seed=a"),
    *("reproduce @ --plan", "reproduce 2 --plan --profile @", "reproduce 2 --plan seed=@"),
    *("reproduce A --plan --results @", "reproduce A --plan --results=-- @"),
    *("reproduce A --plan --outputs @", "reproduce A --plan --launcher @"),
    *("reproduce A --plan --jobs @", "reproduce A --plan hydra.launcher.@=1"),
    *("search --trials @ seed=a", "search --jobs @ seed=a", "search --launcher @ seed=a"),
    *(
        "search seed=a trainer.learning_rate=@",
        "data fetch @ --to /dev/null/x",
        "data @ e2e --to x",
    ),
    *("models fetch @ --to /dev/null/x", "@ list", "-@", "--@"),
]
# In a run of the ordinary tests each line meets one word of so many.
EACH = 40


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def wrong_answers(line, words, capsys):
    """Return each word that a command does not answer in sentences, with what it did."""
    wrong = []
    for word in words:
        try:
            code = main([each.replace("@", word) for each in line.split(" ")])
        except SystemExit as stop:  # help
            code = stop.code or 0
        except Exception as error:
            code = error
        logging.getLogger().handlers.clear()  # Hydra's write to a captured stream that is closed
        err = capsys.readouterr().err
        lines = err.split("\n")[:-1]
        if (
            code not in (0, 1, 2)
            or (code and not lines)
            or not all(each.startswith("dylora: ") for each in lines)
            or any(ord(each) < 32 or 0x202A <= ord(each) <= 0x202E for each in "".join(lines))
        ):
            wrong.append((word[:30], code, err[:300]))
    return wrong


@pytest.mark.parametrize("index", range(len(LINES)), ids=LINES)
def test_some_hostile_words_are_answered_in_sentences(index, capsys, tmp_path):
    # Other words for each line: every word is tried somewhere, every line with a few.
    assert wrong_answers(LINES[index], WORDS[index % EACH :: EACH], capsys) == []
    assert not list(tmp_path.parent.glob("x"))


@pytest.mark.slow
@pytest.mark.parametrize("line", LINES)
def test_every_hostile_word_is_answered_in_sentences(line, capsys, tmp_path):
    assert wrong_answers(line, WORDS, capsys) == []
    assert not list(tmp_path.parent.glob("x"))
