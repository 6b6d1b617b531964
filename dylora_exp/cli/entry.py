"""The ``dylora`` command: parses, calls, prints.

Exit codes: 0 done, 1 the work failed, 2 the request was wrong.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from dylora_exp.cli.parser import COMMANDS, LISTS, command_parser
from dylora_exp.core import (
    RequestError,
    TerminationRequested,
    echo,
    pop_verbosity_flags,
    raise_on_sigterm,
    silence_workers,
    unknown_name,
)
from dylora_exp.records import check_results


@silence_workers
def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    words = list(sys.argv[1:] if argv is None else argv) or ["--help"]
    with raise_on_sigterm():
        return _main(words)


def _main(words: list[str]) -> int:
    try:
        command = next((word for word in words if not word.startswith("-")), None)
        if command is not None and command not in COMMANDS:
            raise RequestError(unknown_name("command", command, COMMANDS))
        words = pop_verbosity_flags(words, command in ("run", "reproduce"))
        if words[:1] == ["run"] and not {"-h", "--help"} & set(words[1:]):
            from dylora_exp.multirun import launch

            return launch(words[1:])
        parser = command_parser()
        arguments, rest = parser.parse_known_args(words)
        if arguments.command == "reproduce":  # its overrides may stand after options
            arguments.overrides += [word for word in rest if not word.startswith("-")]
            rest = [word for word in rest if word.startswith("-")]
        if rest:
            parser.error(f"unrecognized arguments: {' '.join(rest)}")
        return _dispatch(arguments)
    except RequestError as error:
        for problem in error.problems:
            print(f"dylora: {problem}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # nobody reads on, as with `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except KeyboardInterrupt as stop:
        stopped = isinstance(stop, TerminationRequested)
        print(
            f"dylora: {'stopped' if stopped else 'interrupted'}; the same command goes on from the "
            "last checkpoint.",
            file=sys.stderr,
        )
        return 143 if stopped else 1


def _dispatch(arguments: argparse.Namespace) -> int:
    if arguments.command == "reproduce":
        return _reproduce(arguments)
    if arguments.command == "validate":
        return _validate(arguments.overrides)
    if arguments.command == "list":
        return _list(arguments)
    if arguments.command == "export":
        return _export(arguments)
    if arguments.command == "score":
        return _score(arguments)
    if arguments.command in ("data", "models"):
        return _fetch(arguments)
    with _without_collecting():
        return (_report if arguments.command == "report" else _tables)(arguments)


@contextlib.contextmanager
def _without_collecting() -> Iterator[None]:
    """Look for no garbage: among thousands of records that takes a tenth of the time."""
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if before:
            gc.enable()


def _reproduce(arguments: argparse.Namespace) -> int:
    from dylora_exp.multirun import (
        Request,
        exit_code,
        make_plan,
        plan_text,
        print_summary,
        run_missing,
    )
    from dylora_exp.reporting import write_report

    request = Request(
        arguments.table,
        arguments.profile,
        Path(arguments.results),
        Path(arguments.outputs),
        arguments.jobs,
        arguments.launcher,
        arguments.overrides,
        arguments.select,
    )
    plan = make_plan(request)
    _warn(plan.warnings)
    if arguments.plan:
        print(plan_text(plan, request.jobs))
        return 0
    left = run_missing(request, plan)
    code = exit_code(plan, left)
    if code != 2:
        _render(plan.tables, request.profile, request.results, request.select)
        made = write_report(request.results, figures=True, select=request.select)
        print("\n".join(map(str, made.paths)))
    print_summary(plan, left)
    return code


def _export(arguments: argparse.Namespace) -> int:
    from dylora_exp.runner import export

    results, outputs = Path(arguments.results), Path(arguments.outputs)
    folders = export(
        arguments.run,
        arguments.rank,
        Path(arguments.to),
        results,
        outputs,
        truncation=arguments.truncation,
        merge=arguments.merge,
        force=arguments.force,
    )
    print("\n".join(map(str, folders)))
    return 0


def _fetch(arguments: argparse.Namespace) -> int:
    from dylora_exp.cli.fetch import FetchFailed, fetch_models, fetch_tasks

    if arguments.action != "fetch":
        raise RequestError(unknown_name(arguments.command, arguments.action, ["fetch"]))
    folder = Path(arguments.to)
    try:
        if arguments.command == "data":
            told = fetch_tasks(arguments.names, folder)
        else:
            told = fetch_models(arguments.names, folder, arguments.hub)
        for line in told:
            print(line, flush=True)
    except FetchFailed as error:
        print(f"dylora: {error}", file=sys.stderr)
        return 1
    return 0


def _score(arguments: argparse.Namespace) -> int:
    from dylora_exp.tasks import score_files

    predictions, references = Path(arguments.predictions), list(map(Path, arguments.references))
    metrics = arguments.metrics.split(",") if arguments.metrics is not None else None
    scores = score_files(arguments.task, predictions, references, metrics)
    if arguments.json:
        about = {"signature": scores.signature, "missing": scores.missing}
        print(json.dumps(scores.values | about, indent=2))
        return 0
    for name, value in scores.values.items():
        print(f"{name:<8} {scores.missing[name] if value is None else format(value, '8.4f')}")
    print(f"signature: {scores.signature}")
    return 0


def _list(arguments: argparse.Namespace) -> int:
    from dylora_exp.cli.listing import print_list

    if arguments.what is not None and arguments.what not in LISTS:
        raise RequestError(unknown_name("list", arguments.what, LISTS))
    if arguments.what == "runs":
        check_results(Path(arguments.results))
    for what in [arguments.what] if arguments.what else LISTS[:-1]:
        print_list(what, Path(arguments.results))
    return 0


def _validate(words: list[str]) -> int:
    from dylora_exp.config import compose, run_id
    from dylora_exp.runner import check

    config = compose(words)
    check(config, fetch=False)
    print(f"valid; run {run_id(config)}")
    return 0


def _tables(arguments: argparse.Namespace) -> int:
    from dylora_exp.reporting import profiles_of, table_names

    check_results(Path(arguments.results))
    names = arguments.names or [n for n in table_names() if arguments.profile in profiles_of(n)]
    results = Path(arguments.results)
    _render(names or table_names(), arguments.profile, results, arguments.select)
    return 0


def _render(names: Sequence[str], profile: str, results: Path, select: str | None) -> None:
    from dylora_exp.reporting import make_tables

    for number, made in enumerate(make_tables(names, profile, results, select)):
        _warn(made.warnings if number == 0 else [])  # they are the same for all tables
        echo(made.markdown)
        if made.missing:
            count = len(made.missing)
            told = "1 run is" if count == 1 else f"{count} runs are"
            print(f"dylora: {told} missing.", file=sys.stderr)
        echo("\n".join(map(str, made.paths)))


def _report(arguments: argparse.Namespace) -> int:
    from dylora_exp.reporting import show_report, write_report

    results = Path(arguments.results)
    check_results(results)
    where = ",".join(arguments.where)
    if arguments.html or arguments.csv or arguments.figures:
        made = write_report(
            results,
            where,
            arguments.tolerance,
            html=arguments.html,
            csv=arguments.csv,
            figures=arguments.figures,
        )
        print("\n".join(map(str, made.paths)))
    else:
        made = show_report(results, where, arguments.tolerance)
    _warn(made.warnings)
    return 0


def _warn(skipped: Sequence[str]) -> None:
    """Name the files among the records that are none, and say how many there are."""
    for warning in skipped:
        print(f"dylora: warning: {warning}", file=sys.stderr)
    if skipped:
        print(f"dylora: files skipped: {len(skipped)}; the other records count.", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
