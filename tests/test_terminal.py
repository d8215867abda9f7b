"""Tables on terminals of any width: every cell is there, nothing is wider than the terminal, columns stay in order."""

import io
import re
import sys

import pandas as pd
import pytest
from rich.cells import cell_len

from robustbench_aigen.cli.console import print_table
from robustbench_aigen.cli.markdown_text import print_markdown
from robustbench_aigen.cli.table_layout import lay_out, wrap
from robustbench_aigen.trust.check import flags
from robustbench_aigen.views.formats.markdown import markdown_frame

WIDTHS = (20, 40, 50, 60, 80, 100, 120, 200)
LONG = "/mnt/data/models/2024/an_ensemble_of_three/" + "very_long_name_" * 4 + "v2.safetensors"
SWEPT = "pgd[eps=1/255,steps=10,quality=75]"
FLAGS = " ".join(flag.name for flag in flags()[:4])


def results(detectors: list[str], pipeline: str = SWEPT, trust: str = FLAGS) -> pd.DataFrame:
    rows = [
        {
            "detector": name, "pipeline": each, "accuracy": "87.6", "95 % CI": "81.4–91.0", "drop": drop, "TPR": "78.0",
            "AUROC": "0.913", "fooled": "100.0", "trust": flags,
        }
        for name in detectors
        for each, drop, flags in (("clean", "", "ok"), (pipeline, "12.3", trust))
    ]  # fmt: skip
    return pd.DataFrame(rows)


TABLES = {
    "run": results(["minigen/lenet5", "minigen/cifake_cnn"]),
    "long detector": results([LONG]),
    "wide characters": results(["検出器モデル・画像生成判定", "детектор"], pipeline="画像処理" * 12),
    "markup": results(["[red]mine[/red] :smile:", "[/]"], pipeline="[bold]x"),
    "all flags": results(["a"], trust=" ".join(flag.name for flag in flags())),
    "numbers": pd.DataFrame({f"number {n}": [str(n * 1000.5)] for n in range(20)}),
    "prose": pd.DataFrame({"name": ["a_b_c"], "summary": ["words " * 60], "parameters": ["eps=4/255, steps=10"]}),
    "one row without text": pd.DataFrame({"detector": [""], "images": [""]}),
    "no row": pd.DataFrame({"detector": [], "images": []}),
}  # fmt: skip


def shown(monkeypatch, table: pd.DataFrame, width: int | None, *, encoding: str = "utf-8", group=None) -> str:
    """Print a table on a terminal of a width, or into a file where it is None."""
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding, newline="")
    monkeypatch.setattr(stream, "isatty", lambda: width is not None, raising=False)
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setenv("COLUMNS", str(width or 30))
    monkeypatch.setenv("NO_COLOR", "1")
    print_table(table, "a title", group=group)
    stream.flush()
    return stream.buffer.getvalue().decode(encoding)


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("group", [None, "detector"])
def test_every_word_of_every_cell_is_there_and_no_line_is_too_wide(monkeypatch, name, width, group):
    table = TABLES[name]
    group = group if group in table else None
    text = shown(monkeypatch, table, width, group=group)
    assert max(cell_len(line) for line in text.splitlines()) <= width
    together = re.sub(r"\s", "", text)
    # Numbers that happen to stand in another cell prove nothing, so each kind of cell is counted.
    for column in table:
        for cell in table[column]:
            for word in cell.split():
                if cell_len(word) <= width - 8:
                    assert word in text, (column, word)
                else:
                    assert word in together, (column, word)
    for word in (word for title in table if title != group and len(table) for word in title.split()):
        assert word in text or not "".join(table[title_of(table, word)]).strip()


def title_of(table: pd.DataFrame, word: str) -> str:
    return next(title for title in table if word in title.split())


@pytest.mark.parametrize("width", WIDTHS)
def test_flags_stand_with_their_own_row(monkeypatch, width):
    table = results(["a"]).assign(trust=["first_flag second_flag", "third_flag"])
    text = shown(monkeypatch, table, width, group="detector")
    places = [text.index(word) for word in ("clean", "first_flag", "second_flag", "steps=10", "third_flag")]
    assert text.index("second_flag") < text.index("third_flag")
    if width < 80:  # In one piece, a flag may stand beside the first line of its row.
        assert places == sorted(places)


@pytest.mark.parametrize("name", ["run", "long detector", "wide characters", "all flags"])
def test_a_file_has_a_row_a_line_whatever_the_terminal_is(monkeypatch, name):
    table = TABLES[name]
    lines = shown(monkeypatch, table, None).splitlines()
    for row in table.itertuples(index=False):
        (line,) = [line for line in lines if row.detector in line and row.pipeline in line]
        assert line.split() == " ".join(row).split()


def test_numbers_of_a_column_end_below_one_another(monkeypatch):
    table = pd.DataFrame({"pipeline": ["a", "bb"], "accuracy": ["5.0", "100.0"]})
    _, _, _, _, first, second, *_ = shown(monkeypatch, table, 80).splitlines()
    assert (first.index("5.0") + 3, second.index("100.0") + 5) == (len(first), len(second))
    assert len(first) == len(second)


def test_a_table_that_fits_is_not_folded(monkeypatch):
    table = results(["a"], pipeline="pgd", trust="ok")
    assert len(shown(monkeypatch, table, 80, group="detector").splitlines()) == len(
        shown(monkeypatch, table, 200, group="detector").splitlines()
    )


def test_cells_cannot_control_the_terminal_or_begin_a_line(monkeypatch):
    names = ["a\nb\tc\x1b[2J\x07\u202egnp.exe", "caf\udce9"]
    table = [{"image": name, "score": "0.5"} for name in names]
    text = shown(monkeypatch, table, 80)
    assert r"a\nb\tc\x1b[2J\x07\u202egnp.exe" in text
    assert r"caf\xe9" in text
    assert "\x1b" not in text


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "koi8-r", "shift_jis"])
@pytest.mark.parametrize("width", [40, 80])
def test_any_encoding_shows_the_table_within_the_width(monkeypatch, encoding, width):
    table = pd.DataFrame({"attack": ["L∞ … ×2"], "95 % CI": ["10.0–20.0"], "name": ["検出 é"]})
    text = shown(monkeypatch, table, width, encoding=encoding)
    assert max(cell_len(line) for line in text.splitlines()) <= width
    words = {"∞": "inf", "…": "...", "×": "x", "–": "-", "検": r"\u691c", "出": r"\u51fa", "é": r"\xe9"}
    for cell in table.iloc[0]:
        for character, other in words.items():
            try:
                character.encode(encoding)
            except UnicodeEncodeError:
                cell = cell.replace(character, other)  # noqa: PLW2901
        for word in cell.split():
            assert word in text


def test_words_are_broken_only_where_they_are_longer_than_the_line():
    assert wrap("aa bbb cccc", 6) == ["aa bbb", "cccc"]
    assert wrap("pgd[eps=1/255,steps=10]", 16) == ["pgd[eps=1/255,", "steps=10]"]
    assert wrap("検出器", 4) == ["検出", "器"]
    assert wrap("", 5) == [""]
    for width in range(2, 30):
        lines = wrap(f"{LONG} {FLAGS}", width)
        assert max(map(len, lines)) <= width
        assert "".join(lines).replace(" ", "") == f"{LONG}{FLAGS}".replace(" ", "")


def test_the_layout_says_what_a_cell_below_its_row_is():
    lines = lay_out(["name", "accuracy", "trust"], [["mine", "12.3", "some_flag"]], 25)
    assert [line.text for line in lines][-2:] == [" mine      12.3", "   trust: some_flag"]


@pytest.mark.parametrize("width", [40, 80])
def test_a_markdown_report_is_printed_without_its_marks(monkeypatch, capsys, width):
    frame = pd.DataFrame(
        {"detector": ["my_net|x", "*b*"], "accuracy": ["1.0", "2.0"], "trust": [FLAGS, "ok"]}
    )
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("NO_COLOR", "1")
    print_markdown(f"# A \\_title\\_\n\n**bold** text & more\n\n{markdown_frame(frame)}\n")
    text = capsys.readouterr().out
    assert text.startswith("A _title_\n\nbold text & more\n")
    for word in ("my_net|x", "*b*", *FLAGS.split()):
        assert word in text
    assert "\\" not in text
