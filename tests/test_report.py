"""Reports: the numbers, the curves, runs side by side, and folders that are no runs."""

import shutil
from pathlib import Path

import pandas as pd
import pytest
from conftest import REPOSITORY, without_digests
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image
from scipy.stats import binomtest
from test_engine import scenario

from robustbench_aigen.errors import UserError
from robustbench_aigen.evaluation import run
from robustbench_aigen.runs.joined import join_runs
from robustbench_aigen.runs.run import Run, find_runs
from robustbench_aigen.views.contents import report_tables
from robustbench_aigen.views.figures.drawing import annotated_heat_map, luminance, save, style
from robustbench_aigen.views.figures.scores import draw_confusion, roc, scores
from robustbench_aigen.views.figures.sweeps import draw_curves
from robustbench_aigen.views.formats.html import html_report
from robustbench_aigen.views.formats.markdown import markdown_table
from robustbench_aigen.views.report import report
from robustbench_aigen.views.sweeps import find_curves, representatives
from robustbench_aigen.views.table import Column, Table, TableCell, with_best, with_one_class_marks
from robustbench_aigen.views.tables.accuracy import accuracy_table, pipeline_table
from robustbench_aigen.views.tables.degradations import degradation_table
from robustbench_aigen.views.tables.generators import cross_generator_table, generator_table
from robustbench_aigen.views.tables.leaderboard import leaderboard

DATA = "{source: minigen, split: test, limit: 60}"


@pytest.fixture(scope="module")
def swept(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("swept")
    pipelines = (
        "{fgsm: [{attack: fgsm, eps: [1/255, 2/255, 4/255], norm: [linf, l2]}],"
        " jpeg: [{perturb: jpeg, quality: [90, 65, 30]}], one: [{perturb: jpeg, quality: 30}],"
        " blur: [{perturb: gaussian_blur, sigma: [0.4, 0.6, 1]}],"
        " through: [{attack: fgsm, eps: 1/255, through: [{perturb: jpeg, quality: [90, 50, 30]}]}],"
        " pj: [{attack: fgsm, eps: [1/255, 2/255]}, {perturb: jpeg, quality: [90, 50]}]}"
    )
    detectors = "[minigen/lenet5, minigen/lenet5@dcgan, minigen/lenet5@flow]"
    file = scenario(folder, pipelines, detectors=detectors, data=DATA, mode="score")
    return run(file, output=folder / "out").folder


@pytest.fixture(scope="module")
def degraded(tmp_path_factory) -> Path:
    """The other part of GenImage's degradations, on two of the detectors and the same images."""
    folder = tmp_path_factory.mktemp("degraded")
    pipelines = (
        "{lr: [{perturb: resize_to, side: [112, 64]}], wide: [{perturb: gaussian_blur, sigma: [3, 5]}],"
        " twice: [{perturb: jpeg, quality: 65, repeats: 2}]}"
    )
    file = scenario(folder, pipelines, detectors="[minigen/lenet5, minigen/lenet5@flow]", data=DATA)
    return run(file, output=folder / "out").folder


def test_curves_are_the_pipelines_that_differ_in_one_number(swept):
    summary = join_runs([Run.load(swept)]).summary
    curves = find_curves(summary)
    assert [(c.pipeline, c.variant, c.parameter) for c in curves] == [
        ("fgsm", "linf", "eps (8-bit levels)"),
        ("fgsm", "l2", "eps (L2, pixel units)"),
        ("jpeg", "", "quality"),
        ("blur", "", "sigma"),
        ("through", "", "quality"),
    ]
    linf = curves[0].points[curves[0].points["detector"] == "minigen/lenet5"]
    assert linf["x"].tolist() == pytest.approx([0, 1, 2, 4])
    overall = summary[(summary["generator"] == "all") & (summary["detector"] == "minigen/lenet5")].set_index(
        "pipeline"
    )
    names = ["clean", *(f"fgsm[eps={level}/255,norm=linf]" for level in (1, 2, 4))]
    assert linf["accuracy"].tolist() == overall.loc[names, "accuracy"].tolist()
    assert curves[2].points["x"].min() == 30, "quality has no clean value"
    assert sorted(set(curves[3].points["x"])) == [0, 0.4, 0.6, 1], "a blur's sigma is in pixels, not levels"


def test_one_pipeline_of_each_sweep_stands_for_it(swept):
    summary = join_runs([Run.load(swept)]).summary
    rows = summary[summary["generator"] == "all"]
    means = rows.groupby("pipeline")["accuracy"].mean()
    chosen = representatives(summary, 10)
    family_of = dict(zip(rows["pipeline"], rows["family"], strict=True))
    assert [family_of[name] for name in chosen] == ["fgsm", "jpeg", "one", "blur", "through", "pj"]
    for name in chosen:
        family = [other for other in means.index if family_of[other] == family_of[name]]
        assert means[name] == means[family].min()
    assert {family_of[name] for name in representatives(summary, 3)} == {"fgsm", "through", "pj"}


def test_the_report_command_writes_all_of_it(swept, cli, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    outcome = cli("report", swept)
    assert outcome.code == 0, outcome.err
    assert str(swept / "report.html") in outcome.out
    text = (swept / "report.md").read_text(encoding="utf-8")
    names = ["curves", "accuracy", "generators", "confusion", "scores", "roc", "gallery-1"]
    for name in names:
        assert f"figures/{name}.png" in text
        assert (swept / "figures" / f"{name}.pdf").read_bytes().startswith(b"%PDF")
        with Image.open(swept / "figures" / f"{name}.png") as picture:
            assert min(picture.size) > 300
            assert picture.convert("L").getextrema()[0] < 100
    for name in ("summary", "accuracy", "pipelines", "degradations", "cross_generator", "generators"):
        assert (swept / "tables" / f"{name}.tex").is_file()
        assert len(pd.read_csv(swept / "tables" / f"{name}.csv"))
    assert not list(swept.glob(".report-*"))
    assert not list(tmp_path.iterdir())


def test_the_same_run_gives_the_same_files(swept, tmp_path):
    curves = find_curves(join_runs([Run.load(swept)]).summary)
    saved = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        with style():
            uri = save(draw_curves(curves), tmp_path / name, "curves", "").uri
        saved.append([uri, *((tmp_path / name / f"curves.{kind}").read_bytes() for kind in ("png", "pdf"))])
    assert saved[0] == saved[1]


def test_tables_say_what_the_summary_says(swept):
    summary = join_runs([Run.load(swept)]).summary
    overall = summary[summary["generator"] == "all"].reset_index(drop=True)
    table = accuracy_table(summary).frame()
    for shown, source in zip(table.to_dict("records"), overall.itertuples(), strict=True):
        assert (shown["detector"], shown["pipeline"]) == (source.detector, source.pipeline)
        assert shown["accuracy"] == f"{100 * source.accuracy:.1f}"
        assert shown["95 % CI"] == f"{100 * source.ci_low:.1f}–{100 * source.ci_high:.1f}"
        if source.pipeline != "clean":
            assert float(shown["drop"]) == pytest.approx(100 * source.drop, abs=0.05 + 1e-9)
        assert shown["AUROC"] == f"{source.auroc:.3f}"
    generators = generator_table(summary).frame()
    assert len(generators) == len(summary) - len(overall)
    assert set(generators["generator"]) | {"all"} == set(summary["generator"])


def test_stars_are_exact_mcnemar_tests_with_holms_correction(swept):
    """Computed anew from the records."""
    stored = Run.load(swept)
    records = stored.records
    names = [(r.detector, r.pipeline) for r in stored.overall().itertuples() if r.pipeline != "clean"]
    p_values = []
    for detector, pipeline in names:
        cell = records[(records["detector"] == detector) & (records["pipeline"] == pipeline)]
        lost = int((cell["correct_clean"] & ~cell["correct"]).sum())
        won = int((~cell["correct_clean"] & cell["correct"]).sum())
        p_values.append(binomtest(lost, lost + won).pvalue if lost + won else 1.0)
    adjusted, worst = {}, 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        worst = max(worst, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[names[place]] = worst
    table = accuracy_table(stored.summary)
    marks = {(row[0].value, row[1].value): row[4].mark for row in table.rows}
    assert set(marks.values()) >= {"", "***"}
    for name, p_value in adjusted.items():
        assert marks[name] == (
            "***" if p_value < 0.001 else "**" if p_value < 0.01 else "*" if p_value < 0.05 else ""
        )


def test_the_summary_counts_images_that_are_right_in_all(swept):
    joined = join_runs([Run.load(swept)])
    table = leaderboard(joined).frame()
    records, overall = joined.records, joined.overall()
    assert list(dict.fromkeys(table["threat model"])) == [
        "L∞ 1/255",
        "L2 1/255",
        "L∞ 2/255",
        "L2 2/255",
        "L∞ 4/255",
        "L2 4/255",
    ]
    row = table[(table["detector"] == "minigen/lenet5") & (table["threat model"] == "L∞ 2/255")].iloc[0]
    processed = [
        "jpeg[quality=90]",
        "jpeg[quality=65]",
        "jpeg[quality=30]",
        "one",
        *(f"blur[sigma={s}]" for s in ("0.4", "0.6", "1")),
    ]
    attacks = ["fgsm[eps=2/255,norm=linf]", "pj[eps=2/255,quality=90]", "pj[eps=2/255,quality=50]"]
    mine = records[records["detector"] == "minigen/lenet5"]
    right = mine.pivot_table(index="sample", columns="pipeline", values="correct", aggfunc="all")
    expected = right[["clean", *processed, *attacks]].all(axis=1).mean()
    assert row["in all"] == f"{100 * expected:.1f}"
    accuracy = overall[overall["detector"] == "minigen/lenet5"].set_index("pipeline")["accuracy"]
    assert row["robust"] == f"{100 * accuracy[attacks].min():.1f}"
    assert row["strongest attack"] == accuracy[attacks].idxmin()
    assert row["degraded"] == f"{100 * accuracy[processed].min():.1f}"
    assert row["architecture"] == "lenet5"


def test_the_summary_leaves_out_what_no_row_has(degraded):
    """A run without an attack has no strongest one, and its caption does not explain it."""
    table = leaderboard(join_runs([Run.load(degraded)]))
    titles = [column.title for column in table.columns]
    assert titles == ["detector", "architecture", "threat model", "clean", "degraded", "strongest processing", "in all",
                      "trust"]  # fmt: skip
    assert {len(row) for row in table.rows} == {len(titles)}
    assert "of all images. Degraded: lowest" in table.caption
    assert "obust: under" not in table.caption
    accuracy = accuracy_table(Run.load(degraded).summary)
    assert [column.title for column in accuracy.columns][-3:] == ["TNR", "AUROC", "trust"]
    assert "fooled" not in accuracy.caption


def test_runs_on_the_same_images_become_one_report(swept, degraded):
    joined = join_runs([Run.load(swept), Run.load(degraded)])
    overall = joined.overall()
    assert list(overall["detector"].unique()) == [
        "minigen/lenet5",
        "minigen/lenet5@dcgan",
        "minigen/lenet5@flow",
    ]
    assert not overall.duplicated(["detector", "pipeline"]).any()
    assert not joined.records.duplicated(["detector", "pipeline", "sample"]).any()
    table = degradation_table(joined.summary)
    accuracy = overall.set_index(["detector", "pipeline"])["accuracy"]
    names = [
        "lr[side=112]",
        "lr[side=64]",
        "jpeg[quality=65]",
        "jpeg[quality=30]",
        "wide[sigma=3]",
        "wide[sigma=5]",
    ]
    expected = [100 * accuracy["minigen/lenet5@flow", name] for name in names]
    row = next(row for row in table.rows if row[0].value == "minigen/lenet5@flow")
    assert [cell.value for cell in row[1:7]] == pytest.approx(expected)
    assert row[7].value == pytest.approx(sum(expected) / 6)
    only_jpeg = next(row for row in table.rows if row[0].value == "minigen/lenet5@dcgan")
    assert pd.isna([cell.value for cell in only_jpeg]).tolist() == [
        False,
        True,
        True,
        False,
        False,
        True,
        True,
        True,
    ]
    page = html_report(joined, report_tables(joined, []), [])
    assert page.count("<pre>robust-aigen run") == 2
    assert all(Run.load(folder).info.run_id in page for folder in (swept, degraded))


def test_runs_on_other_images_stand_beside_each_other_and_none_is_best(swept, tmp_path):
    file = scenario(tmp_path, "{one: [{perturb: jpeg, quality: 30}]}", data=DATA.replace("60", "40"))
    other = run(file, output=tmp_path / "out").folder
    joined = join_runs([Run.load(swept), Run.load(other)])
    labels = [name for name in joined.overall()["detector"].unique() if name.startswith("minigen/lenet5 (")]
    assert len(labels) == 2
    assert [name.partition(" (")[2] for name in labels] == [
        f"example/{swept.name})", f"example/{other.name})",
    ]  # fmt: skip
    tables = report_tables(joined, [])
    assert not any(cell.best for table in tables for row in table.rows for cell in row)
    assert any("different images" in note for note in tables[0].notes)
    alone = report_tables(join_runs([Run.load(swept)]), [])
    assert any(cell.best for cell in alone[0].rows[0])


def test_the_largest_number_of_a_group_is_best_and_equals_are_equally_good():
    columns = (Column("pipeline"), Column("detector"), Column("accuracy", 1, compared=True), Column("n", 0))
    content = [
        ("a", 50.04, 1),
        ("a", 49.96, 2),
        ("b", 10, 3),
        ("b", 10.01, 4),
        ("c", 1, 5),
        ("c", float("nan"), 6),
        ("c", 2, 7),
    ]
    rows = tuple((TableCell(p), TableCell("d"), TableCell(a), TableCell(n)) for p, a, n in content)
    table = with_best(Table("t", "T", "", columns, rows), within=(0,))
    assert [row[2].best for row in table.rows] == [False, False, False, False, False, False, True]
    assert not any(row[3].best for row in table.rows)


def test_a_generator_average_is_the_mean_of_its_columns(swept):
    summary = join_runs([Run.load(swept)]).summary
    table = cross_generator_table(summary).frame()
    for row in table.to_dict("records"):
        cells = summary[(summary["detector"] == row["detector"]) & (summary["pipeline"] == row["pipeline"])]
        values = cells.set_index("generator")["balanced_accuracy"]
        assert row["all"] == f"{100 * values['all']:.1f}"
        assert float(row["average"]) == pytest.approx(100 * values.drop("all").mean(), abs=0.0501)


def test_a_detector_that_answers_one_class_is_marked_in_every_table(swept, tmp_path):
    folder = tmp_path / "flagged"
    shutil.copytree(swept, folder, ignore=shutil.ignore_patterns("records.parquet"))
    summary = pd.read_csv(folder / "summary.csv", keep_default_na=False)
    summary.loc[summary["detector"] == "minigen/lenet5@flow", "trust"] = "one_class eps_floored"
    summary.to_csv(folder / "summary.csv", index=False)
    without_digests(folder / "run.json")
    tables = report_tables(join_runs([Run.load(folder)]), [])
    assert len(tables) == 6
    for table in tables:
        assert "minigen/lenet5@flow‡" in markdown_table(table).replace("\\", ""), table.name
        assert "minigen/lenet5@dcgan‡" not in markdown_table(table)
        assert any("‡" in note for note in table.notes)
    assert pipeline_table(Run.load(folder).summary) == with_one_class_marks(
        pipeline_table(Run.load(folder).summary), []
    )


def test_committed_results_without_records_still_make_a_report(swept, tmp_path, undrawn):
    for name in ("run.json", "summary.csv"):
        shutil.copy(swept / name, tmp_path)
    assert report([tmp_path]) == tmp_path
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "Without records" in page
    figures = {file.stem for file in (tmp_path / "figures").glob("*.png")}
    assert figures == {"curves", "accuracy", "generators", "confusion"}
    table = leaderboard(join_runs([Run.load(tmp_path)]))
    assert "in all" not in table.frame()
    assert "in all" not in table.caption


def test_in_grey_detectors_are_told_apart_by_marker_and_variants_by_line(swept):
    figure = draw_curves(find_curves(join_runs([Run.load(swept)]).summary))
    for axis in figure.axes:
        drawn = [line for line in axis.get_lines() if line.get_marker() not in ("None", None)]
        looks = {(line.get_marker(), str(line.get_linestyle())) for line in drawn}
        assert len(looks) == len(drawn)


def test_numbers_in_heat_maps_are_readable():
    """WCAG's contrast for text, at every per cent."""
    axis = Figure(figsize=(30, 2)).subplots()
    annotated_heat_map(axis, pd.DataFrame([range(101)]), 0, 6)
    colours = axis.collections[0].get_cmap()
    for text in axis.texts:
        ink, paper = (
            luminance(c)
            for c in (
                (1,) * 3 if text.get_color() == "#ffffff" else (0,) * 3,
                colours(int(text.get_text()) / 100),
            )
        )
        assert (max(ink, paper) + 0.05) / (min(ink, paper) + 0.05) >= 4.5


def test_scores_that_do_not_compare_are_in_no_roc(tmp_path):
    file = scenario(tmp_path, "{fgsm: [{attack: fgsm, eps: 1/255}], jpeg: [{perturb: jpeg}]}", data=DATA)
    joined = join_runs([Run.load(run(file, output=tmp_path / "out").folder)])
    assert "left out" in roc(joined).caption
    assert "the search stopped" in scores(joined).caption


def test_names_cannot_become_markup():
    columns = (Column("detector"),)
    text = markdown_table(Table("t", "T", "", columns, ((TableCell("a|b](http://x) <script>*_`&lt;"),),)))
    assert "<script>" not in text.replace("\\<", "")
    assert text.count("|") - text.count("\\|") == 6
    assert "&amp;lt;" in text


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / "summary.csv").unlink(), "summary.csv is missing"),
        (lambda folder: (folder / "run.json").unlink(), "run.json is missing"),
        (lambda folder: (folder / "run.json").write_text("{"), "is damaged"),
        (lambda folder: (folder / "run.json").write_text("{}"), "not written by this version"),
        (lambda folder: (folder / "summary.csv").write_text("a,b\n1,2\n"), "not written by this version"),
        (lambda folder: (folder / "summary.csv").write_text(""), "is damaged"),
        (lambda folder: (folder / "records.parquet").write_bytes(b"PAR1 cut"), "is damaged"),
        (lambda folder: (folder / "gallery.parquet").write_bytes(b"PAR1 cut"), "is damaged"),
        (
            lambda folder: pd.DataFrame({"a": [1]}).to_parquet(folder / "gallery.parquet"),
            "gallery.parquet has no column detector",
        ),
    ],
)
def test_what_is_no_run_folder_is_said_in_a_line(tmp_path, swept, cli, spoil, message):
    for name in ("summary.csv", "run.json"):
        (tmp_path / name).write_bytes((swept / name).read_bytes())
    # Without digests, as an earlier version wrote it: what is wrong is said all the same.
    without_digests(tmp_path / "run.json")
    spoil(tmp_path)
    outcome = cli("report", tmp_path)
    assert outcome.code == 2
    assert message in outcome.err
    assert len(outcome.err.strip().splitlines()) <= 2
    assert not (tmp_path / "report.md").exists()
    assert not list(tmp_path.glob(".report-*"))


def test_a_detector_of_runs_by_two_versions_is_one_detector():
    """The preprocessing of the older run lacks settings that came later; their defaults are its settings."""
    runs = [Run.load(REPOSITORY / "results" / "minigen" / name) for name in ("pgd_eps4", "genimage")]
    older, newer = ({*run.info.detectors[0].preprocessing} for run in runs)
    assert older < newer
    assert set(join_runs(runs).summary["detector"]) == {"minigen/lenet5", "minigen/cifake_cnn"}


def test_what_cannot_be_reported_is_said_in_a_line(swept, degraded, tmp_path, cli):
    (tmp_path / "file").write_text("")
    for arguments, message in (
        ((swept, degraded), "--output"),
        ((swept, swept, "--output", tmp_path / "x"), "given twice"),
        ((tmp_path / "nowhere",), "no run folder"),
        ((swept, "--output", tmp_path / "file"), "cannot write the report"),
        ((), "Missing argument"),
    ):
        outcome = cli("report", *arguments)
        assert outcome.code == 2, arguments
        assert message in outcome.err
    with pytest.raises(UserError):
        join_runs([Run.load(swept), Run.load(swept)])


def test_whether_a_sweep_was_shared_is_said(tmp_path):
    texts = {}
    for share in ("true", "false"):
        file = scenario(
            tmp_path,
            "{fgsm: [{attack: fgsm, eps: [1/255, 2/255]}]}",
            data=DATA,
            share_sweeps=share,
            threshold=0.4,
        )
        folder = run(file, output=tmp_path / share).folder
        texts[share] = (folder / "report.md").read_text(encoding="utf-8")
        smaller = {each.name: each.smaller for each in Run.load(folder).info.pipelines if each.smaller}
        assert smaller == ({"fgsm[eps=2/255]": "fgsm[eps=1/255]"} if share == "true" else {})
    assert "Sweeps over eps: shared (fgsm" in texts["true"]
    assert "Sweeps over eps: not shared" in texts["false"]


def test_runs_are_listed_newest_first(tmp_path, cli):
    file = scenario(tmp_path, "{jpeg: [{perturb: jpeg}]}", data="{source: minigen, split: test, limit: 20}")
    results = [run(file, output=tmp_path / "out").folder.name for _ in range(2)]
    assert {r.folder.name for r in find_runs(tmp_path / "out").runs} == set(results)
    outcome = cli("list", "runs", "--output", tmp_path / "out")
    assert all(name in outcome.out for name in results)


@pytest.mark.parametrize("detectors", [1, 2])
@pytest.mark.parametrize("pipelines", [1, 3, 8])
def test_the_titles_of_confusion_matrices_are_inside_the_figure(detectors, pipelines):
    names, titles = [f"d{n}" for n in range(detectors)], [f"p{n}" for n in range(pipelines)]
    rows = [
        {"detector": name, "pipeline": title, "generator": "all", "tnr": 0.9, "tpr": 0.8}
        for name in names
        for title in titles
    ]
    with style():
        figure = draw_confusion(pd.DataFrame(rows), names, titles)
        canvas = FigureCanvasAgg(figure)
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # As it is saved.
        canvas.draw()
    renderer = canvas.get_renderer()
    for axis in figure.axes:
        assert axis.title.get_window_extent(renderer).y1 <= figure.bbox.height
        assert axis.xaxis.label.get_window_extent(renderer).y0 >= 0
