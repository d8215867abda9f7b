"""Reports: the numbers, the curves, and names that try to be markup."""

from pathlib import Path

import pandas as pd
import pytest
from PIL import Image
from test_engine import scenario

from robustbench_aigen import run
from robustbench_aigen.errors import UserError
from robustbench_aigen.report.build import build_report
from robustbench_aigen.report.markdown import markdown_table
from robustbench_aigen.report.run_folder import find_runs, read_run
from robustbench_aigen.report.sweeps import find_curves
from robustbench_aigen.report.tables import accuracy_table, generator_table


@pytest.fixture(scope="module")
def swept(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("swept")
    pipelines = (
        "{fgsm: [{attack: fgsm, eps: [1/255, 2/255, 4/255], norm: [linf, l2]}],"
        " jpeg: [{perturb: jpeg, quality: [90, 50, 10]}], one: [{perturb: jpeg, quality: 30}],"
        " pj: [{attack: fgsm, eps: [1/255, 2/255]}, {perturb: jpeg, quality: [90, 50]}]}"
    )
    detectors = "[minigen/lenet5, minigen/lenet5@dcgan, minigen/lenet5@flow]"
    file = scenario(
        folder, pipelines, detectors=detectors, data="{source: minigen, split: test, limit: 60}", mode="score"
    )
    return run(file, output=folder / "out").folder


def test_curves_are_the_pipelines_that_differ_in_one_number(swept):
    summary = read_run(swept).summary
    curves = find_curves(summary)
    assert [(c.pipeline, c.variant, c.parameter) for c in curves] == [
        ("fgsm", "linf", "eps (8-bit levels)"),
        ("fgsm", "l2", "eps (L2, pixel units)"),
        ("jpeg", "", "quality"),
    ]
    linf = curves[0].points[curves[0].points["detector"] == "minigen/lenet5"]
    assert linf["x"].tolist() == pytest.approx([0, 1, 2, 4])
    overall = summary[(summary["generator"] == "all") & (summary["detector"] == "minigen/lenet5")].set_index(
        "pipeline"
    )
    names = ["clean", *(f"fgsm[eps={level}/255,norm=linf]" for level in (1, 2, 4))]
    assert linf["accuracy"].tolist() == overall.loc[names, "accuracy"].tolist()
    assert curves[2].points["x"].min() == 10, "quality has no clean value"


def test_the_report_command_draws_figures_and_links_them(swept, cli):
    outcome = cli("report", swept)
    assert outcome.code == 0, outcome.err
    text = (swept / "report.md").read_text()
    for name in ("curves", "generators"):
        assert f"figures/{name}.png" in text
        assert (swept / "figures" / f"{name}.pdf").read_bytes().startswith(b"%PDF")
        with Image.open(swept / "figures" / f"{name}.png") as picture:
            assert min(picture.size) > 300
            assert picture.convert("L").getextrema()[0] < 100


def test_the_same_summary_draws_the_same_files(swept):
    build_report(swept)
    first = {file.name: file.read_bytes() for file in (swept / "figures").iterdir()}
    build_report(swept)
    assert first == {file.name: file.read_bytes() for file in (swept / "figures").iterdir()}


def test_tables_say_what_the_summary_says(swept):
    summary = read_run(swept).summary
    table = accuracy_table(summary)
    row = table[(table["detector"] == "minigen/lenet5") & (table["pipeline"] == "one")].iloc[0]
    source = summary.query("detector == 'minigen/lenet5' and pipeline == 'one' and generator == 'all'").iloc[
        0
    ]
    assert row["accuracy"] == f"{100 * source['accuracy']:.1f}"
    assert row["drop"] == f"{100 * source['drop']:.1f}"
    assert row["AUROC"] == f"{source['auroc']:.3f}"
    assert set(generator_table(summary).columns[2:]) == set(summary["generator"])


def test_names_cannot_become_markup():
    text = markdown_table(pd.DataFrame({"detector": ["a|b](http://x) <script>*_`"]}))
    assert "<script>" not in text.replace("\\<", "")
    assert text.count("|") - text.count("\\|") == 6


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / "summary.csv").unlink(), "summary.csv is missing"),
        (lambda folder: (folder / "run.json").unlink(), "run.json is missing"),
        (lambda folder: (folder / "run.json").write_text("{"), "is damaged"),
        (lambda folder: (folder / "run.json").write_text("{}"), "not written by this version"),
        (lambda folder: (folder / "summary.csv").write_text("a,b\n1,2\n"), "not written by this version"),
        (lambda folder: (folder / "summary.csv").write_text(""), "is damaged"),
    ],
)
def test_what_is_no_run_folder_is_said_in_a_line(tmp_path, swept, cli, spoil, message):
    for name in ("summary.csv", "run.json"):
        (tmp_path / name).write_bytes((swept / name).read_bytes())
    spoil(tmp_path)
    outcome = cli("report", tmp_path)
    assert outcome.code == 2
    assert message in outcome.err
    with pytest.raises(UserError):
        read_run(tmp_path)


def test_runs_are_listed_newest_first(tmp_path, cli):
    file = scenario(tmp_path, "{jpeg: [{perturb: jpeg}]}", data="{source: minigen, split: test, limit: 20}")
    results = [run(file, output=tmp_path / "out").folder.name for _ in range(2)]
    assert {r.folder.name for r in find_runs(tmp_path / "out").runs} == set(results)
    outcome = cli("list", "runs", "--output", tmp_path / "out")
    assert all(name in outcome.out for name in results)
