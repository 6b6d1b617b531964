from __future__ import annotations

import re
import struct
from pathlib import Path

from dylora_exp.config.overrides import options
from dylora_exp.reporting.render.drawing import METHOD_COLOURS, STYLES
from dylora_exp.reporting.render.figures import draw_figures, rank_curve
from tests.support.records import Results
from tests.support.tables import build, mini


def test_one_curve_a_task_on_its_headline(results: Results, tmp_path: Path) -> None:
    for seed in (10, 42):
        mini(results, "dylora", seed, sst2=0.9, f1=0.8, accuracy=0.7)
    paths = draw_figures(build(results, "mini"), tmp_path / "figures")
    assert [path.name for path in paths] == [
        "rank-quality-sst2.png",
        "rank-quality-sst2.svg",
        "rank-quality-mrpc.png",
        "rank-quality-mrpc.svg",
    ]


def test_the_band_goes_from_the_lowest_to_the_highest_seed(results: Results) -> None:
    results.demo("dylora", 10, 0.6)
    results.demo("dylora", 42, 0.8)
    table = build(results, "demo")
    curve = rank_curve(table, table.spec.rows[4], 0)
    assert list(curve) == list(range(1, 9))
    assert {(cell.low, cell.high) for cell in curve.values()} == {(60.0, 80.0)}


def test_the_files_carry_neither_date_nor_version(results: Results, tmp_path: Path) -> None:
    results.demo("dylora", 10, 0.6)
    png, svg = draw_figures(build(results, "demo"), tmp_path)
    assert not {b"tEXt", b"iTXt", b"tIME"} & set(chunk_types(png.read_bytes()))
    assert "dc:date" not in svg.read_text(encoding="utf-8")
    assert "atplotlib v" not in svg.read_text(encoding="utf-8")


def test_a_method_has_its_colour_in_every_figure(results: Results, tmp_path: Path) -> None:
    results.demo("dylora", 10, 0.6)
    alone = draw_figures(build(results, "demo"), tmp_path)[1].read_text(encoding="utf-8")
    results.demo("lora", 10, 0.6)
    both = draw_figures(build(results, "demo"), tmp_path)[1].read_text(encoding="utf-8")
    colour = METHOD_COLOURS["dylora"].lower()
    assert colour in alone and colour in both
    assert METHOD_COLOURS["lora"].lower() not in alone
    assert METHOD_COLOURS["lora"].lower() in both


def test_methods_and_rows_can_be_told_apart() -> None:
    assert set(options("method")) >= set(METHOD_COLOURS)
    assert len(set(METHOD_COLOURS.values())) == len(METHOD_COLOURS)
    assert len({marker for marker, _ in STYLES}) == len({line for _, line in STYLES}) == 8


def test_fine_tuning_is_a_level_line(results: Results, tmp_path: Path) -> None:
    results.demo("dylora", 10, 0.6)
    scores = {(None, None, None): {"accuracy": 0.9}}
    results.add("profile=demo task=demo method=finetune", 10, scores)
    svg = draw_figures(build(results, "demo"), tmp_path)[1].read_text(encoding="utf-8")
    assert re.search(rf"stroke: {METHOD_COLOURS['finetune']}", svg)


def chunk_types(png: bytes) -> list[bytes]:
    types, place = [], 8
    while place < len(png):
        (length,) = struct.unpack(">I", png[place : place + 4])
        types.append(png[place + 4 : place + 8])
        place += length + 12
    return types
