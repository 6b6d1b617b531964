"""Which series share a chart, and what the charts of many records look like."""

import itertools

import pytest

from dylora_exp.config import cut_name
from dylora_exp.reporting.analysis.display import method_name, rank_list
from dylora_exp.reporting.analysis.facets import MOST_SERIES, facets
from dylora_exp.reporting.analysis.report import make_report
from dylora_exp.reporting.analysis.sections import deciding
from dylora_exp.reporting.render.areas import area_rows
from dylora_exp.reporting.render.charts import pictures_of
from dylora_exp.reporting.render.styles import style_of
from tests.support.records import LEADING, many_records, mixed_records, renamed


def series_in(results):
    return deciding(make_report(results.folder, claims=[]).series)


def test_few_series_share_one_chart(results):
    results.demo("lora", 10, 0.7)
    results.demo("dylora", 10, 0.8)
    (facet,) = facets(series_in(results))
    assert facet.about == "" and len(facet.series) == 4


def test_too_many_are_split_by_their_cut_and_level_lines_are_repeated(results):
    for method in ("dylora", "dylora-frozen", "nested-dropout"):
        results.demo(method, 10, 0.8)
    results.demo("lora", 10, 0.7)
    scores = {(None, None, None): {"accuracy": 0.9}}
    results.add("profile=demo task=demo method=finetune", 10, scores)
    first, second = facets(series_in(results))
    assert (first.about, second.about) == ("leading, α/b", "leading, α/r; SVD, α/r")
    names = [{one.group.names[3] for one in facet.series} for facet in (first, second)]
    assert names == [
        {"lora", "dylora", "dylora-frozen", "nested-dropout", "finetune"},
        {"lora", "finetune"},
    ]


def test_runs_of_one_method_with_other_settings_have_charts_of_their_own(results):
    for words in ("", "ranks.r_max=4", "method.alpha=32", "trainer.learning_rate=0.001"):
        scores = {(rank, *LEADING): {"accuracy": 0.8} for rank in range(1, 5)}
        results.add(f"profile=demo task=demo method=dylora {words}", 10, scores)
    found = facets(series_in(results))
    assert [len(facet.series) for facet in found] == [1] * 4
    assert len({facet.about for facet in found}) == 4
    assert any("maximum rank 4" in facet.about for facet in found)
    assert any("method.alpha=32" in facet.about for facet in found)
    assert any("trainer.learning_rate=0.001" in facet.about for facet in found)


@pytest.mark.parametrize("make", [mixed_records, many_records])
def test_every_series_is_in_a_chart_and_none_has_more_than_six(results, make):
    for record in make(40):
        results.store.write(record)
    by_subject = {}
    for one in series_in(results):
        by_subject.setdefault(one.group.subject, []).append(one)
    for series in by_subject.values():
        found = facets(series)
        shown = [one for facet in found for one in facet.series]
        assert {id(one) for one in shown} == {id(one) for one in series}
        assert max(len(facet.series) for facet in found) <= MOST_SERIES == 6
        assert len({facet.about for facet in found}) == len(found)
        for facet in found:
            kinds = [(one.group.names[3], one.cut) for one in facet.series]
            assert len(kinds) == len(set(kinds))


def test_nothing_of_a_figure_is_clipped_and_names_are_names(results):
    for record in mixed_records(40):
        results.store.write(record)
    long = "a method with a very long name, " * 3
    template = results.demo("lora", 7, 0.5)
    for name in (long, "_hidden $x^2$"):
        results.store.write(renamed(template, method=name))
    texts = []
    for picture in itertools.chain(*pictures_of(make_report(results.folder, claims=[])).values()):
        figure = picture.figure
        figure.draw_without_rendering()
        whole = figure.get_tightbbox()
        width, height = figure.get_size_inches()
        assert whole.x0 >= -0.01 and whole.y0 >= -0.01, picture.name
        assert whole.x1 <= width + 0.01 and whole.y1 <= height + 0.01, picture.name
        texts += [text.get_text() for legend in figure.legends for text in legend.get_texts()]
        assert picture.title and picture.alt and picture.caption
    assert any(long[:30] in text for text in texts)
    assert any("_hidden" in text for text in texts)
    assert not any("alpha/" in text or "dylora-frozen" in text for text in texts)


def test_a_method_looks_the_same_in_every_chart(results):
    for record in mixed_records(40):
        results.store.write(record)
    looks = {}
    for pictures in pictures_of(make_report(results.folder, claims=[])).values():
        for picture in pictures:
            for line in picture.figure.axes[0].lines:
                name = line.get_label().split(" (leading")[0].split(" (SVD")[0]
                if line.get_marker() not in ("None", "|", "") and not name.startswith("_"):
                    looks.setdefault(name, set()).add((line.get_color(), line.get_marker()))
    style = style_of("dylora")
    assert looks["DyLoRA"] == {(style.colour, style.marker)}
    assert all(len(found) == 1 for found in looks.values())


def test_areas_are_over_ranks_that_all_have(results):
    for words, ranks in (("", (1, 2, 4)), ("ranks.r_max=4", (1, 2, 3, 4))):
        scores = {(rank, *LEADING): {"accuracy": rank / 10} for rank in ranks}
        results.add(f"profile=demo task=demo method=dylora {words}", 10, scores)
    ((ranks, rows),) = area_rows(series_in(results))
    assert ranks == (1, 2, 4)
    # The same straight line, whichever ranks it was scored at.
    assert [row.area.mean for row in rows] == pytest.approx([0.25, 0.25])
    scores = {(rank, *LEADING): {"accuracy": 0.5} for rank in (16, 32)}
    results.add("profile=demo task=demo method=dylora ranks.r_max=32", 10, scores)
    assert {ranks for ranks, _ in area_rows(series_in(results))} == {
        *((1, 2, 4), (1, 2, 3, 4), (16, 32))
    }


def test_names_in_print():
    assert rank_list([1]) == "rank 1" and rank_list([1, 2, 4]) == "ranks 1, 2, 4"
    assert rank_list([1, 2, 3, 8, 9]) == "ranks 1–3, 8, 9"
    assert cut_name("leading", "alpha/b") == "leading, α/b" and cut_name("svd") == "SVD"
    assert method_name("dylora-frozen") == "DyLoRA (Frozen)" and method_name("mine") == "mine"
