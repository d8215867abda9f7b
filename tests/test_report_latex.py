"""LaTeX: whatever the names are, it is syntactically right, and compiles where LaTeX is installed."""

import re
import shutil
import subprocess

import pytest
from hostile_report import DETECTOR
from latex_syntax import check_latex

from robustbench_aigen.views.formats.latex import escaped, latex_table
from robustbench_aigen.views.table import Column, Table, TableCell, with_best

EVERY_CHARACTER = "".join(map(chr, range(32, 1024))) + "∞×≥≤→·–—…‡’探😀\u202e\u200b"


def test_the_reports_latex_is_right(hostile):
    files = [hostile / "report.tex", *sorted((hostile / "tables").glob("*.tex"))]
    assert len(files) == 8
    for file in files:
        check_latex(file.read_text(encoding="utf-8"))


@pytest.mark.parametrize("text", [DETECTOR, EVERY_CHARACTER, *EVERY_CHARACTER[:96], "a\nb\tc", "*x", "--"])
def test_any_name_is_escaped(text):
    table = Table(
        "t", "T", text, (Column(text), Column(text, 1)), ((TableCell(text), TableCell(1.0)),), (text,)
    )
    check_latex(latex_table(table))


def test_what_is_escaped_prints_what_was_there():
    assert escaped("a_b & 5 %") == r"a\_b \& 5 \%"
    assert escaped("\\input{x}") == r"\textbackslash{}input\{x\}"
    assert escaped("探\u202e") == "{[}U+63A2{]}"


def test_a_broken_table_is_found_by_the_check():
    """The check is worth something only if it fails."""
    table = latex_table(
        Table("t", "T", "c", (Column("a"), Column("b", 1)), ((TableCell("x"), TableCell(1.0)),))
    )
    check_latex(table)
    for spoilt in (
        table.replace("x & 1.0", "x"),
        table.replace("x & 1.0", "x_1 & 1.0"),
        table.replace("x & 1.0", "x & 1.0}"),
        table.replace("x & 1.0", r"\input{x} \end{table} & 1.0"),
        table.replace(r"\end{adjustbox}", ""),
        table.replace("x & 1.0", r"\write & 1.0"),
        table.replace("x & 1.0", "探 & 1.0"),
    ):
        with pytest.raises(AssertionError):
            check_latex(spoilt)


def test_the_best_is_bold_and_numbers_are_siunitx_columns():
    columns = (Column("pipeline"), Column("a", 1, compared=True), Column("drop", 1))
    rows = (
        (TableCell("x"), TableCell(80.04), TableCell(-2.5, mark="***")),
        (TableCell("x"), TableCell(100.0), TableCell(float("nan"))),
    )
    text = latex_table(with_best(Table("t", "T", "n = 5, seed 1.", columns, rows), within=(0,)))
    assert r"S[table-format=3.1]" in text
    assert r"S[table-format=-1.1, table-space-text-post={\textsuperscript{{*}{*}{*}}}]" in text
    assert r"x & 80.0 & -2.5{\textsuperscript{{*}{*}{*}}} \\" in text
    assert r"x & \bfseries 100.0 & {} \\" in text
    assert "n = 5, seed 1." in text


def test_long_tables_are_cut_into_pages():
    table = Table("t", "T", "c", (Column("a", 0),), tuple((TableCell(float(n)),) for n in range(100)))
    text = latex_table(table)
    check_latex(text)
    assert text.count(r"\begin{table}") == 3
    assert len(set(re.findall(r"\\label\{[^}]*\}", text))) == 3
    assert all(rf"{n} \\" in text for n in range(100))


def test_the_document_compiles(hostile, tmp_path):
    if shutil.which("pdflatex") is None:
        pytest.skip(
            "no LaTeX on this machine; on Debian: apt-get install -y --no-install-recommends texlive-latex-extra texlive-science"
        )
    command = [
        "pdflatex",
        "-interaction=nonstopmode",
        "-halt-on-error",
        "-no-shell-escape",
        "-output-directory",
    ]
    done = subprocess.run(
        [*command, tmp_path, "report.tex"], cwd=hostile, capture_output=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert (tmp_path / "report.pdf").read_bytes().startswith(b"%PDF")
    log = (tmp_path / "report.log").read_text(encoding="latin-1")
    assert "Overfull" not in log
    assert "root:" not in log, "what a name asked for was read"
