"""Tables as LaTeX (booktabs, siunitx), and a document around them that compiles as it stands."""

import re
import unicodedata
from collections.abc import Sequence

from robustbench_aigen.runs.joined import JoinedRuns
from robustbench_aigen.views.figure import Drawn
from robustbench_aigen.views.table import Column, Table, TableCell

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "'": r"\textquotesingle{}",
    "`": r"\textasciigrave{}",
    "-": "{-}",
    "*": "{*}",
    "[": "{[}",
    "]": "{]}",
    "∞": r"\(\infty\)",
    "×": r"\texttimes{}",
    "≥": r"\(\geq\)",
    "≤": r"\(\leq\)",
    "→": r"\(\rightarrow\)",
    "·": r"\textperiodcentered{}",
    "–": "--",
    "—": "---",
    "…": r"\ldots{}",
    "‡": r"\textdaggerdbl{}",
    "’": r"\textquoteright{}",
}
_ROWS = 42
"""Rows that fit a page; longer tables are cut into several."""
_PREAMBLE = (
    r"% \usepackage[T1]{fontenc} \usepackage{textcomp,booktabs,siunitx,adjustbox}" + "\n"
    r"% \sisetup{detect-weight=true}" + "\n"
)


def escaped(text: str) -> str:
    r"""Return text as LaTeX that only prints the text, with all commands escaped.

    Letters that a T1 font lacks are written as their code points, so that the document compiles.

    >>> escaped(r"50 % of \input{x}_1")
    '50 \\% of \\textbackslash{}input\\{x\\}\\_1'
    """
    return "".join(_character(character) for character in " ".join(str(text).split()))


def _character(character: str) -> str:
    if character in _SPECIAL:
        return _SPECIAL[character]
    if character.isascii():
        return character if character.isprintable() else ""
    if "À" <= character <= "ÿ" and character != "÷":
        return character
    return "" if unicodedata.category(character) in ("Cf", "Cc") else f"{{[}}U+{ord(character):04X}{{]}}"


def latex_table(table: Table) -> str:
    """Return one ``table`` float, or several where the rows do not fit a page.

    Columns of numbers are siunitx's ``S``, aligned at the decimal point; the best are bold; marks are superscripts.
    """
    chunks = [table.rows[first : first + _ROWS] for first in range(0, len(table.rows), _ROWS)]
    floats = [
        _float(
            table,
            number * _ROWS,
            len(chunk),
            f" (part {number + 1} of {len(chunks)})" if len(chunks) > 1 else "",
        )
        for number, chunk in enumerate(chunks)
    ]
    return _PREAMBLE + "\n".join(floats)


def _float(table: Table, first: int, count: int, part: str) -> str:
    specification = " ".join(_column_type(table, place) for place in range(len(table.columns)))
    header = " & ".join(_header(column) for column in table.columns)
    body: list[str] = []
    previous: str | None = None
    for row in range(first, first + count):
        group = table.text(row, 0)
        if previous not in (None, group) and _is_grouped(table):
            body.append(r"\addlinespace")
        previous = group
        body.append(" & ".join(_cell(table, row, place) for place in range(len(table.columns))) + r" \\")
    notes = "; ".join(escaped(note) for note in table.notes)
    label = re.sub(r"[^a-z0-9-]", "-", table.name.lower())
    lines = [
        r"\begin{table}[p]",
        r"\centering",
        rf"\caption{{{escaped(table.caption)}{part}{' ' + notes + '.' if notes else ''}}}",
        rf"\label{{tab:{label}{'' if first == 0 else f'-{first // _ROWS + 1}'}}}",
        r"\begin{adjustbox}{max width=\linewidth}",
        rf"\begin{{tabular}}{{@{{}} {specification} @{{}}}}",
        r"\toprule",
        header + r" \\",
        r"\midrule",
        *body,
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{adjustbox}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _is_grouped(table: Table) -> bool:
    """Whether the first column repeats itself, so that its groups are set apart."""
    names = [table.text(row, 0) for row in range(len(table.rows))]
    return len(set(names)) < len(names)


def _column_type(table: Table, place: int) -> str:
    column = table.columns[place]
    if column.digits is None:
        return "l"
    texts = [table.text(row, place) for row in range(len(table.rows))]
    integers = max((len(text.lstrip("-").partition(".")[0]) for text in texts), default=1)
    sign = "-" if any(text.startswith("-") for text in texts) else ""
    mark = max((row[place].mark for row in table.rows), key=len, default="")
    options = [f"table-format={sign}{max(integers, 1)}.{column.digits}"]
    options += [rf"table-space-text-post={{{_superscript(mark)}}}"] if mark else []
    return f"S[{', '.join(options)}]"


def _header(column: Column) -> str:
    text = escaped(column.title) + _superscript(column.mark)
    # siunitx reads what is not in braces as a number.
    return text if column.digits is None else f"{{{text}}}"


def _cell(table: Table, row: int, place: int) -> str:
    cell: TableCell = table.rows[row][place]
    text = table.text(row, place)
    if table.columns[place].digits is None:
        shown = rf"\textbf{{{escaped(text)}}}" if cell.best else escaped(text)
        return shown + _superscript(cell.mark)
    if not text:
        return "{}"
    return (
        (r"\bfseries " if cell.best else "") + text + (f"{{{_superscript(cell.mark)}}}" if cell.mark else "")
    )


def _superscript(mark: str) -> str:
    return rf"\textsuperscript{{{escaped(mark)}}}" if mark else ""


def latex_document(joined: JoinedRuns, tables: Sequence[Table], figures: Sequence[Drawn]) -> str:
    """Return a document with all tables and figures; ``pdflatex report.tex`` in the report's folder sets it."""
    lines = [
        r"\documentclass[10pt]{article}",
        r"\usepackage[T1]{fontenc}",
        r"\usepackage[utf8]{inputenc}",
        r"\IfFileExists{lmodern.sty}{\usepackage{lmodern}}{}",
        r"\usepackage[margin=18mm]{geometry}",
        r"\usepackage{textcomp,booktabs,siunitx,graphicx}",
        r"\usepackage[export]{adjustbox}",
        r"\sisetup{detect-weight=true}",
        r"\extrafloats{100}",
        r"\begin{document}",
        rf"\section*{{{escaped(', '.join(joined.labels))}}}",
        *(rf"{escaped(run.info.scenario.summary)}\par" for run in joined.runs),
        *(rf"\input{{tables/{table.name}.tex}}" for table in tables),
    ]
    for figure in figures:
        lines += [
            r"\begin{figure}[p]",
            r"\centering",
            # Without its ending: LaTeX takes the PDF, and the PNG where that is all there is.
            rf"\includegraphics[max width=\linewidth, max totalheight=0.85\textheight]{{figures/{figure.name}}}",
            rf"\caption{{{escaped(figure.caption)}}}",
            rf"\label{{fig:{figure.name}}}",
            r"\end{figure}",
        ]
    return "\n".join([*lines, r"\end{document}"]) + "\n"
