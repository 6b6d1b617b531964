import dataclasses
import json
import re
import shutil
import subprocess
from html import unescape
from html.parser import HTMLParser

import pytest

from dylora_exp.reporting.analysis.decisions import FAILS, HOLDS
from dylora_exp.reporting.analysis.report import make_report
from dylora_exp.reporting.render import html
from dylora_exp.reporting.render.charts import pictures_of
from dylora_exp.reporting.render.html import page
from dylora_exp.reporting.render.live import library
from dylora_exp.reporting.render.paper_tables import tables_of
from dylora_exp.reporting.render.styles import METHOD_STYLES
from dylora_exp.reporting.render.text_table import TextLine, TextTable, markdown
from tests.support.records import ENVIRONMENT, LEADING, Results
from tests.support.tables import rows_of

VOID = {"meta", "br", "hr", "img", "link", "input"}
CELL = r"<t[dh][ >].*?</t[dh]>"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


class Outline(HTMLParser):
    """Checks that every element is closed, and counts them."""

    def __init__(self):
        super().__init__()
        self.open, self.counts, self.attributes, self.texts = [], {}, [], []

    def handle_starttag(self, tag, attrs):
        self.counts[tag] = self.counts.get(tag, 0) + 1
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.counts[tag] = self.counts.get(tag, 0) + 1

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


def outline(text):
    parser = Outline()
    parser.feed(text)
    parser.close()
    assert parser.open == []
    return parser


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return Results(tmp_path_factory.mktemp("results"))


@pytest.fixture(scope="module")
def report(results):
    for seed, add in ((10, 0.0), (42, 0.02), (1010, 0.05)):
        drawn = {"drawn_ranks": {"1": 30, "2": 70}}
        timing = {"train_seconds": 100.0 + seed / 10}
        results.demo("lora", seed, 0.7 + add, timing=timing)
        results.demo("dylora", seed, 0.8 - add, timing=timing, training=drawn)
    environment = {**ENVIRONMENT, "hardware": "<script>alert(1)</script> & more"}
    results.add(
        "profile=demo task=demo method=finetune",
        10,
        {(None, None, None): {"accuracy": 0.95}},
        timing={"train_seconds": 300.0},
        environment=environment,
    )
    return make_report(results.folder)


@pytest.fixture(scope="module")
def text(report):
    return page(report, pictures_of(report), tables_of(report.records))


def test_the_page_is_whole_and_needs_nothing_else(text):
    found = outline(without_library(text))
    assert found.counts["html"] == found.counts["body"] == found.counts["script"] == 1
    assert found.counts["img"] == 4
    assert not {"link", "iframe"} & found.counts.keys()
    assert "onclick" not in dict(found.attributes)
    sources = [value for name, value in found.attributes if name == "src"]
    assert all(value.startswith("data:image/svg+xml;base64,") for value in sources)
    assert not re.search(r"https?://|@import|url\(", without_library(text))
    said = " ".join(found.texts)
    for title in (
        "The answer",
        "Claims",
        "Recommended rank",
        "Cost",
        "Averages over seeds",
        "Paired differences",
    ):
        assert title in said
    assert "dylora-keeps-low-ranks" in said
    assert "seeds: 10, 42, 1010" in said and "commits: abcdef0" in said
    assert "in 7 of 7 records made before records held metric versions" in said
    assert "Holm" in said and "difference above -0.01 (project's bound)" in said


def test_the_answer_comes_first_and_every_link_has_its_place(text):
    found = outline(without_library(text))
    parts = [f'<h2 id="{part}">' for part in ("answer", "claims", "tables", "figures", "details")]
    places = [text.index(part) for part in parts]
    assert places == sorted(places)
    ids = [value for name, value in found.attributes if name == "id"]
    links = [value for name, value in found.attributes if name == "href"]
    assert len(ids) == len(set(ids)) and len(links) > 8
    assert {link.removeprefix("#") for link in links} <= set(ids)
    assert all(value for name, value in found.attributes if name == "alt")
    assert found.counts["figcaption"] == found.counts["figure"] == found.counts["img"]


def test_the_answer_is_a_pivot_in_percent(text):
    answer = text[text.index('<h2 id="answer">') : text.index('<h2 id="claims">')]
    rows = [
        [unescape(re.sub("<[^>]+>", "", cell)) for cell in re.findall(CELL, row, re.DOTALL)]
        for row in re.findall(r"<tr>.*?</tr>", answer, re.DOTALL)
    ]
    head, *body = rows
    by_name = {row[0]: dict(zip(head, row, strict=True)) for row in body}
    assert by_name["DyLoRA (leading, α/b)"]["rank 1"] == "77.67 ±2.52"
    assert by_name["LoRA (SVD, α/r)"]["rank 8"] == "72.33 ±2.52"
    assert by_name["DyLoRA (leading, α/b)"]["deploy"] == "1"
    assert by_name["Fine-tune"]["without ranks"] == "95.00"
    assert by_name["Fine-tune"]["train s"] == "300.0"
    assert "<b>77.67</b>" in answer and "<b>72.33</b>" not in answer
    assert "deploy rank 1" in answer


def test_claims_without_data_are_folded_away(report):
    one, other, *rest = report.verdicts
    decided = (
        dataclasses.replace(one, word=HOLDS, reason=""),
        dataclasses.replace(other, word=FAILS, reason=""),
    )
    text = page(dataclasses.replace(report, verdicts=(*decided, *rest)), {}, [])
    claims = text[text.index('<h2 id="claims">') : text.index('<h2 id="tables">')]
    before, folded = claims.split("<details>", 1)
    assert re.findall('<tr class="(good|bad)">', before) == ["good", "bad"]
    assert "<td class=t>not enough data</td>" not in before
    assert folded.count("<td class=t>not enough data</td>") == len(rest)
    assert "1 hold<" in before and "1 do not hold<" in before


def test_the_library_of_live_charts_is_embedded_whole(text):
    if library() is None:
        pytest.skip("youplot, which carries uPlot, is not installed")
    assert library().script in text and library().style in text
    assert "Copyright (c) 2022 Leon Sorokin" in text
    assert len(library().script + library().style) < 60_000
    found = outline(without_library(text))
    charts = [json.loads(value) for name, value in found.attributes if name == "data-chart"]
    ranks, cost = charts
    assert ranks["at"] == list(range(1, 9)) and ranks["y"] == "Accuracy (%)"
    values = {line["label"]: line["values"] for line in ranks["series"]}
    assert values["DyLoRA (leading, α/b)"] == pytest.approx([77.6667] * 8)
    assert values["Fine-tune"] == [95.0] * 8
    assert cost["x"] == "training, seconds" and 300.0 in cost["at"]


def test_without_the_library_the_page_has_its_images(report, monkeypatch):
    monkeypatch.setattr(html, "library", lambda: None)
    text = page(report, pictures_of(report), [])
    found = outline(text)
    assert found.counts["script"] == 1 and found.counts["img"] == 4
    assert "data-chart" not in dict(found.attributes) and "uPlot" not in text


def without_library(text):
    """Return a page without the script and the style that are not the project's own."""
    found = library()
    if found is None:
        return text
    return text.replace(found.script, "").replace(found.style, "")


def test_texts_are_escaped(text):
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; more" in text


def test_tables_have_what_their_markdown_has(text):
    assert "Table 2: One training run, scored at every rank (demo)" in text
    assert "Table 8: Hyperparameters" in text
    assert "Made from: profile demo; seeds 10, 42, 1010" in text
    assert "(mini)" not in text


def test_a_filter_makes_no_tables(results, report):
    filtered = make_report(results.folder, "method=dylora")
    assert "None: a filter would make runs look missing." in page(filtered, {}, [])


def test_a_table_has_every_cell_of_its_markdown(report, text):
    """The page and the Markdown are written apart from each other, from the same tables."""
    found = page_tables(text)
    tables = tables_of(report.records)
    assert len(found) == len(tables) > 2
    for cells, table in zip(found, tables, strict=True):
        first, _, *rest = rows_of(markdown(table))
        assert cells == [[bare(cell) for cell in row] for row in [first, *rest]]
    assert "<b>" in text and "<td class=t><em>paper" not in text  # the paper has no demo


def test_marks_of_a_table_are_elements_and_its_texts_are_escaped(report):
    lines = (
        TextLine("x | y", ("1", "<i>"), (True, False)),
        TextLine("paper (*M*)", ("2", "&"), (False, False), paper=True),
    )
    table = TextTable(
        *("T", "demo", "", "A < B", "Some\nwords.", "Method", True),
        *(("p", "q"), (("block", lines),), ("one", "two"), ()),
    )
    found = page(report, {}, [table])
    outline(found)
    assert '<h3 id="table-1">A &lt; B (demo)</h3>' in found
    assert "<p>Some\nwords.</p>" in found
    heads = ('" class=t>', '" class=t>Method', '">p', '">q')
    assert "".join(f'<th scope="col{head}</th>' for head in heads) in found
    assert (
        "<td class=t>block</td><td class=t>x | y</td><td><b>1</b></td><td>&lt;i&gt;</td>" in found
    )
    assert "<td class=t></td><td class=t><em>paper (*M*)</em></td><td>2</td><td>&amp;</td>" in found
    assert "<ul><li>one</li><li>two</li></ul>" in found


def bare(cell):
    """Return a Markdown cell without the marks of bold and italics."""
    return re.sub(r"^(\*{1,2})(.+)\1$", r"\2", cell)


def page_tables(text):
    """Return the cells of the tables at the end of a page, row by row."""
    tables = re.findall(r"<table>.*?</table>", text[text.index('<h2 id="tables">') :], re.DOTALL)
    rows = [re.findall(r"<tr>.*?</tr>", table, re.DOTALL) for table in tables]
    return [
        [
            [unescape(re.sub("<[^>]+>", "", cell)) for cell in re.findall(CELL, row, re.DOTALL)]
            for row in found
        ]
        for found in rows
    ]


def charts(report):
    """Return the figures of each profile, model and task by their kinds."""
    return {
        subject: {picture.name.split("-")[-1]: picture.figure for picture in pictures}
        for subject, pictures in pictures_of(report).items()
    }


def test_charts(report):
    ((subject, figures),) = charts(report).items()
    assert subject == ("demo", "tiny-roberta", "demo")
    assert list(figures) == ["ranks", "aurac", "cost", "drawn"]
    (axes,) = figures["ranks"].axes
    lines = {line.get_label(): line for line in axes.lines}
    assert len(axes.collections) == 4  # a band for each series with ranks
    leading = lines["LoRA (leading, α/b)"]
    assert leading.get_color() == METHOD_STYLES["lora"].colour
    assert list(leading.get_xdata()) == list(range(1, 9))
    assert leading.get_ydata() == pytest.approx([70 + 7 / 3] * 8)
    bands = [{round(y, 9) for _, y in band.get_paths()[0].vertices} for band in axes.collections]
    assert {70.0, 75.0} in bands and {75.0, 80.0} in bands
    assert list(lines["Fine-tune"].get_ydata()) == [95.0, 95.0]  # a level line
    assert lines["DyLoRA (leading, α/b)"].get_color() == METHOD_STYLES["dylora"].colour
    assert lines["DyLoRA (leading, α/b)"].get_marker() != leading.get_marker()
    assert lines["LoRA (SVD, α/r)"].get_marker() == leading.get_marker()
    assert lines["LoRA (SVD, α/r)"].get_linestyle() != leading.get_linestyle()
    areas = figures["aurac"].axes[0]
    assert areas.get_yticklabels()[0].get_text() == "DyLoRA (leading, α/b)"
    dots = [line.get_xdata()[0] for line in areas.lines if line.get_marker() in "os"]
    assert dots == pytest.approx([80 - 7 / 3, *[70 + 7 / 3] * 3])
    assert areas.get_xlabel() == "AURAC of Accuracy (%) over ranks 1–8"
    points = {line.get_label(): line for line in figures["cost"].axes[0].lines}
    assert [*points["Fine-tune"].get_xdata(), *points["Fine-tune"].get_ydata()] == [300.0, 95.0]
    (drawn,) = figures["drawn"].axes[0].lines
    assert drawn.get_ydata() == pytest.approx([30, 70])
    assert "bands" in pictures_of(report)[subject][0].caption.lower()
    assert "DyLoRA (leading, α/b): 77.67 at rank 1" in pictures_of(report)[subject][0].alt


def test_a_search_costs_all_its_runs(tmp_path):
    results = Results(tmp_path)
    for r_max, accuracy, seconds in ((4, 0.8, 30.0), (8, 0.7, 50.0)):
        results.add(
            f"profile=demo task=demo method=lora ranks.r_max={r_max}",
            10,
            {(rank, *LEADING): {"accuracy": accuracy} for rank in range(1, r_max + 1)},
            timing={"train_seconds": seconds},
        )
    (figures,) = charts(make_report(tmp_path)).values()
    (found,) = [
        line for line in figures["cost"].axes[0].lines if "search over 2" in line.get_label()
    ]
    # Rank 4 after its own run, rank 8 after both.
    assert [*found.get_xdata(), *found.get_ydata()] == pytest.approx([30, 80, 80, 70])
    assert [text.get_text() for text in figures["cost"].axes[0].texts] == ["4", "8"]


def test_figures_are_written_twice_the_same(report, tmp_path):
    first, second = (
        [path for picture in found for path in picture.save(tmp_path / name)]
        for name in ("one", "two")
        for found in pictures_of(report).values()
    )
    names = [path.name for path in first]
    assert names[:2] == ["demo-tiny-roberta-demo-ranks.png", "demo-tiny-roberta-demo-ranks.svg"]
    assert len(names) == 8
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes() == other.read_bytes()
        assert one.read_bytes().startswith((b"\x89PNG", b"<?xml"))


CHECKS = """
<script>
  const table = document.querySelector("table.sort");
  const head = [...table.tHead.rows[0].cells].findIndex((c) => c.textContent === "rank");
  const sorts = [...document.querySelectorAll("table.sort")].map((table) => {
    const cells = [...table.tHead.rows[0].cells];
    const place = cells.findIndex((cell) => cell.textContent === "mean");
    if (place < 0) return "";
    const column = () => [...table.tBodies[0].rows].map((row) => row.cells[place].textContent);
    cells[place].click();
    const up = column();
    cells[place].click();
    return JSON.stringify([up, column()]);
  });
  const images = [...document.images].map((i) => [i.naturalWidth, i.getBoundingClientRect().width]);
  const charts = [...document.querySelectorAll("figure.live")].map((figure) => {
    const width = figure.querySelector("canvas").getBoundingClientRect().width;
    const over = figure.querySelector(".u-over");
    const box = over.getBoundingClientRect();
    const at = { bubbles: true, clientX: box.left + 2, clientY: box.top + 9 };
    over.dispatchEvent(new MouseEvent("mousemove", at));
    const name = figure.querySelectorAll(".u-series:not(.band) th")[1];
    name.click();
    return [width, figure, name.closest("tr").className];
  });
  const root = document.documentElement;
  setTimeout(() => {
    const live = charts.map(([width, figure, off]) => [
      width, figure.querySelector(".u-legend").innerText, off,
    ]);
    const page = [root.scrollWidth, root.clientWidth];
    root.dataset.seen = JSON.stringify({ sorts, images, live, page });
  }, 300);
</script>
"""


@pytest.fixture(scope="module")
def browser():
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip(f"no browser here; looked for {', '.join(BROWSERS)}")
    return found


def visit(browser, folder, path, *words):
    return subprocess.run(
        [
            *(browser, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"),
            *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
            *(f"--user-data-dir={folder / 'profile'}", "--virtual-time-budget=5000", *words),
            path.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    ).stdout


def test_a_browser_opens_sorts_and_shows(browser, text, tmp_path):
    path = tmp_path / "report.html"
    path.write_text(text.replace("</body>", f"{CHECKS}</body>"), encoding="utf-8")
    dom = visit(browser, tmp_path, path, "--dump-dom")
    assert "Averages over seeds" in dom
    seen = json.loads(unescape(re.search(r'data-seen="([^"]*)"', dom)[1]))
    assert len(seen["images"]) == 4 and seen["page"][0] <= seen["page"][1]
    live = seen["live"] if library() else []
    assert len(live) == (2 if library() else 0)
    # An image that a live chart stands for is not shown.
    assert sorted(shown > 300 for _, shown in seen["images"]) == [False] * len(live) + [True] * (
        4 - len(live)
    )
    assert all(natural > 300 for natural, _ in seen["images"])
    assert all(width > 300 and "u-off" in off for width, _, off in live)
    assert not live or "77.67" in live[0][1]  # DyLoRA's value at the mouse
    (sorts,) = [found for found in seen["sorts"] if found]
    up, down = ([float(cell) for cell in column if cell] for column in json.loads(sorts))
    assert up == sorted(up) and down == sorted(down, reverse=True) and len(set(up)) > 1


WIDTHS = """
<script>
  const root = document.documentElement;
  const inside = (element) => element.closest(".scroll, .chart, thead, small") !== null;
  const cut = [...document.querySelectorAll("body *")].filter((element) =>
    element.getBoundingClientRect().right > root.clientWidth + 1 && !inside(element));
  const links = [...document.links].filter((a) => !document.getElementById(a.hash.slice(1)));
  root.dataset.seen = JSON.stringify({
    width: root.clientWidth, scroll: root.scrollWidth, links: links.length,
    cut: cut.map((element) => element.outerHTML.slice(0, 80)),
    colour: getComputedStyle(document.body).backgroundColor,
  });
</script>
"""


@pytest.mark.slow
@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [390, 800, 1400])
def test_a_browser_shows_the_whole_page_at_each_width(browser, text, tmp_path, width, dark):
    path, frame = tmp_path / "report.html", tmp_path / "frame.html"
    path.write_text(text.replace("</body>", f"{WIDTHS}</body>"), encoding="utf-8")
    # A window has a least width of its own, a frame has not.
    message = "<script>onload = () => { document.documentElement.dataset.seen = "
    message += "frames[0].document.documentElement.dataset.seen; }</script>"
    shown = f'<iframe src="report.html" style="width:{width}px;height:900px;border:0"></iframe>'
    frame.write_text(shown + message, encoding="utf-8")
    scheme = [f"--blink-settings=preferredColorScheme={0 if dark else 1}"]
    flags = ["--allow-file-access-from-files", "--window-size=1600,1000", "--dump-dom", *scheme]
    dom = visit(browser, tmp_path, frame, *flags)
    seen = json.loads(unescape(re.search(r'data-seen="([^"]*)"', dom)[1]))
    assert width - 20 <= seen["width"] <= width
    assert seen["scroll"] <= seen["width"] and seen["cut"] == [] and seen["links"] == 0
    assert seen["colour"] == ("rgb(23, 25, 27)" if dark else "rgb(255, 255, 255)")


def test_a_browser_prints(browser, text, tmp_path):
    path, pdf = tmp_path / "report.html", tmp_path / "report.pdf"
    path.write_text(text, encoding="utf-8")
    visit(browser, tmp_path, path, f"--print-to-pdf={pdf}")
    content = pdf.read_bytes()
    assert content.startswith(b"%PDF")
    assert len(re.findall(rb"/Type\s*/Page\b", content)) > 1
