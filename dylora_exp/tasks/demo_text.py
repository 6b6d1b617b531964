"""Generated hotel reviews: the text behind the offline demo.

Every clause praises or blames one aspect of a hotel ("the food is not stale"), and every adjective
belongs to one aspect. Pretraining asks whether a review is mostly positive, which gives all clauses
the same weight. The downstream task asks about the food alone, among other aspects: a classifier
on top of the pretrained features sees only the mixture, and adapters must teach the attention to
pick the right clause.
"""

import random
import zlib
from collections.abc import Sequence
from typing import Literal

# Aspect: (positive adjectives, negative adjectives).
ADJECTIVES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "food": (("tasty", "fresh"), ("bland", "stale")),
    "service": (("prompt", "smooth"), ("slow", "careless")),
    "staff": (("friendly", "helpful"), ("rude", "lazy")),
    "room": (("spacious", "tidy"), ("cramped", "dirty")),
    "price": (("fair", "modest"), ("steep", "absurd")),
    "garden": (("green", "calm"), ("bare", "noisy")),
    "pool": (("warm", "clean"), ("cold", "murky")),
    "view": (("open", "bright"), ("blocked", "dull")),
}
TARGET = "food"
OTHERS = tuple(aspect for aspect in ADJECTIVES if aspect != TARGET)
CLAUSES = 3
NEGATED_SHARE = 0.5
EVAL_ONE_IN = 5
MAX_EXAMPLES = 10_000


def pretraining_text(count: int, seed: int) -> list[tuple[str, int]]:
    """Return the reviews that an encoder is pretrained on.

    Args:
        count: Number of reviews.
        seed: Seed of the generator.

    Returns:
        Pairs of a review of one or three clauses and its label (1: mostly positive).
    """
    rng = random.Random(f"pretrain-{seed}")
    pairs = []
    for _ in range(count):
        aspects = rng.sample(list(ADJECTIVES), rng.choice((1, CLAUSES)))
        polarities = [rng.randrange(2) for _ in aspects]
        label = int(2 * sum(polarities) > len(polarities))
        pairs.append((_review(rng, aspects, polarities), label))
    return pairs


def examples(split: Literal["train", "eval"], count: int) -> list[tuple[str, int]]:
    """Return the labelled reviews of the downstream task.

    The reviews of a split are always the same, and a smaller `count` gives the first of them.

    Args:
        split: Which split; the two never share a review.
        count: Number of distinct reviews; the labels alternate.

    Returns:
        Pairs of a review and its label (1: the food is praised).

    Raises:
        ValueError: If `count` is more than the generator has to offer.
    """
    if count > MAX_EXAMPLES:
        raise ValueError(f"The demo task has at most {MAX_EXAMPLES} examples, not {count}.")
    rng = random.Random(f"demo-{split}")
    labels: dict[str, int] = {}
    while len(labels) < count:
        label = len(labels) % 2
        review = _review_of_target(rng, label)
        if _split_of(review) == split:
            labels.setdefault(review, label)
    return list(labels.items())


def _review_of_target(rng: random.Random, label: int) -> str:
    """Return a review whose clause about the target has polarity `label`, the others any."""
    clauses = [(TARGET, label), *((a, rng.randrange(2)) for a in rng.sample(OTHERS, CLAUSES - 1))]
    rng.shuffle(clauses)
    aspects, polarities = zip(*clauses, strict=True)
    return _review(rng, aspects, polarities)


def _review(rng: random.Random, aspects: Sequence[str], polarities: Sequence[int]) -> str:
    """Return a review of one clause per aspect."""
    clauses = [_clause(rng, *pair) for pair in zip(aspects, polarities, strict=True)]
    return " , ".join(clauses) + " ."


def _clause(rng: random.Random, aspect: str, polarity: int) -> str:
    """Return one clause whose polarity, negation included, is `polarity` (1: praise)."""
    negated = rng.random() < NEGATED_SHARE
    positive, negative = ADJECTIVES[aspect]
    adjective = rng.choice(positive if bool(polarity) != negated else negative)
    return f"the {aspect} is {'not ' if negated else ''}{adjective}"


def _split_of(review: str) -> Literal["train", "eval"]:
    """Return the split of a review, by its content, so that splits never overlap."""
    return "eval" if zlib.crc32(review.encode()) % EVAL_ONE_IN == 0 else "train"
