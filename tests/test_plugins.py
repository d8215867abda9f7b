"""One plugin file with a metric: found in summary, gate, comparison and report."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from gated_runs import made_up
from sklearn.metrics import brier_score_loss, matthews_corrcoef
from test_documents import blocks_of

from robustbench_aigen import registry
from robustbench_aigen.errors import UserError
from robustbench_aigen.metrics.metric import METRICS, Metric
from robustbench_aigen.metrics.summary import COLUMNS, summarise
from robustbench_aigen.registry import load_plugin
from robustbench_aigen.views.compare import compare

pytestmark = pytest.mark.usefixtures("undrawn")

MCC = """
import numpy as np
from robustbench_aigen.plugins import metric

@metric("mcc", title="MCC", needs="verdicts", gated=True)
def mcc(verdict, labels):
    if len(np.unique(verdict)) < 2 or len(np.unique(labels)) < 2:
        return 0.0
    return float(np.corrcoef(verdict, labels)[0, 1])

@metric("sharpness", title="1 - Brier", needs="scores", gated=True)
def sharpness(score, labels):
    return 1 - float(np.mean((score - labels) ** 2))
"""
SCENARIO = """
version: 1
name: own
plugins: [plugins/mine.py]
data: {source: minigen, split: test, limit: 12}
detectors: [minigen/lenet5]
trust: off
pipelines: {fgsm: [{attack: fgsm, eps: 8/255}]}
gate: {metrics: [mcc, accuracy], floors: ['mcc of clean >= 0.1']}
"""


@pytest.fixture(autouse=True)
def _no_plugins_stay() -> Iterator[None]:
    before = registry._snapshot()
    yield
    registry._restore(before)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "mine.py").write_text(MCC)
    file = tmp_path / "own.yaml"
    file.write_text(SCENARIO)
    return file


def test_a_metric_of_a_file_is_in_summary_gate_comparison_and_report(file, tmp_path, cli):
    assert cli("validate", file).code == 0
    outcome = cli("run", file, "--output", tmp_path / "out")
    assert outcome.code == 0, outcome.err
    assert "MCC" in outcome.out
    folder = tmp_path / "out" / "own" / "latest"
    summary = pd.read_csv(folder / "summary.csv")
    assert list(summary.columns) == [*COLUMNS, "mcc", "sharpness"]
    records = pd.read_parquet(folder / "records.parquet")
    for row in summary[summary["generator"] == "all"].itertuples():
        cell = records[records["pipeline"] == row.pipeline]
        verdict = np.where(cell["correct"], cell["label"], 1 - cell["label"])
        assert row.mcc == pytest.approx(matthews_corrcoef(cell["label"], verdict))
        if row.pipeline == "clean":
            assert row.sharpness == pytest.approx(
                1 - brier_score_loss(cell["label"], cell["score"]), abs=1e-6
            )
        else:
            assert np.isnan(row.sharpness), "scores after a final attack in accuracy mode do not compare"
    # The results speak for themselves: the report needs no plugin to show the column.
    assert "MCC" in (folder / "report.md").read_text()
    registry._restore({METRICS: frozenset()})
    assert cli("report", folder).code == 0
    assert "mcc" in (folder / "tables" / "accuracy.csv").read_text().splitlines()[0]
    unknown = cli("gate", folder, "--baseline", folder)
    assert unknown.code == 2
    assert "no metric 'mcc'" in unknown.err
    assert "--plugin" in unknown.err


def test_the_option_loads_a_plugin_for_gate_and_report_of_an_earlier_run(file, tmp_path, cli):
    file.write_text(SCENARIO.replace("plugins: [plugins/mine.py]\n", "").partition("gate:")[0])
    assert cli("run", file, "--output", tmp_path / "out").code == 0
    folder, plugin = tmp_path / "out" / "own" / "latest", tmp_path / "plugins" / "mine.py"
    assert list(pd.read_csv(folder / "summary.csv").columns) == COLUMNS
    asked = (
        "gate",
        folder,
        "--baseline",
        folder,
        "--metric",
        "mcc",
        "--floor",
        "mcc of fgsm >= 0.999",
        "--json",
    )
    outcome = cli(*asked, "--plugin", plugin)
    checks = json.loads(outcome.out)["checks"]
    assert [(row["metric"], row["kind"]) for row in checks] == [
        ("mcc", "loss"),
        ("mcc", "loss"),
        ("mcc", "floor"),
    ]
    assert outcome.code == 1, "below the floor"
    assert cli("report", folder, "--plugin", plugin).code == 0
    assert "MCC" in (folder / "report.md").read_text()
    cells = compare(folder, folder).cells
    found = set(zip(cells["pipeline"], cells["metric"], strict=True))
    assert {("clean", "mcc"), ("fgsm", "mcc"), ("clean", "sharpness")} <= found
    assert ("fgsm", "sharpness") not in found


@pytest.mark.parametrize(
    ("old", "new", "line", "said"),
    [
        ("plugins/mine.py", "plugins/mien.py", 4, "cannot read the plugin file"),
        ("metrics: [mcc", "metrics: [mmc", 9, "did you mean 'mcc'?"),
        ("'mcc of", "'mmc of", 9, "did you mean 'mcc'?"),
    ],
)
def test_mistakes_name_file_and_line_of_the_scenario(file, cli, old, new, line, said):
    file.write_text(SCENARIO.replace(old, new))
    for command in ("validate", "run"):
        outcome = cli(command, file)
        assert outcome.code == 2
        assert f"own.yaml:{line}" in outcome.err
        assert said in outcome.err


def test_a_failing_plugin_names_the_scenario_and_the_plugin(file, tmp_path, cli):
    (tmp_path / "plugins" / "mine.py").write_text("\n1 / 0\n")
    outcome = cli("validate", file)
    assert outcome.code == 2
    assert "own.yaml:4" in outcome.err
    assert "mine.py:2" in outcome.err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('@metric("trust", title="T", needs="verdicts")', "column of summary.csv"),
        ('@metric("auroc", title="T", needs="verdicts")', "registered twice"),
        ('@metric("a b", title="T", needs="verdicts")', "a name of letters"),
        ('@metric("class", title="T", needs="verdicts")', "no keyword of Python"),
        ('@metric("mine", title="T", needs="verdict")', "did you mean 'verdicts'?"),
    ],
)
def test_a_metric_that_cannot_be_a_column_is_refused(tmp_path, text, said):
    file = tmp_path / "wrong.py"
    file.write_text(
        f"from robustbench_aigen.plugins import metric\n{text}\ndef own(verdict, labels): return 1.0\n"
    )
    with pytest.raises(UserError, match=said):
        load_plugin(file)


@pytest.mark.parametrize("name", [each.name for each in METRICS if each.resampled is not None])
def test_without_a_fast_version_resamples_have_the_same_values(name):
    fast, rng = METRICS[name], np.random.default_rng(0)
    slow = Metric(fast.name, fast.title, fast.needs, fast.function)
    labels = rng.integers(0, 2, 30)
    if fast.of_verdicts:
        fakes = rng.integers(1, 9, 20)
        reals = rng.integers(1, 9, 20)
        counts = np.stack(
            [rng.integers(0, fakes + 1), fakes, rng.integers(0, reals + 1), reals], axis=1
        ).astype(float)
        pairs = fast.of_counts(counts), slow.of_counts(counts)
    else:
        log_odds = rng.normal(size=30).round(1).astype(np.float32)
        weights = rng.multinomial(30, np.full(30, 1 / 30), size=20).astype(np.float32)
        pairs = tuple(each.of_weights(log_odds, labels, weights) for each in (fast, slow))
    np.testing.assert_allclose(*pairs, rtol=1e-5)


def test_the_metric_of_the_document_is_scikit_learns(tmp_path):
    (code,) = [text for kind, text in blocks_of("docs/STATISTICS.md") if kind == "python"]
    (tmp_path / "documented.py").write_text(code)
    load_plugin(tmp_path / "documented.py")
    verdict, labels = np.random.default_rng(0).integers(0, 2, (2, 40))
    assert METRICS["mcc"](verdict, labels) == pytest.approx(matthews_corrcoef(labels, verdict))
    assert np.isnan(METRICS["mcc"](verdict, np.ones(40, int)))
    assert METRICS["mcc"].gated


FRAGILE = """
from robustbench_aigen.plugins import metric

@metric("fragile", title="Fragile", needs="verdicts")
def fragile(verdict, labels):
    if len(set(labels.tolist())) < 2:
        raise ValueError("both classes, please")
    return 0.25
"""


def test_a_metric_that_fails_on_one_class_is_empty_there_and_said_once(tmp_path):
    (tmp_path / "own.py").write_text(FRAGILE)
    load_plugin(tmp_path / "own.py")
    right = np.tile([True, False], 20)
    cells = {("d", "clean"): right, ("d", "pgd"): right}
    both, one = made_up(cells), made_up(cells, one_label=True)
    notices: list[str] = []
    summary = summarise(both.records, both.info.pipelines, "score", notices.append)
    assert summary["fragile"].tolist() == [0.25] * len(summary)
    assert notices == []
    summary = summarise(one.records, one.info.pipelines, "score", notices.append)
    assert summary["fragile"].isna().all()
    (notice,) = notices
    assert notice.is_warning
    assert "fragile" in notice
    assert "d, clean, all: ValueError: both classes, please, and in 1 more group" in notice


def test_a_metric_that_fails_on_both_classes_ends_the_run_in_a_line(tmp_path):
    (tmp_path / "own.py").write_text(FRAGILE.replace("< 2", "< 3"))
    load_plugin(tmp_path / "own.py")
    run = made_up({("d", "clean"): np.tile([True, False], 20)})
    with pytest.raises(UserError, match="the metric 'fragile' fails: ValueError: both classes, please"):
        summarise(run.records, run.info.pipelines, "score")
