"""``dylora resize``: what it prints, and wrong requests: status 2, and nothing written."""

import json
import re

import pytest

from dylora_exp.cli.entry import main
from tests.support.peft_adapters import change, rename_layers, save


@pytest.fixture
def adapter(tmp_path):
    save(tmp_path / "adapter", target_modules=["q", "v", "conv"])
    return tmp_path / "adapter"


def test_a_table_of_layers_or_of_their_kinds_fits_a_screen(adapter, tmp_path, capsys):
    words = ["resize", str(adapter), "--mean-rank", "2", "--force", "--to", str(tmp_path / "to")]
    assert main(words) == 0
    kinds = capsys.readouterr().out.splitlines()
    assert [line.split()[:3] for line in kinds[1:4]] == [
        [f"layers.*.{name}", "11", "4"] for name in ("conv", "q", "v")
    ]
    assert kinds[-2].endswith("% of the energy") and kinds[-1] == f"adapter: {tmp_path / 'to'}"
    assert main([*words, "--all"]) == 0
    layers = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in layers[1:34]] == [
        f"layers.{i}.{name}" for i in range(11) for name in ("conv", "q", "v")
    ]
    ranks = [int(line.split()[2]) for line in layers[1:34]]
    costs = [32, 28, 20] * 11  # conv, q and v
    spent = sum(rank * cost for rank, cost in zip(ranks, costs, strict=True))
    assert layers[-2].startswith(f"{spent:,} of 3,520 adapter parameters")
    assert max(map(len, kinds[:-1] + layers[:-1])) <= 80


def test_long_names_are_shortened_to_their_ends(tmp_path, capsys):
    save(tmp_path / "adapter", target_modules=["q"])
    rename_layers(tmp_path / "adapter", "layers.", f"{'a_long_name.' * 9}layers.")
    to = tmp_path / "to"
    assert main(["resize", str(tmp_path / "adapter"), "--rank", "1", "--to", str(to)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines[:-1])) <= 80
    assert "...a_long_name" not in lines[1] and "layers.0.q " in lines[1]


def test_the_spectrum_is_shown_and_drawn_and_nothing_else_written(adapter, tmp_path, capsys):
    before = sorted(tmp_path.rglob("*"))
    assert main(["resize", str(adapter), "--show"]) == 0
    out = capsys.readouterr().out
    assert sorted(tmp_path.rglob("*")) == before
    assert max(map(len, out.splitlines())) <= 80
    assert [line.split()[:2] for line in out.splitlines()[-4:]] == [
        [str(rank), f"{rank * 880:,}"] for rank in (1, 2, 3, 4)
    ]
    assert out.splitlines()[-1].split()[2:] == ["100.00", "0.0000"]
    for name in ("spectrum.png", "spectrum.svg"):
        figure = tmp_path / name
        assert main(["resize", str(adapter), "--show", "--all", "--figure", str(figure)]) == 0
        assert capsys.readouterr().out.splitlines()[-1] == f"figure: {figure}"
        assert figure.read_bytes()[:5] in (b"\x89PNG\r", b"<?xml")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--rank", "2"], "--to: found nothing"),
        (["--to", "TO"], "found none, expected one of rank, energy, parameters, mean_rank"),
        (["--to", "TO", "--rank", "9"], "rank: found 9, expected at least 1 and at most 4"),
        (["--to", "TO", "--rank", "2", "--energy", "0.5"], "not allowed with"),
        (["--to", "TO", "--rank", "two"], "--rank"),
        (["--to", "TO", "--energy", "2"], "energy: found 2"),
        (["--to", "TO", "--rank", "2", "--dtype", "int8"], "dtype: 'int8'"),
        (["--to", "TO", "--rank", "2", "--figure", "a.png"], "--figure: expected with --show"),
        (["--show", "--to", "TO"], "--to: not allowed with --show"),
        (["--show", "--figure", "TO/a.pdf"], "expected a file .png or .svg"),
        (["--to", "TO", "--rank", "2", "--unifrom"], "did you mean '--uniform'"),
        (["--to", "TO", "--mean-rnk", "2"], "did you mean '--mean-rank'"),
    ],
)
def test_wrong_requests_are_one_line_and_status_2(adapter, tmp_path, capsys, words, expected):
    given = [word.replace("TO", str(tmp_path / "to")) for word in words]
    assert main(["resize", str(adapter), *given]) == 2
    printed = capsys.readouterr()
    assert expected in printed.err and printed.err.count("\n") == 1 and not printed.out
    assert not (tmp_path / "to").exists()


def test_what_is_no_plain_lora_is_refused_with_every_problem_on_a_line(adapter, tmp_path, capsys):
    change(adapter, use_dora=True, lora_bias=True)
    assert main(["resize", str(adapter), "--rank", "2", "--to", str(tmp_path / "to")]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2 and all(str(adapter / "adapter_config.json") in line for line in lines)
    assert not (tmp_path / "to").exists()


def test_uniform_and_dtype_reach_the_file(adapter, tmp_path, capsys):
    to = tmp_path / "to"
    words = ["--energy", "0.5", "--uniform", "--dtype", "bfloat16", "--to", str(to)]
    assert main(["resize", str(adapter), *words]) == 0
    said = re.search(r"padded with zeros to rank (\d): ([\d,]+) values", capsys.readouterr().out)
    assert int(said[2].replace(",", "")) == 880 * int(said[1])
    assert json.loads((to / "adapter_config.json").read_text())["rank_pattern"] == {}
    header = (to / "adapter_model.safetensors").read_bytes()[:20_000]
    assert b"BF16" in header and b"F32" not in header
