"""One plugin file with a table and a figure: both are in the report."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from conftest import REPOSITORY

from robustbench_aigen import registry
from robustbench_aigen.views.figure import FIGURES
from robustbench_aigen.views.table import TABLES

pytestmark = pytest.mark.usefixtures("undrawn")

OWN = """
from robustbench_aigen.plugins import Column, Figure, Table, TableCell, figure, table

@table(order=15)
def sizes(runs):
    rows = tuple((TableCell(run.info.scenario.name), TableCell(float(run.info.data.images))) for run in runs.runs)
    return Table("sizes", "Sizes", "Images of each run.", (Column("run"), Column("images", 0)), rows)

@table()
def nothing(runs):
    return None

@figure(order=15)
def line(runs):
    from matplotlib.figure import Figure as Drawing
    drawing = Drawing(figsize=(2, 2))
    drawing.subplots().plot(runs.overall()["accuracy"])
    return Figure("line", "Accuracy, a line.", drawing)
"""
RUN = REPOSITORY / "results" / "minigen" / "pgd_eps4"


@pytest.fixture(autouse=True)
def _no_plugins_stay() -> Iterator[None]:
    before = registry._snapshot()
    yield
    registry._restore(before)


def report(cli, tmp_path: Path, text: str):
    plugin = tmp_path / "own_views.py"
    plugin.write_text(text)
    return cli("report", RUN, "--output", tmp_path / "out", "--plugin", plugin)


def test_a_table_and_a_figure_of_a_file_are_in_every_form_of_the_report(tmp_path, cli, drawn):
    outcome = report(cli, tmp_path, OWN)
    assert outcome.code == 0, outcome.err
    out = tmp_path / "out"
    frame = pd.read_csv(out / "tables" / "sizes.csv")
    assert list(frame.columns) == ["run", "images"]
    assert frame["run"].tolist() == ["pgd_eps4"]
    markdown = (out / "report.md").read_text()
    headings = [line[3:] for line in markdown.splitlines() if line.startswith("## ")]
    assert headings[:3] == ["Summary", "Sizes", "Accuracy under each pipeline"]
    assert "![Accuracy, a line.](figures/line.png)" in markdown
    assert (out / "figures" / "line.png").stat().st_size > 0
    assert (out / "figures" / "line.pdf").stat().st_size > 0
    assert r"\input{tables/sizes.tex}" in (out / "report.tex").read_text()
    assert "Images of each run." in (out / "report.html").read_text()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("    return None", "    return runs.nothing", "the table 'nothing' fails: AttributeError"),
        ("    return None", "    return 7", "the table 'nothing' fails: the function returned int"),
        ('Table("sizes"', 'Table("summary"', "the table 'sizes' fails: the report has a 'summary' already"),
        ('Table("sizes"', 'Table("../sizes"', "cannot name a file"),
        ('Column("images", 0)', 'Column("images", 0), Column("x")', "a row has 2 cells for 3 columns"),
        ('.plot(runs.overall()["accuracy"])', ".plot([1], [1, 2])", "the figure 'line' fails: ValueError"),
        ('"accuracy"]', '"accuracy"]); drawing.savefig = lambda *a, **k: 1 / (0', "figure 'line' fails: ZeroDivision"),
    ],
)  # fmt: skip
def test_a_table_or_figure_that_fails_is_named_and_the_rest_is_written(tmp_path, cli, old, new, said):
    assert old in OWN
    outcome = report(cli, tmp_path, OWN.replace(old, new))
    assert outcome.code == 2
    assert said in outcome.err
    assert "own_views.py:" in outcome.err
    assert "the other files are written to" in outcome.err
    out = tmp_path / "out"
    for name in ("report.md", "report.html", "report.tex", "tables/summary.csv", "figures/confusion.png"):
        assert (out / name).is_file()
    left_out = "line" if "figure" in said else "sizes"
    assert not list((out / "figures").glob("line.*")) or left_out != "line"
    assert (out / "tables" / "sizes.csv").exists() == ("'nothing'" in said or left_out == "line")


def test_a_report_runs_no_plugin_of_its_run_and_says_what_is_missing(tmp_path, cli):
    plugin = tmp_path / "own_views.py"
    plugin.write_text(OWN)
    scenario = tmp_path / "own.yaml"
    scenario.write_text(
        "version: 1\nname: own\nplugins: [own_views.py]\ndata: {source: minigen, split: test, limit: 12}\n"
        "detectors: [minigen/lenet5]\npipelines: {jpeg: [{perturb: jpeg}]}\n"
    )
    assert cli("run", scenario, "--output", tmp_path / "out").code == 0
    folder = tmp_path / "out" / "own" / "latest"

    def forget() -> None:
        registry._restore({registry_: frozenset() for registry_ in (TABLES, FIGURES)})
        del sys.modules[registry._PLUGINS.pop(plugin.resolve()).__name__]

    forget()
    plugin = plugin.rename(tmp_path / "moved.py")
    missing = "a plugin that is not loaded: figure line; table sizes, nothing; add --plugin"
    outcome = cli("report", folder, "--output", tmp_path / "without")
    assert outcome.code == 0
    assert missing in " ".join(outcome.err.split())
    assert not (tmp_path / "without" / "tables" / "sizes.csv").exists()
    outcome = cli("gate", folder, "--baseline", folder)
    assert outcome.code == 0
    assert missing in " ".join(outcome.err.split())
    outcome = cli("report", folder, "--output", tmp_path / "with", "--plugin", plugin)
    assert outcome.code == 0
    assert "figure line" not in outcome.err
    assert (tmp_path / "with" / "tables" / "sizes.csv").is_file()


def test_a_run_whose_table_fails_is_kept(tmp_path, cli):
    (tmp_path / "own_views.py").write_text(OWN.replace("    return None", "    return runs.nothing"))
    scenario = tmp_path / "own.yaml"
    scenario.write_text(
        "version: 1\nname: own\nplugins: [own_views.py]\ndata: {source: minigen, split: test, limit: 12}\n"
        "detectors: [minigen/lenet5]\npipelines: {jpeg: [{perturb: jpeg}]}\n"
    )
    outcome = cli("run", scenario, "--output", tmp_path / "out")
    assert outcome.code == 2
    assert "the table 'nothing' fails" in outcome.err
    folder = tmp_path / "out" / "own" / "latest"
    assert (folder / "records.parquet").is_file()
    assert (folder / "tables" / "sizes.csv").is_file()
    assert (folder / "report.md").is_file()
