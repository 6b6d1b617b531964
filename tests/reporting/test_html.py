import json
import re
import shutil
import subprocess
from html import unescape
from html.parser import HTMLParser

import pytest

from dylora_exp.reporting.analysis.report import make_report
from dylora_exp.reporting.render.charts import pictures_of
from dylora_exp.reporting.render.drawing import METHOD_COLOURS
from dylora_exp.reporting.render.html import page
from dylora_exp.reporting.render.paper_tables import tables_of
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
    found = outline(text)
    assert found.counts["html"] == found.counts["body"] == found.counts["script"] == 1
    assert found.counts["img"] == 4
    assert not {"link", "iframe"} & found.counts.keys()
    assert not [name for name, _ in found.attributes if name in ("href", "onclick")]
    sources = [value for name, value in found.attributes if name == "src"]
    assert all(value.startswith("data:image/svg+xml;base64,") for value in sources)
    assert not re.search(r"https?://|@import|url\(", text)
    said = " ".join(found.texts)
    for title in (
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
    assert "<h3>A &lt; B (demo)</h3>" in found
    assert "<p>Some\nwords.</p>" in found
    assert "<th class=t></th><th class=t>Method</th><th>p</th><th>q</th>" in found
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
    tables = re.findall(r"<table>.*?</table>", text[text.index("<h2>Tables</h2>") :], re.DOTALL)
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
    leading = lines["lora (leading alpha/b)"]
    assert leading.get_color() == METHOD_COLOURS["lora"]
    assert list(leading.get_xdata()) == list(range(1, 9))
    assert leading.get_ydata() == pytest.approx([0.7 + 0.07 / 3] * 8)
    band = axes.collections[[*lines].index("lora (leading alpha/b)") - ("finetune" in lines)]
    assert {round(y, 9) for _, y in band.get_paths()[0].vertices} == {0.7, 0.75}
    assert list(lines["finetune"].get_ydata()) == [0.95, 0.95]  # a level line
    assert lines["dylora (leading alpha/b)"].get_color() == METHOD_COLOURS["dylora"]
    assert lines["dylora (leading alpha/b)"].get_marker() != leading.get_marker()
    heights = [bar.get_height() for bar in figures["aurac"].axes[0].patches]
    assert heights == pytest.approx([0.8 - 0.07 / 3, *[0.7 + 0.07 / 3] * 3])
    points = {line.get_label(): line for line in figures["cost"].axes[0].lines}
    assert [*points["finetune"].get_xdata(), *points["finetune"].get_ydata()] == [300.0, 0.95]
    shares = [bar.get_height() for bar in figures["drawn"].axes[0].patches]
    assert shares == pytest.approx([0.3, 0.7])


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
    assert [*found.get_xdata(), *found.get_ydata()] == [30.0, 80.0, 0.8, 0.7]
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
  document.documentElement.dataset.seen = JSON.stringify({ sorts, images });
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
    assert len(seen["images"]) == 4
    assert all(natural > 300 and shown > 300 for natural, shown in seen["images"])
    (sorts,) = [found for found in seen["sorts"] if found]
    up, down = ([float(cell) for cell in column if cell] for column in json.loads(sorts))
    assert up == sorted(up) and down == sorted(down, reverse=True) and len(set(up)) > 1


def test_a_browser_prints(browser, text, tmp_path):
    path, pdf = tmp_path / "report.html", tmp_path / "report.pdf"
    path.write_text(text, encoding="utf-8")
    visit(browser, tmp_path, path, f"--print-to-pdf={pdf}")
    content = pdf.read_bytes()
    assert content.startswith(b"%PDF")
    assert len(re.findall(rb"/Type\s*/Page\b", content)) > 1
