"""What a spec can say beside ranks of one run: searches, overrides, parameters, times, areas."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable
from pathlib import Path

import pytest

from dylora_exp.core.errors import RequestError
from dylora_exp.reporting.analysis.cells import Table, build_table
from dylora_exp.reporting.analysis.measures import MEASURES, Cell, CellContext, Measure
from dylora_exp.reporting.make_tables import make_tables
from dylora_exp.reporting.render.figures import draw_figures
from dylora_exp.reporting.specs.tables import load_spec, profiles_of, shows_settings, table_names
from tests.support import tables
from tests.support.records import LEADING, LEADING_R, SVD, Results
from tests.support.tables import block_of, cell_of, csv_text, latex, make_table, markdown, rows_of

DEMO = "profile=demo task=demo"
# Those of scores; what tables of settings say is in test_table_settings.
DEMO_TABLES = [n for n in table_names() if "demo" in profiles_of(n) and not shows_settings(n)]
WriteSpec = Callable[[str, str], Path]


def build(results: Results, name: str, profile: str = "demo") -> Table:
    return tables.build(results, profile, name)


def add_lora(results: Results, r_max: int, seed: int, accuracy: float, seconds: float) -> None:
    """A LoRA trained at a rank; at the ranks below it is of no use."""
    scores = {
        (rank, *cut): {"accuracy": accuracy if rank == r_max else 0.01}
        for rank in range(1, r_max + 1)
        for cut in (LEADING, LEADING_R, SVD)
    }
    timing = {"train_seconds": seconds}
    results.add(f"{DEMO} method=lora ranks.r_max={r_max}", seed, scores, timing=timing)


def add_search(results: Results) -> None:
    """Four LoRAs of 10 s and a frozen DyLoRA of 12 s, for each of two seeds."""
    best = {1: (0.50, 0.60), 2: (0.70, 0.72), 4: (0.76, 0.60), 8: (0.69, 0.71)}
    for r_max, accuracies in best.items():
        for seed, accuracy in zip((10, 42), accuracies, strict=True):
            add_lora(results, r_max, seed, accuracy, 10.0)
    for seed in (10, 42):
        results.demo("dylora-frozen", seed, 0.65, timing={"train_seconds": 12.0})


def test_a_search_takes_the_best_of_its_runs_and_sums_their_time(results: Results) -> None:
    add_search(results)
    table = build(results, "5")
    best = cell_of(table, "Maximum rank 8: best mean", "LoRA (Search)", 1)
    # Means 55, 71, 68, 70; the deviation of 70 and 72 is sqrt(2).
    assert (best.mean, best.at, best.n) == (pytest.approx(71), 2, 2)
    assert best.std == pytest.approx(math.sqrt(2))
    run = cell_of(table, "Maximum rank 8: best run", "LoRA (Search)", 1)
    assert (run.mean, run.at, run.n) == (pytest.approx(76), 4, None)
    rows = rows_of(markdown(table))
    assert rows[2][1:] == ["LoRA (Search)", "4 runs, 3.3x", "**71.00±1.41 (2) @2**"]
    assert rows[3][1:] == ["DyLoRA (Frozen)", "1 run, 1.0x", "65.00±0.00 (2) @1"]
    # Below, the search is smaller and the DyLoRA run of that block is not there.
    assert cell_of(table, "Maximum rank 4: best mean", "LoRA (Search)", 1).at == 2
    assert rows[8][2] == "3 runs"


def test_a_search_without_all_its_runs_has_no_cost(results: Results) -> None:
    add_lora(results, 1, 10, 0.5, 10.0)
    add_lora(results, 8, 42, 0.6, 10.0)
    results.demo("dylora-frozen", 10, 0.65, timing={"train_seconds": 12.0})
    line = block_of(build(results, "5"), "Maximum rank 8: best mean").lines[0]
    assert (line.cells[0].mean, line.cells[0].runs) == (None, None)
    assert (line.cells[1].mean, line.cells[1].at) == (pytest.approx(60), 8)


def test_a_cost_is_never_bold_and_is_in_the_csv(results: Results) -> None:
    add_search(results)
    table = build(results, "5")
    assert not any(line.cells[0].bold for block in table.blocks for line in block.lines)
    first = next(csv.DictReader(io.StringIO(csv_text(table))))
    assert (first["row"], first["metric"], first["runs"]) == ("LoRA (Search)", "cost", "4")
    assert float(first["mean"]) == pytest.approx(40 / 12)


def test_table_1_is_transposed_and_each_rank_has_its_own_run(results: Results) -> None:
    for r_max, accuracy in ((1, 0.5), (2, 0.6), (4, 0.8), (8, 0.7)):
        add_lora(results, r_max, 10, accuracy, 1.0)
    table = build(results, "1")
    assert rows_of(markdown(table))[0] == ["", "", *(f"Rank = {rank}" for rank in (1, 2, 4, 8))]
    cells = ["50.00 (1) †", "60.00 (1) †", "**80.00 (1) †**", "70.00 (1) †"]
    assert rows_of(markdown(table))[2] == ["", "Demo task (accuracy)", *cells]
    assert r"& Task & Rank = 1 & Rank = 2 & Rank = 4 & Rank = 8 \\" in latex(table)
    assert r"\begin{tabular}{llrrrr}" in latex(table)


def test_the_printed_values_of_a_transposed_table_stand_at_their_task() -> None:
    spec, part = load_spec("1", "paper")
    table = build_table("1", "paper", spec, part, {})
    rows = rows_of(markdown(table))
    numbers = ["89.14", "89.96", "90.33", "90.69", "90.95", "91.02"]
    assert rows[2][1] == "QQP (accuracy)"
    assert rows[3] == ["", "*paper (RoBERTa-base)*", *numbers]


def test_rows_of_one_method_with_other_settings_do_not_mix(results: Results) -> None:
    for seed in (10, 42):
        ranks = [(rank, *LEADING) for rank in range(1, 9)]
        for words, accuracy in (("", 0.6), (" ranks=geometric", 0.8)):
            scores = {cut: {"accuracy": accuracy} for cut in ranks}
            results.add(f"{DEMO} method=dylora{words}", seed, scores)
    table = build(results, "4")
    assert [line.cells[0].mean for line in block_of(table, "Rank = 1").lines] == [
        *(pytest.approx(80), None, pytest.approx(60), None)
    ]
    assert len(table.records) == 4


def test_missing_runs_are_told_with_their_overrides(results: Results) -> None:
    results.demo("dylora", 10, 0.6)
    text = markdown(build(results, "4"))
    assert (
        "- † Missing (no record): dylora (ranks=geometric), dylora-frozen (ranks=geometric), "
        "dylora-frozen on demo, seeds 10, 42; dylora on demo, seed 42.\n"
    ) in text


def fill_table_3(results: Results, parameters: dict[str, int]) -> None:
    small = {"trainable": 628_994, "total": 125_000_000}
    scores = {(1, *cut): {"accuracy": 0.5} for cut in (LEADING, LEADING_R, SVD)}
    results.add(f"{DEMO} method=lora ranks.r_max=1", 10, scores, parameters=small)
    curve = {(rank, *LEADING): {"accuracy": 0.5 + rank / 100} for rank in range(1, 9)}
    results.add(f"{DEMO} method=dylora", 10, curve, parameters=parameters)
    whole = {(None, None, None): {"accuracy": 0.9}}
    full = {"trainable": 124_647_170, "total": 124_647_170, "adapter": 0}
    results.add(f"{DEMO} method=finetune", 10, whole, parameters=full)
    kept = {"remaining_parameters": 79_999_999}
    results.add(f"{DEMO} method=flop", 10, whole, parameters=full, training=kept)


def test_parameters_are_those_of_the_rank_shown(results: Results) -> None:
    fill_table_3(results, {"trainable": 887_042, "total": 125_000_000, "adapter": 294_912})
    rows = rows_of(markdown(build(results, "3")))[2:]
    assert [(row[1], row[2], row[3].strip("*")) for row in rows] == [
        ("Fine-tune", "124.647M", "90.00 (1)"),
        ("FLOP", "79.999M †", "90.00 (1) †"),
        ("LoRA (1)", "0.628M †", "50.00 (1) †"),
        ("DyLoRA (1)", "0.628M †", "51.00 (1) †"),
        ("DyLoRA (8)", "0.887M †", "58.00 (1) †"),
    ]


def test_an_old_record_tells_its_parameters_at_its_own_rank_only(results: Results) -> None:
    fill_table_3(results, {"trainable": 887_042, "total": 125_000_000})
    table = build(results, "3")
    assert cell_of(table, "Model (rank)", "DyLoRA (1)").mean is None
    assert cell_of(table, "Model (rank)", "DyLoRA (8)").mean == 887_042


def test_printed_parameters_have_their_unit() -> None:
    spec, part = load_spec("3", "paper")
    text = markdown(build_table("3", "paper", spec, part, {}))
    printed = [row for row in rows_of(text) if "paper" in row[1]]
    assert [row[2] for row in printed] == ["125M", "80M", "0.628M", "0.628M", "0.887M"]
    assert [row[-1] for row in printed] == ["92.25", "89.48", "92.09", "91.77", "92.45"]


def test_training_time_is_a_mean_in_seconds(results: Results) -> None:
    for seed, seconds in ((10, 100.0), (42, 104.0)):
        results.demo("dylora", seed, 0.6, timing={"train_seconds": seconds})
        results.demo("nested-dropout", seed, 0.7)
    table = build(results, "7")
    rows = rows_of(markdown(table))
    assert rows[2][1:] == ["Individual loss (DyLoRA)", "102.00±2.83s (2)", "60.00±0.00 (2)"]
    assert rows[3][1:] == ["Summed loss (nested dropout)", "", "**70.00±0.00 (2)**"]
    assert cell_of(table, "AURAC", "Individual loss (DyLoRA)", 1).mean == pytest.approx(60)


def test_a_printed_time_has_its_unit_and_no_difference(results: Results) -> None:
    scores = {(rank, *LEADING): {"matthews_correlation": 0.5} for rank in range(1, 9)}
    words = "profile=paper task=cola method=dylora"
    results.add(words, 10, scores, timing={"train_seconds": 700.0})
    rows = rows_of(markdown(build(results, "7", "paper")))
    assert rows[2][2:] == ["700.00s (1) †", "50.00 (1) †"]
    assert rows[3][2:] == ["645.82s", "52.64 [-2.64]"]


def fill_curves(results: Results) -> None:
    """Two DyLoRA seeds: 80, 80, ... but for rank 1, and a hill with its top at rank 5."""
    flat = [0.0] + [0.80] * 7
    hill = [0.70, 0.78, 0.79, 0.80, 0.82, 0.80, 0.80, 0.80]
    for seed, curve in ((10, flat), (42, hill)):
        scores = {(rank, *LEADING): {"accuracy": curve[rank - 1]} for rank in range(1, 9)}
        results.add(f"{DEMO} method=dylora", seed, scores)


def test_areas_are_those_of_each_seed(results: Results) -> None:
    fill_curves(results)
    table = build(results, "2")
    cell = cell_of(table, "AURAC", "DyLoRA")
    # flat: (40 + 6 x 80) / 7 = 74.2857. hill: 74 + 78.5 + 79.5 + 81 + 81 + 80 + 80 = 554 over 7.
    flat, hill = 520 / 7, 554 / 7
    assert (cell.mean, cell.n) == (pytest.approx((flat + hill) / 2), 2)
    assert cell.std == pytest.approx((hill - flat) / math.sqrt(2))
    log = cell_of(table, "AURAC (log2)", "DyLoRA")
    # On the logarithm ranks 1 to 2 are a third of the width: (40 + 80 + 80) / 3 for the flat one.
    assert log.low == pytest.approx(200 / 3)


def test_a_seed_with_a_gap_has_no_area(results: Results) -> None:
    results.demo("dylora", 10, 0.6)
    scores = {(rank, *LEADING): {"accuracy": 0.9 if rank > 1 else None} for rank in range(1, 9)}
    results.add(f"{DEMO} method=dylora", 42, scores)
    cell = cell_of(build(results, "2"), "AURAC", "DyLoRA")
    assert (cell.mean, cell.n) == (pytest.approx(60), 1)


def test_the_recommended_rank_is_the_smallest_within_a_standard_error(results: Results) -> None:
    fill_curves(results)
    table = build(results, "2")
    cell = cell_of(table, "Recommended rank", "DyLoRA")
    # Best mean: (80 + 82) / 2 = 81 at rank 5, its standard error 1; so 80 is enough: rank 4. The
    # means of ranks 2 and 3 are 79 and 79.5.
    assert (cell.at, cell.mean, cell.n) == (4, pytest.approx(80), 2)
    assert cell_of(table, "Best mean (rank)", "DyLoRA").at == 5


def test_one_seed_may_lose_one_percent(results: Results) -> None:
    curve = [0.700, 0.791, 0.792, 0.8, 0.7, 0.7, 0.7, 0.7]
    scores = {(rank, *LEADING): {"accuracy": curve[rank - 1]} for rank in range(1, 9)}
    results.add(f"{DEMO} method=dylora", 10, scores)
    cell = cell_of(build(results, "2"), "Recommended rank", "DyLoRA")
    assert (cell.at, cell.mean) == (3, pytest.approx(79.2))  # exactly 1 % below 80


def test_recommended_ranks_are_no_contest(results: Results) -> None:
    results.demo("dylora", 10, 0.6)
    results.demo("lora", 10, 0.7)
    block = block_of(build(results, "2"), "Recommended rank")
    assert not any(cell.bold for line in block.lines for cell in line.cells)


LOSS = """
title: T
caption: C
rows:
  - {label: DyLoRA, method: dylora, truncation: leading, scale: alpha/b}
  - {label: Frozen, method: dylora-frozen, truncation: leading, scale: alpha/b}
blocks:
  - {heading: "Rank = {rank}", ranks: [1, 2]}
  - {heading: Best, show: best_mean}
  - {heading: Best run, show: best_run}
  - {heading: Enough, show: recommended, tolerance: 0.25}
profiles:
  demo:
    seeds: [10]
    columns:
      - {heading: Params, measure: parameters, task: demo}
      - {heading: Loss, task: demo, metric: accuracy, factor: 1, lower_is_better: true}
"""


def test_where_lower_is_better_the_lowest_is_the_best(
    results: Results, write_spec: WriteSpec
) -> None:
    write_spec("loss", LOSS)
    scores = {
        (rank, *LEADING): {"accuracy": 6.0 - rank if rank < 6 else 5.0} for rank in range(1, 9)
    }
    counts = {"trainable": 5_000, "total": 9_000, "adapter": 4_000}
    results.add(f"{DEMO} method=dylora", 10, scores, parameters=counts)
    results.demo("dylora-frozen", 10, 4.5)
    made = make_table("loss", "demo", results.folder)
    rows = rows_of(made.markdown)
    assert rows[2:] == [
        ["Rank = 1", "DyLoRA", "0.001M", "5.00 (1)"],
        ["", "Frozen", "", "**4.50 (1)**"],
        ["Rank = 2", "DyLoRA", "0.002M", "**4.00 (1)**"],
        ["", "Frozen", "", "4.50 (1)"],
        ["Best", "DyLoRA", "", "**1.00 (1) @5**"],
        ["", "Frozen", "", "4.50 (1) @1"],
        ["Best run", "DyLoRA", "", "**1.00 @5**"],
        ["", "Frozen", "", "4.50 @1"],
        ["Enough", "DyLoRA", "", "1.00 (1) @5"],
        ["", "Frozen", "", "4.50 (1) @1"],
    ]
    assert "in %" not in made.markdown and "the smallest within 25 % of the best" in made.markdown
    assert [path.name for path in made.paths] == ["loss.md", "loss.tex", "loss.csv"]


TER = """
title: T
caption: C
rows:
  - {label: DyLoRA, method: dylora, truncation: leading, scale: alpha/b}
blocks:
  - {heading: Best, show: best_mean}
profiles:
  demo:
    runs: demo-nlg
    seeds: [10]
    columns:
      - {heading: BLEU, task: demo-webnlg, metric: bleu}
      - {heading: TER, task: demo-webnlg, metric: ter}
      - {heading: METEOR, task: demo-webnlg, metric: meteor}
"""


def test_direction_and_unit_follow_from_the_metric(results: Results, write_spec: WriteSpec) -> None:
    write_spec("ter", TER)
    values = {1: (40.0, 0.5, 0.25), 2: (50.0, 0.25, 0.5)}
    scores = {
        (rank, *LEADING): dict(zip(("bleu", "ter", "meteor"), found, strict=True))
        for rank, found in values.items()
    }
    results.add("profile=demo-nlg task=demo-webnlg method=dylora", 10, scores)
    rows = rows_of(make_table("ter", "demo", results.folder).markdown)
    # BLEU of WebNLG is a number up to 100, TER has no bound; METEOR is a fraction: in percent.
    assert rows[2][2:] == ["50.00 (1) @2", "0.25 (1) @2", "50.00 (1) @2"]


def test_a_new_kind_of_column_is_one_entry(
    results: Results, write_spec: WriteSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(context: CellContext) -> Cell:
        return Cell(mean=float(context.values.runs(context.row, context.column.task)))

    measure = Measure(
        read,
        text=lambda cell: f"{cell.mean:.0f} trainings",
        legend="how often {task} is trained",
        needs=("task", "paper_column"),
    )
    monkeypatch.setitem(MEASURES, "trainings", measure)
    column = "{heading: Trained, measure: trainings, task: demo, paper_column: Runs}"
    text = LOSS.replace("{heading: Params, measure: parameters, task: demo}", column)
    write_spec("trainings", text)
    made = make_table("trainings", "demo", results.folder)
    assert {row[2] for row in rows_of(made.markdown)[2:]} == {"1 trainings †"}
    assert "; Trained: how often demo is trained; " in made.markdown
    write_spec("trainings", text.replace(", paper_column: Runs", ""))
    with pytest.raises(RequestError, match="paper_column: found none, a column of measure 'train"):
        load_spec("trainings", "demo")


def test_a_table_that_the_paper_does_not_have_does_not_say_so(results: Results) -> None:
    results.demo("dylora", 10, 0.6)
    table = build(results, "methods")
    assert markdown(table).startswith("## All methods in one picture (demo)\n")
    assert "of the paper" not in latex(table)
    assert "Table 2 of the paper; demo profile" in latex(build(results, "2"))


def test_only_tables_of_ranks_have_figures_each_with_names_of_its_own(
    results: Results, tmp_path: Path
) -> None:
    for method in ("lora", "dylora", "matryoshka"):
        scores = {
            (rank, *cut): {"accuracy": 0.5 + rank / 100}
            for rank in range(1, 9)
            for cut in (LEADING, LEADING_R, SVD)
        }
        results.add(f"{DEMO} method={method}", 10, scores)
    names = {}
    for name in DEMO_TABLES:
        paths = draw_figures(build(results, name), tmp_path)
        if paths:
            names[name] = [path.name for path in paths]
    assert names["2"] == ["rank-quality-demo.png", "rank-quality-demo.svg"]
    assert names["methods"] == ["methods-demo.png", "methods-demo.svg"]
    assert not {"1", "3", "4", "5", "7"} & set(names)


def test_other_settings_of_a_method_fill_their_own_row_only(results: Results) -> None:
    results.demo("dylora", 10, 0.6)
    rows = {
        line.spec.label: line.cells[0].mean for line in build(results, "methods").blocks[2].lines
    }
    assert (rows["DyLoRA"], rows["DyLoRA (sandwich)"]) == (pytest.approx(60), None)


def test_several_tables_are_made_from_one_reading(results: Results) -> None:
    add_search(results)
    made = list(make_tables(["1", "5"], "demo", results.folder))
    assert [len(table.missing) for table in made] == [0, 6]
    assert made[0].markdown == make_table("1", "demo", results.folder).markdown


@pytest.mark.parametrize("name", DEMO_TABLES)
def test_every_table_is_balanced_ascii_latex(results: Results, name: str) -> None:
    text = latex(build(results, name))
    assert text.isascii()
    assert text.count("{") - text.count(r"\{") == text.count("}") - text.count(r"\}")
    rows = [line for line in text.splitlines() if line.endswith(r" \\")]
    assert len({line.count("&") for line in rows}) == 1


def test_appendix_a_sums_the_seconds_of_the_search(results: Results) -> None:
    add_search(results)
    for seed, seconds in ((10, 11.0), (42, 9.0)):
        results.demo("dylora", seed, 0.65, timing={"train_seconds": seconds})
    made = make_table("A", "demo", results.folder)
    assert [row[1:4] for row in rows_of(made.markdown)[2:]] == [
        ["LoRA (Search: 1, 2, 4, 8)", "40.00±0.00s (2)", "4 runs, 4.0x"],
        ["LoRA (8)", "10.00±0.00s (2)", "1 run, 1.0x"],
        ["DyLoRA", "10.00±1.41s (2)", "1 run, 1.0x"],
    ]
    assert made.markdown.startswith("## Appendix A: Training time (demo)")
    assert "Appendix A of the paper; demo profile" in made.paths[1].read_text(encoding="utf-8")
    assert [path.name for path in made.paths] == ["tableA.md", "tableA.tex", "tableA.csv"]


def test_the_printed_times_of_appendix_a_have_no_difference() -> None:
    spec, part = load_spec("A", "paper")
    text = markdown(build_table("A", "paper", spec, part, {}))
    printed = [row[2] for row in rows_of(text) if "paper" in row[1]]
    assert printed == ["3199.6s", "399.95s", "408.39s"]
