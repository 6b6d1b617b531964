"""Generated questions about mountain huts: what is behind the offline demo's choice task.

A hut is told of by its kind, its food and its prices, and the question is about one of the three.
Its options are the right answer, another value of what is asked for, and the two other things that
were said of the hut. So a model must know what the question asks for and find it in the text:
either alone gives at most half of the points, guessing a quarter.
"""

import random
import zlib
from typing import Any, Literal

_FIRST = ("Fern", "Alder", "Stone", "Raven", "Birch", "Otter", "Heron", "Maple", "Cloud", "Amber")
_SECOND = ("Rock", "Hollow", "Ridge", "Bridge", "Meadow", "Falls", "Gate", "Corner", "Hill", "Well")
# What may be asked for: the question, and the values it may have.
QUESTIONS: dict[str, tuple[str, tuple[str, ...]]] = {
    "kind": ("What is {}?", ("a hut", "an inn", "a cabin", "a farm")),
    "food": ("What does {} serve?", ("soup", "pancakes", "cheese", "stew")),
    "prices": ("What are the prices of {}?", ("low", "moderate", "high", "fair")),
}
EVAL_ONE_IN = 5
MAX_ITEMS = 3_000


def choice_items(split: Literal["train", "eval"], count: int) -> list[dict[str, Any]]:
    """Return the items of a split: the same each time, of a smaller count the first of them.

    Args:
        split: Which split; the two never share a text.
        count: Number of items.

    Returns:
        Rows with the columns ``text``, ``question``, ``options`` (four) and ``answer``, the index
        of the right one.

    Raises:
        ValueError: If `count` is more than the generator has to offer.
    """
    if count > MAX_ITEMS:
        raise ValueError(f"The demo task has at most {MAX_ITEMS} items, not {count}.")
    rng = random.Random(f"demo-choice-{split}")
    found: dict[tuple[str, str], dict[str, Any]] = {}
    while len(found) < count:
        item = _item(rng)
        if _split_of(item["text"]) == split:
            found.setdefault((item["text"], item["question"]), item)
    return list(found.values())


def _item(rng: random.Random) -> dict[str, Any]:
    name = f"{rng.choice(_FIRST)} {rng.choice(_SECOND)}"
    drawn = {key: rng.sample(values, 2) for key, (_, values) in QUESTIONS.items()}
    said = {key: first for key, (first, _) in drawn.items()}
    asked = rng.choice(list(QUESTIONS))
    options = [drawn[asked][1], *said.values()]
    rng.shuffle(options)
    return {
        "text": "{} is {kind}. It serves {food} at {prices} prices.".format(name, **said),
        "question": QUESTIONS[asked][0].format(name),
        "options": options,
        "answer": options.index(said[asked]),
    }


def _split_of(text: str) -> Literal["train", "eval"]:
    """Return the split of a text, by its content, so that splits never overlap."""
    return "eval" if zlib.crc32(text.encode()) % EVAL_ONE_IN == 0 else "train"
