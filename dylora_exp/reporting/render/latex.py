r"""A table as LaTeX: a ``table`` float for ``\input`` in a document that loads booktabs."""

from __future__ import annotations

from collections.abc import Sequence

from dylora_exp.reporting.analysis.cells import Table
from dylora_exp.reporting.render.notes import notes
from dylora_exp.reporting.render.tables import TextLine, headings, text_lines
from dylora_exp.reporting.specs.paper import paper_name

_ESCAPES = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    # In braces: a line that starts with a bracket would be read as an option of the \\ before it.
    "[": "{[}",
    "]": "{]}",
    "α": r"$\alpha$",
    "±": r"$\pm$",
    "†": r"\dag{}",
    "‡": r"\ddag{}",
    "§": r"\S{}",
    "¶": r"\P{}",
}
# A table wider than the text is shrunk to it where graphicx is loaded, and sticks out otherwise.
_SHRINK = (
    r"\ifdim\wd0>\linewidth\ifdefined\resizebox\resizebox{\linewidth}{!}{\usebox0}"
    r"\else\usebox0\fi\else\usebox0\fi"
)


def escape(text: str) -> str:
    """Return plain text as LaTeX that prints it."""
    return "".join(_ESCAPES.get(character, character) for character in text)


def latex(table: Table) -> str:
    """Return the table with caption and notes as a LaTeX float."""
    first = "Task" if table.spec.transposed else "Method"
    rows = []
    for block in table.blocks:
        lines = [_row(line) for line in text_lines(table, block)]
        rows += [r"\midrule", f"{escape(block.heading)} {lines[0]}", *lines[1:]]
    label = f"{table.name}-{table.profile}"
    return latex_float(_caption(table), label, [first, *headings(table)], rows, notes(table))


def latex_float(
    caption: str, label: str, above: Sequence[str], rows: Sequence[str], below: Sequence[str]
) -> str:
    """Return a LaTeX float.

    Args:
        caption: Plain text.
        label: What follows ``tab:dylora-``.
        above: The headings, as plain text, of all columns but the first, which has none.
        rows: LaTeX.
        below: The notes, as plain text.
    """
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{escape(caption)}}}",
        rf"\label{{tab:dylora-{label}}}",
        r"\scriptsize",
        r"\setlength{\tabcolsep}{3pt}\setlength{\aboverulesep}{1pt}\setlength{\belowrulesep}{1pt}",
        rf"\sbox0{{\begin{{tabular}}{{ll{'r' * (len(above) - 1)}}}",
        r"\toprule",
        rf"& {' & '.join(map(escape, above))} \\",
        *rows,
    ]
    lines += [r"\bottomrule", r"\end{tabular}}", _SHRINK, r"\par\medskip"]
    lines += [r"\begin{minipage}{\linewidth}", *(rf"{escape(note)}\par" for note in below)]
    return "\n".join([*lines, r"\end{minipage}", r"\end{table}"]) + "\n"


def _caption(table: Table) -> str:
    number = f"{paper_name(table.name)} of the paper; " if table.spec.paper_model else ""
    where = f"{number}{table.profile} profile"
    return f"{table.spec.title} ({where}). {table.spec.caption}"


def _row(line: TextLine) -> str:
    """Return a line without the first column, which only a block's first line fills."""
    label = rf"\quad\emph{{{escape(line.label)}}}" if line.paper else escape(line.label)
    cells = [
        rf"\textbf{{{escape(text)}}}" if bold else escape(text)
        for text, bold in zip(line.cells, line.bold, strict=True)
    ]
    return rf"& {' & '.join([label, *cells])} \\"
