"""``dylora resize``: any saved LoRA at lower ranks."""

from __future__ import annotations

import argparse
from pathlib import Path

from dylora_exp.cli.options import folder

HELP = "lower the rank of any LoRA that PEFT saved"
DESCRIPTION = (
    "Write a LoRA lowered in rank as a standard PEFT adapter: each layer's product cut to its "
    "largest singular values. Needs the adapter's folder alone, no base model, no data, no GPU."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the adapter, the four rules, and the options of ``resize``."""
    parser.add_argument("adapter", metavar="ADAPTER", type=folder, help="a folder that PEFT saved")
    rules = parser.add_argument_group("what to keep, one of").add_mutually_exclusive_group()
    rules.add_argument("--rank", type=int, metavar="B", help="this rank of every layer")
    rules.add_argument(
        "--energy",
        type=float,
        metavar="E",
        help="this share of each layer's squared singular values, 0.9",
    )
    rules.add_argument(
        "--parameters",
        type=int,
        metavar="N",
        help="at most this many adapter parameters, where they keep most; ranks differ, and a "
        "layer that gets none is left out",
    )
    rules.add_argument(
        "--mean-rank",
        type=float,
        metavar="B",
        help="as many parameters as rank B of every layer has",
    )
    rules.add_argument(
        "--show", action="store_true", help="print the singular values and write nothing"
    )
    parser.add_argument("--to", type=folder, metavar="DIR", help="the folder to write")
    parser.add_argument(
        "--uniform",
        action="store_true",
        help="pad all layers with zeros to one rank, for servers that need it (vLLM)",
    )
    parser.add_argument(
        "--dtype", metavar="T", help="float32, float16, bfloat16 or float64; default: as it is"
    )
    parser.add_argument("--force", action="store_true", help="replace what is in DIR")
    parser.add_argument("--all", action="store_true", help="a line for each layer, however many")
    parser.add_argument(
        "--figure", metavar="F", help="with --show: draw the spectrum as F.png or F.svg"
    )


def run(arguments: argparse.Namespace) -> int:
    """Write the adapter and print what each layer kept, or print the spectrum."""
    from dylora_exp.adapters import read_peft_folder, resize
    from dylora_exp.cli.resize_output import draw, show_resized, show_spectrum
    from dylora_exp.core import RequestError
    from dylora_exp.reporting import check_figure

    if arguments.figure and not arguments.show:
        raise RequestError("--figure: expected with --show; see dylora resize --help.")
    if arguments.show:
        if given := [f"--{k}" for k in ("to", "uniform", "dtype", "force") if vars(arguments)[k]]:
            raise RequestError(f"{given[0]}: not allowed with --show, which writes no adapter.")
        figure = Path(arguments.figure).expanduser() if arguments.figure else None
        if figure:
            check_figure(figure)
        source = read_peft_folder(Path(arguments.adapter))
        spectra = show_spectrum(source, arguments.all)
        if figure:
            draw(source, spectra, figure)
        return 0
    if not arguments.to:
        raise RequestError("--to: found nothing, expected the folder to write, or --show.")
    resized = resize(
        arguments.adapter,
        arguments.rank,
        arguments.energy,
        arguments.parameters,
        arguments.mean_rank,
        to=arguments.to,
        uniform=arguments.uniform,
        dtype=arguments.dtype,
        force=arguments.force,
    )
    show_resized(resized, arguments.all)
    return 0
