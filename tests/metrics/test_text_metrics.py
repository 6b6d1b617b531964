"""Golden values by hand, and laws; neither Java nor shared data."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dylora_exp.core.errors import RequestError
from dylora_exp.metrics import Scorer, protocol_metrics, signature
from dylora_exp.metrics.bleu import bleu
from dylora_exp.metrics.coco import cider, rouge_l
from dylora_exp.metrics.nist import nist
from dylora_exp.metrics.ter import ter
from dylora_exp.metrics.words import format_text, words_13a

texts = st.lists(st.sampled_from("abcdef"), min_size=1, max_size=9).map(" ".join)
items = st.lists(st.tuples(texts, st.lists(texts, min_size=1, max_size=4)), min_size=1, max_size=5)


def words(predictions, references):
    return [p.split() for p in predictions], [[r.split() for r in item] for item in references]


@pytest.mark.parametrize(
    ("prediction", "references", "expected"),
    [
        ("a b c d e", ["a b c d e"], 1),
        ("a b c d e", ["a b c d f"], (4 / 5 * 3 / 4 * 2 / 3 * 1 / 2) ** (1 / 4)),
        ("a b c d", ["a b c d e f"], math.exp(1 - 6 / 4)),
        ("a b c d", ["a b c d e f", "x y z"], 1),
        ("A b C d", ["a B c D"], 1),
        ("it's 2.5, no!", ["it 's 2.5 , no !"], (1 / 5) ** (1 / 4) * math.exp(1 - 6 / 5)),
        ("", ["a b c d"], 0),
    ],
)
def test_bleu(prediction, references, expected):
    assert bleu([prediction], [references], lowercase=True) == pytest.approx(100 * expected)


def test_bleu_minds_case_where_it_is_told_to():
    assert bleu(["A b c d e"], [["a b c d e"]], lowercase=False) == pytest.approx(
        100 * (4 / 5 * 3 / 4 * 2 / 3 * 1 / 2) ** (1 / 4)
    )


def test_an_item_with_fewer_references_has_no_empty_one():
    # To four words, a reference without words would be nearer than one of nine.
    long = "a b c d e f g h i"
    value = bleu(["a b c d"] * 2, [[long], [long, long]], lowercase=True)
    assert value == pytest.approx(100 * math.exp(1 - 18 / 8))


@pytest.mark.parametrize(
    ("predictions", "references", "expected"),
    [
        # Both words tell log2(2/1), and the second follows from the first.
        (["a b"], [["a b"]], 1),
        # log2(4/2) and log2(4/1) for the words, log2(2/1) for the pair; half as long.
        (["A b"], [["a a b c"]], (3 / 2 + 1) * 2 ** -((math.log(2) / math.log(1.5)) ** 2)),
        # Two thirds of the length halve the score: log2(3/1) for each of two words.
        (["a b"], [["a b c"]], math.log2(3) / 2),
        # Counts over all references, the length of the mean one: a 3 of 6, b 2 of 6.
        (["a b c"], [["a b", "a b", "a c"]], (1 + math.log2(3) + math.log2(6)) / 3
         + (math.log2(3 / 2) + 0) / 2),
        # An empty prediction is one word, and its pairs count -1: (1 + 1) / 3 + 0 / 1.
        (["a b", ""], [["a b"], ["a b"]], 2 / 3 * 2 ** -((math.log(3 / 4) / math.log(1.5)) ** 2)),
        (["", ""], [["a b"], ["c"]], 0),
    ],
)  # fmt: skip
def test_nist(predictions, references, expected):
    assert nist(predictions, references) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("prediction", "references", "expected"),
    [
        ("a b c d", ["a c d x"], 3 / 4),
        ("a b", ["a b c d"], 2.44 * 0.5 / (0.5 + 1.44)),
        # The best precision and the best recall, each from another reference.
        ("a b", ["a b c d", "a"], 1),
        ("", ["a b"], 0),
        ("x", ["a b"], 0),
    ],
)
def test_rouge_l(prediction, references, expected):
    assert rouge_l([prediction], [references]) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("prediction", "references", "expected"),
    [
        # The cosine is 1 for words and pairs; there are no longer n-grams.
        ("a b", ["a b"], 10 * 2 / 4),
        ("a b", ["a b", "x y"], 10 * 2 / 4 / 2),
        # One of two words, one pair less than the reference has.
        ("a", ["a b"], 10 * math.exp(-1 / 72) / math.sqrt(2) / 4),
        ("", ["a b"], 0),
    ],
)
def test_cider(prediction, references, expected):
    # The second item scores 5 itself, and makes the first one's words worth something.
    value = cider([prediction, "c d"], [references, ["c d"]])
    assert value == pytest.approx((expected + 5) / 2)


def test_cider_of_words_that_all_items_share_and_of_no_words_is_0():
    assert cider(["a b"], [["a b"]]) == 0
    assert cider(["a b", "c"], [[""], [""]]) == 0


@pytest.mark.parametrize(
    ("prediction", "references", "expected"),
    [
        ("a b c d", ["a b c d"], 0),
        ("a b x d", ["a b c d"], 1 / 4),
        ("c d a b", ["a b c d"], 1 / 4),
        ("a b", ["a b c d"], 2 / 4),
        ("a b", ["a b c d", "a b c"], 1 / 3),
        ("a x y z", ["a"], 3),
        ("", ["a b c"], 1),
        ("a b c", ["", "x"], 1),
    ],
)
def test_ter(prediction, references, expected):
    assert ter(*words([prediction], [references])) == pytest.approx(expected)


def test_ter_is_the_same_for_any_number_of_processes():
    data = words(["a b c x", "d c b a", ""] * 12, [["a b c d", "a b c d", "b"]] * 36)
    assert ter(*data, processes=1) == ter(*data, processes=2)


@given(items, st.randoms())
def test_the_order_of_references_and_of_items_does_not_count(pairs, random):
    predictions, references = zip(*pairs, strict=True)
    shuffled = [(p, random.sample(r, len(r))) for p, r in random.sample(pairs, len(pairs))]
    others, orders = zip(*shuffled, strict=True)
    metrics = [nist, rouge_l, cider, lambda p, r: bleu(p, r, lowercase=True)]
    metrics.append(lambda p, r: ter(*words(p, r), processes=1))
    for metric in metrics:
        there = metric(others, orders)
        assert metric(predictions, references) == pytest.approx(there, rel=1e-9, abs=1e-9)


@given(items)
def test_copies_of_references_do_not_count_for_bleu_rouge_l_and_ter(pairs):
    predictions, references = zip(*pairs, strict=True)
    copies = [[*item, *item] for item in references]
    assert bleu(predictions, copies) == bleu(predictions, references)
    assert rouge_l(predictions, copies) == rouge_l(predictions, references)
    assert ter(*words(predictions, copies), 1) == ter(*words(predictions, references), 1)


@given(items)
def test_saying_a_reference_is_perfect(pairs):
    references = [item for _, item in pairs]
    first = [item[0] for item in references]
    assert ter(*words(first, references), 1) == 0
    assert rouge_l(first, references) == pytest.approx(1)
    if any(len(text.split()) >= 4 for text in first):
        assert bleu(first, references, lowercase=True) == pytest.approx(100)


@given(items)
def test_nist_is_never_below_0(pairs):
    assert nist(*zip(*pairs, strict=True)) >= 0


@given(st.text())
def test_formatting_twice_is_formatting_once(text):
    assert format_text(format_text(text)) == format_text(text)


def test_formatting_sets_every_mark_apart():
    assert (
        format_text(' Aarhus\' "2702.0"  snake_case é-Ü\n')
        == 'aarhus \' " 2702 . 0 " snake_case é - ü'
    )
    assert format_text("?") == "?"
    assert format_text(" \t") == ""


def test_13a():
    assert words_13a("It's £20-25, Mr. X.") == ["it's", "£20", "-", "25", ",", "mr", ".", "x", "."]
    assert words_13a(" ") == [""]


def test_a_scorer_formats_webnlg_and_dart_but_not_e2e():
    ours, theirs = ["AARHUS, Denmark has 2.5"], [["aarhus , denmark has 2 . 5"]]
    for task in ("webnlg", "dart"):
        assert Scorer(task, ["bleu"]).score(ours, theirs) == {"bleu": pytest.approx(100)}
    assert Scorer("e2e", ["bleu"]).score(ours, theirs)["bleu"] < 0.9


def test_a_scorer_has_the_tasks_own_scales_and_names_its_settings():
    same = (["a b c d e"], [["a b c d e"]])
    assert Scorer("e2e", ["nist", "bleu"]).score(*same) == {
        "bleu": pytest.approx(1),
        "nist": pytest.approx(math.log2(5)),
    }
    assert Scorer("dart", ["bleu", "ter"]).score(*same) == {"bleu": pytest.approx(100), "ter": 0}
    found = Scorer("e2e").signature
    for name in protocol_metrics("e2e"):
        assert f"{name}|" in found
    for part in ("case:lc", "tok:13a", "smooth:exp", "sacrebleu:2", "pycocoevalcap:1.2", "tok:ptb"):
        assert part in found
    assert "pyter3:0.3" in signature(["ter"], "webnlg")


@pytest.mark.parametrize(
    ("task", "names", "expected"),
    [
        ("e2", None, "task: 'e2' is not one of dart, e2e, webnlg; did you mean 'e2e'?"),
        ("e2e", ["ter"], "metrics: 'ter' is not one of bleu"),
        ("dart", ["bluе", "metoer"], "did you mean 'meteor'?"),
    ],
)
def test_an_unknown_task_or_metric_is_named(task, names, expected):
    with pytest.raises(RequestError, match=expected.replace("?", r"\?")):
        Scorer(task, names)


@pytest.mark.parametrize(
    ("predictions", "references", "expected"),
    [
        (["a"], [["a"], ["b"]], "predictions: found 1, but there are references for 2 items."),
        ([], [], "predictions: found none."),
        (["a", "b"], [["a"], []], "references: item 2 has none."),
    ],
)
def test_what_cannot_be_scored_is_named(predictions, references, expected):
    with pytest.raises(RequestError) as error:
        Scorer("e2e", ["bleu"]).score(predictions, references)
    assert str(error.value) == expected
