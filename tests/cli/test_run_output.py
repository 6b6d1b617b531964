"""What ``dylora run`` prints about a run."""

from dylora_exp.cli.run_output import rank_choice
from dylora_exp.records import RankScore, Record, summarise


def lines(*values):
    ranks = [
        RankScore(rank, "leading", "alpha/b", {"pearson": value}, 0.1)
        for rank, value in enumerate(values, 1)
    ]
    return rank_choice(
        Record(
            *("0", "completed", {}, "m", "t", "lora", "demo", 1, "2026-01-01"),
            ranks=ranks,
            summary=summarise(ranks, "pearson", 0.01),
        )
    )


def test_no_rank_is_best_where_a_score_is_undefined():
    (line,) = lines(None, 0.85)
    assert "pearson is undefined at some ranks" in line and "best at rank" not in line
    (line,) = lines(0.8, 0.85)
    assert "best at rank 2" in line and "AURAC 82.50" in line
