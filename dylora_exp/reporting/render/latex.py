r"""A table as LaTeX: a ``table`` float for ``\input`` in a document that loads booktabs."""

from __future__ import annotations

from dylora_exp.core import file_stems, one_line
from dylora_exp.reporting.render.text_table import TextLine, TextTable

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
    "√": r"$\surd$",
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
    """Return plain text as LaTeX, on one line, that prints it."""
    return "".join(_ESCAPES.get(character, character) for character in one_line(text))


def latex(table: TextTable) -> str:
    """Return the table with caption and notes as a LaTeX float."""
    number = f"{table.number} of the paper; " if table.number else ""
    heading = f"{table.title} ({number}{table.profile} profile). "
    caption = escape(heading) + "\n".join(map(escape, table.caption.split("\n")))
    (label,) = file_stems([("dylora", table.name, table.profile)])
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{caption}}}",
        rf"\label{{tab:{label}}}",
        r"\scriptsize",
        r"\setlength{\tabcolsep}{3pt}\setlength{\aboverulesep}{1pt}\setlength{\belowrulesep}{1pt}",
        rf"\sbox0{{\begin{{tabular}}{{ll{'r' * len(table.headings)}}}",
        r"\toprule",
        rf"& {' & '.join(map(escape, [table.label_heading, *table.headings]))} \\",
    ]
    for heading, block in table.blocks:
        rows = [_row(line) for line in block]
        lines += [r"\midrule", f"{escape(heading)} {rows[0]}", *rows[1:]]
    lines += [r"\bottomrule", r"\end{tabular}}", _SHRINK, r"\par\medskip"]
    lines += [r"\begin{minipage}{\linewidth}", *(rf"{escape(note)}\par" for note in table.notes)]
    return "\n".join([*lines, r"\end{minipage}", r"\end{table}"]) + "\n"


def _row(line: TextLine) -> str:
    """Return a line without the first column, which only a block's first line fills."""
    label = rf"\quad\emph{{{escape(line.label)}}}" if line.paper else escape(line.label)
    cells = [
        rf"\textbf{{{escape(text)}}}" if bold else escape(text)
        for text, bold in zip(line.cells, line.bold, strict=True)
    ]
    return rf"& {' & '.join([label, *cells])} \\"
