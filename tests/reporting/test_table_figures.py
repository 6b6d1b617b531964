from __future__ import annotations

import re
import struct
from pathlib import Path

from dylora_exp.config.choices import options
from dylora_exp.reporting.analysis.display import METHOD_NAMES
from dylora_exp.reporting.render.figures import draw_figures, rank_curve
from dylora_exp.reporting.render.styles import CUT_LINES, METHOD_STYLES, style_of
from tests.support.records import LEADING, SVD, Results
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
    colour = METHOD_STYLES["dylora"].colour.lower()
    assert colour in alone and colour in both
    assert METHOD_STYLES["lora"].colour.lower() not in alone
    assert METHOD_STYLES["lora"].colour.lower() in both


def test_methods_and_rows_can_be_told_apart() -> None:
    assert set(options("method")) == set(METHOD_STYLES) == set(METHOD_NAMES)
    styles = METHOD_STYLES.values()
    assert len({style.colour for style in styles}) == len(METHOD_STYLES)
    assert len({style.marker for style in styles}) == len(METHOD_STYLES)
    cuts = {cut: line for cut, line in CUT_LINES.items() if cut}
    assert len(set(cuts.values())) == len(cuts)
    assert style_of("a user's own") == style_of("a user's own") != style_of("another of theirs")
    assert not style_of("lora", again=True).filled


def test_a_table_of_many_rows_has_figures_of_six_series_each(
    results: Results, tmp_path: Path
) -> None:
    methods = ("dylora", "dylora-frozen", "lora", "nested-dropout", "matryoshka", "sorted-lora")
    for method in methods:
        cut = ("leading", "alpha/r") if method in ("matryoshka", "sorted-lora") else LEADING
        cuts = [cut, *([SVD] if method == "lora" else [])]
        scores = {(rank, *each): {"accuracy": 0.8} for rank in range(1, 9) for each in cuts}
        results.add(f"profile=demo task=demo method={method}", 10, scores)
    scores = {(None, None, None): {"accuracy": 0.9}}
    results.add("profile=demo task=demo method=finetune", 10, scores)
    paths = draw_figures(build(results, "demo", "methods"), tmp_path)
    assert [path.name for path in paths if path.suffix == ".svg"] == [
        *("methods-demo.svg", "methods-demo-2.svg")
    ]


def test_fine_tuning_is_a_level_line(results: Results, tmp_path: Path) -> None:
    results.demo("dylora", 10, 0.6)
    scores = {(None, None, None): {"accuracy": 0.9}}
    results.add("profile=demo task=demo method=finetune", 10, scores)
    svg = draw_figures(build(results, "demo"), tmp_path)[1].read_text(encoding="utf-8")
    assert re.search(rf"stroke: {METHOD_STYLES['finetune'].colour}", svg)


def chunk_types(png: bytes) -> list[bytes]:
    types, place = [], 8
    while place < len(png):
        (length,) = struct.unpack(">I", png[place : place + 4])
        types.append(png[place + 4 : place + 8])
        place += length + 12
    return types
