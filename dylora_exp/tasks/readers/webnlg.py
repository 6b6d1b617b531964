"""WebNLG 2017: from triples of DBpedia to a text, with categories unseen in training."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from dylora_exp.tasks.files import Broken, on_line
from dylora_exp.tasks.generation import (
    Entry,
    Form,
    GenerationReader,
    numbered,
    parse_json,
    triples_context,
)

_LINE = "line"


def _xml_items(text: str) -> Iterator[tuple[str, Element]]:
    """Yield each ``entry`` element."""
    before, doctype, _ = text.partition("<!DOCTYPE")
    if doctype:  # it could define entities that grow without end
        raise Broken("found a DOCTYPE, expected none", on_line(before.count("\n") + 1))
    try:
        tree = _tree(text)
    except expat.ExpatError as error:
        what = expat.ErrorString(error.code)
        raise Broken(f"the XML is broken ({what})", on_line(error.lineno)) from None
    for entry in tree.iter("entry"):
        yield on_line(int(entry.attrib[_LINE])), entry


def _tree(text: str) -> Element:
    """Parse XML; every element has the line it begins on as an attribute."""
    builder = TreeBuilder()
    parser = expat.ParserCreate()

    def start(tag: str, attributes: dict[str, str]) -> None:
        builder.start(tag, {**attributes, _LINE: str(parser.CurrentLineNumber)})

    parser.StartElementHandler = start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data
    parser.Parse(text, True)
    return builder.close()


def _xml_entry(entry: Element) -> Entry:
    triples = [
        tuple((triple.text or "").strip().split(" | "))
        for triple in entry.iterfind("modifiedtripleset/mtriple")
    ]
    texts = [(lex.get("comment"), "".join(lex.itertext())) for lex in entry.iterfind("lex")]
    return _entry(entry.get("category"), triples, texts)


def _json_items(text: str) -> Iterator[tuple[str, Any]]:
    """Yield each entry, which is the only value of an object."""
    tree = parse_json(text)
    entries = tree.get("entries") if isinstance(tree, dict) else None
    if not isinstance(entries, list):
        raise Broken("there is no list 'entries'")
    yield from numbered(entries)


def _json_entry(content: Any) -> Entry:
    inner = list(content.values()) if isinstance(content, dict) else []
    if len(inner) != 1 or not isinstance(inner[0], dict):
        raise Broken("found no object with one entry in it")
    triples = [
        tuple(triple.get(name) for name in ("subject", "property", "object"))
        for triple in _objects(inner[0], "modifiedtripleset")
    ]
    texts = [(lex.get("comment"), lex.get("lex")) for lex in _objects(inner[0], "lexicalisations")]
    return _entry(inner[0].get("category"), triples, texts)


def _objects(content: dict[str, Any], name: str) -> list[dict[str, Any]]:
    found = content.get(name)
    if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
        raise Broken(f"there is no list of objects '{name}'")
    return found


def _entry(category: Any, triples: list[tuple[Any, ...]], texts: list[tuple[Any, Any]]) -> Entry:
    """Check an entry's parts; only texts marked good are kept."""
    if not category or not isinstance(category, str):
        raise Broken("found an entry without category")
    if not triples:
        raise Broken("found an empty modifiedtripleset")
    for triple in triples:
        if len(triple) != 3 or not all(isinstance(part, str) and part.strip() for part in triple):
            shown = " | ".join(str(part) for part in triple)
            raise Broken(f"found triple '{shown}', expected subject | property | object")
    good = [text if isinstance(text, str) else "" for mark, text in texts if mark == "good"]
    return Entry(triples_context(triples), good, category)


READER = GenerationReader(
    folders=("webnlg", "webnlg_challenge_2017"),
    forms=(
        Form(
            "xml",
            {
                "train": ("train", "train.xml"),
                "dev": ("dev", "dev.xml"),
                # The publisher's test folder also holds the same entries without texts.
                "test": ("testdata_with_lex.xml", "test/testdata_with_lex.xml", "test.xml", "test"),
            },
            _xml_items,
            _xml_entry,
        ),
        Form(
            "json",
            {split: (f"{split}.json",) for split in ("train", "dev", "test")},
            _json_items,
            _json_entry,
        ),
    ),
)
