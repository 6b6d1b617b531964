"""Generated hotel reviews: the text behind the offline demo.

Pretraining teaches an encoder the polarity of one clause ("the food is not stale"). The
downstream task is about whole reviews: is the majority of their clauses positive?
"""

import random
from typing import Literal

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
GENERAL: tuple[tuple[str, ...], tuple[str, ...]] = (
    ("good", "great", "lovely"),
    ("bad", "awful", "poor"),
)
ASPECTS = tuple(ADJECTIVES)
CLAUSES = 5
NEGATED = 0.5


def _clause(rng: random.Random, aspect: str, positive: bool) -> str:
    """Writes one clause whose overall polarity, negation included, is `positive`."""
    negated = rng.random() < NEGATED
    side = 0 if positive != negated else 1
    adjective = rng.choice(ADJECTIVES[aspect][side] + GENERAL[side])
    return f"the {aspect} is {'not ' if negated else ''}{adjective}"


def pretraining_text(count: int, seed: int) -> list[tuple[str, int]]:
    """Writes the sentences an encoder is pretrained on.

    Args:
        count: Number of sentences.
        seed: Seed of the generator.

    Returns:
        Pairs of a one-clause sentence and its polarity (1 is positive).
    """
    rng = random.Random(f"pretrain-{seed}")
    pairs = []
    for _ in range(count):
        label = rng.randrange(2)
        pairs.append((_clause(rng, rng.choice(ASPECTS), bool(label)) + " .", label))
    return pairs


def _review(rng: random.Random, label: int) -> str:
    """Writes a review in which the majority of clauses has the polarity `label`."""
    majority = rng.randint(CLAUSES // 2 + 1, CLAUSES)
    polarities = [label] * majority + [1 - label] * (CLAUSES - majority)
    rng.shuffle(polarities)
    aspects = rng.sample(ASPECTS, CLAUSES)
    clauses = [_clause(rng, a, bool(p)) for a, p in zip(aspects, polarities, strict=True)]
    return " , ".join(clauses) + " ."


def examples(split: Literal["train", "eval"], count: int) -> list[tuple[str, int]]:
    """Writes the labelled reviews of the downstream task.

    Args:
        split: Which split; the two never share a text.
        count: Number of reviews, of which half carry each label.

    Returns:
        Pairs of a review and its label (1: mostly positive).
    """
    rng = random.Random(f"demo-{split}")
    pairs: dict[str, int] = {}
    while len(pairs) < count:
        label = len(pairs) % 2
        text = _review(rng, label)
        if _is_eval(text) == (split == "eval"):
            pairs[text] = label
    shuffled = list(pairs.items())
    rng.shuffle(shuffled)
    return shuffled


def _is_eval(text: str) -> bool:
    """Assigns every possible text to one split by its content, so that splits cannot overlap."""
    return sum(text.encode()) % 5 == 0
