"""Writes the texts behind the demo's generation tasks, in the forms of E2E and WebNLG.

Everything in them is invented: mountain huts, ships, bridges and gardens, told by templates. The
names are put together from parts, and those of the development files do not occur in training, so a
model must copy them from its input.
"""

import argparse
import csv
import io
import itertools
import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from dylora_exp.core import write_atomically

FOLDER = Path(__file__).parents[1] / "dylora_exp" / "tasks" / "demo_nlg"
SEED = 7
HUTS = {"trainset.csv": 900, "devset.csv": 40}
THINGS = {"train.json": 900, "dev.json": 40}

FIRST = ("Fern", "Alder", "Stone", "Raven", "Birch", "Otter", "Heron", "Maple", "Cloud", "Amber")
SECOND = ("Rock", "Hollow", "Ridge", "Bridge", "Meadow", "Falls", "Gate", "Corner", "Hill", "Well")
# First and second parts that only meet in the development files: one pair in ten.
HELD_OUT = 10

KINDS = ("hut", "inn", "cabin", "farmhouse")
FOODS = ("soup", "pancakes", "cheese", "stew", "apple cake")
PRICES = ("low", "moderate", "high")

# Category: its properties, each with a clause about a subject that was named before.
CLAUSES = {
    "Ship": {
        "homePort": "its home port is {}",
        "builder": "it was built by {}",
        "length": "it is {} long",
        "launched": "it was launched in {}",
    },
    "Bridge": {
        "crosses": "it crosses the {}",
        "length": "it is {} long",
        "opened": "it was opened in {}",
        "architect": "it was designed by {}",
    },
    "Garden": {
        "location": "it lies in {}",
        "opened": "it was opened in {}",
        "owner": "it belongs to {}",
        "area": "it covers {}",
    },
}
# As in WebNLG, a category of the development file that training does not have.
UNSEEN = "Garden"

Drawn = TypeVar("Drawn")


def name(rng: random.Random, train: bool) -> str:
    """Return a name of two parts, one of those that training has or one of the others."""
    while True:
        first, second = rng.randrange(len(FIRST)), rng.randrange(len(SECOND))
        if ((first + second) % HELD_OUT != 0) == train:
            return f"{FIRST[first]} {SECOND[second]}"


def hut(rng: random.Random, train: bool) -> dict[str, str]:
    """Return the attributes of a hut: its name, its kind, and two to four others."""
    others = {
        "food": rng.choice(FOODS),
        "priceRange": rng.choice(PRICES),
        "near": name(rng, train),
        "dogs": rng.choice(("yes", "no")),
    }
    kept = rng.sample(list(others), rng.randint(2, 4))
    about = {"name": name(rng, train), "eatType": rng.choice(KINDS)}
    return about | {key: value for key, value in others.items() if key in kept}


def hut_texts(about: dict[str, str]) -> list[str]:
    """Return three texts that say all of a hut."""
    title, kind = about["name"], about["eatType"]
    food, price, near = (about.get(key) for key in ("food", "priceRange", "near"))
    dogs = about.get("dogs")
    place = f" near {near}" if near else ""
    one = an(kind)
    first = f"{title} is {one}{place}."
    second = f"You find {one} called {title}{place}."
    third = f"The {kind} {title}{f' lies{place}' if near else ' is open'}."
    if food and price:
        first += f" It serves {food} at {price} prices."
        second += f" There is {food}, and prices are {price}."
        third += f" It has {food} for a {price} price."
    elif food:
        first += f" It serves {food}."
        second += f" There is {food}."
        third += f" It has {food}."
    elif price:
        first += f" Its prices are {price}."
        second += f" Prices are {price}."
        third += f" It has {price} prices."
    if dogs:
        welcome = dogs == "yes"
        first += f" Dogs are {'' if welcome else 'not '}welcome."
        second += f" You {'can' if welcome else 'cannot'} bring your dog."
        third += " Dogs may come in." if welcome else " Dogs must stay outside."
    return [first, second, third]


def an(noun: str) -> str:
    """Return a noun with its indefinite article."""
    return f"an {noun}" if noun[0] in "aeiou" else f"a {noun}"


def thing(rng: random.Random, category: str, train: bool) -> tuple[str, dict[str, str]]:
    """Return the name of a thing and one to three of its properties."""
    values = {
        "homePort": name(rng, train),
        "location": name(rng, train),
        "crosses": f"{rng.choice(FIRST)} River",
        "builder": f"{rng.choice(FIRST)} Yards",
        "architect": f"{rng.choice('ABCDE')}. {rng.choice(SECOND)}",
        "owner": f"{rng.choice('ABCDE')}. {rng.choice(SECOND)}",
        "length": f"{10 * rng.randint(2, 40)} metres",
        "area": f"{rng.randint(2, 40)} hectares",
        "launched": str(rng.randint(1850, 1990)),
        "opened": str(rng.randint(1850, 1990)),
    }
    kept = rng.sample(list(CLAUSES[category]), rng.randint(1, 3))
    return name(rng, train), {key: values[key] for key in CLAUSES[category] if key in kept}


def thing_texts(category: str, subject: str, about: dict[str, str]) -> list[str]:
    """Return two texts that say all properties of a thing."""
    clauses = [CLAUSES[category][key].format(value) for key, value in about.items()]
    kind = an(category.lower())
    sentences = " ".join(f"{clause[0].upper()}{clause[1:]}." for clause in clauses)
    return [
        f"{subject} is {kind}. {sentences}",
        f"There is {kind} called {subject}; {' and '.join(clauses)}.",
    ]


def e2e_csv(train: bool, count: int) -> str:
    """Return huts and their texts as E2E's files have them: a row for each text."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["mr", "ref"])
    rng = random.Random(f"{SEED}-huts-{train}")
    for about in distinct(lambda: hut(rng, train), count):
        meaning = ", ".join(f"{key}[{value}]" for key, value in about.items())
        # One style is enough to learn; the score allows all.
        writer.writerows([meaning, text] for text in hut_texts(about)[: 1 if train else None])
    return stream.getvalue()


def webnlg_json(train: bool, count: int) -> str:
    """Return things and their texts as WebNLG's files have them."""
    rng = random.Random(f"{SEED}-things-{train}")
    categories = [category for category in CLAUSES if not train or category != UNSEEN]
    entries = []
    turns = itertools.cycle(categories)

    def draw() -> tuple[str, str, dict[str, str]]:
        category = next(turns)
        return (category, *thing(rng, category, train))

    for number, (category, subject, about) in enumerate(distinct(draw, count), 1):
        entry = {
            "category": category,
            "modifiedtripleset": [
                {"subject": subject.replace(" ", "_"), "property": key, "object": value}
                for key, value in about.items()
            ],
            "lexicalisations": [
                {"lex": text, "comment": "good"}
                for text in thing_texts(category, subject, about)[: 1 if train else None]
            ],
        }
        entries.append(json.dumps({str(number): entry}))
    lines = ",\n".join(entries)
    return f'{{"entries": [\n{lines}\n]}}\n'


def distinct(draw: Callable[[], Drawn], count: int) -> Iterator[Drawn]:
    """Yield this many draws, none of them twice."""
    seen: set[str] = set()
    while len(seen) < count:
        drawn = draw()
        if repr(drawn) not in seen:
            seen.add(repr(drawn))
            yield drawn


def main() -> None:
    """Write the four files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--to", type=Path, default=FOLDER, help="default: the package's folder")
    folder = parser.parse_args().to
    for file, count in HUTS.items():
        write_atomically(folder / "e2e" / file, e2e_csv(file == "trainset.csv", count))
    for file, count in THINGS.items():
        write_atomically(folder / "webnlg" / file, webnlg_json(file == "train.json", count))


if __name__ == "__main__":
    main()
