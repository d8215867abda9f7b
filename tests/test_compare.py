"""Runs side by side, in lists, and in notebooks."""

import json

import numpy as np
import pandas as pd
import pytest
from gated_runs import made_up, with_flag, with_records, with_scenario, write
from scipy.stats import binomtest
from test_engine import scenario

from robustbench_aigen.errors import UserError
from robustbench_aigen.evaluation import run
from robustbench_aigen.views.compare import compare, compare_detectors

N = 500


@pytest.fixture
def pair():
    rng = np.random.default_rng(0)
    clean = rng.random(N) < 0.95
    a = made_up({("d", "clean"): clean, ("d", "pgd"): clean & (rng.random(N) < 0.6)})
    b = made_up({("d", "clean"): clean, ("d", "pgd"): clean & (rng.random(N) < 0.5)})
    return a, b


def test_every_change_has_an_interval_and_a_test(pair):
    comparison = compare(*pair)
    right = [side.records.query("pipeline == 'pgd'")["correct"].to_numpy() for side in pair]
    row = comparison.cells.query("pipeline == 'pgd' and metric == 'accuracy' and generator == 'all'").iloc[0]
    assert row["change"] == pytest.approx(right[1].mean() - right[0].mean())
    assert row["low"] < row["change"] < row["high"] < 0
    lost, won = (right[0] & ~right[1]).sum(), (~right[0] & right[1]).sum()
    assert row["p_value"] == pytest.approx(binomtest(lost, lost + won).pvalue)
    assert row["p_holm"] >= row["p_value"]
    assert set(comparison.cells["generator"]) == {"all", "dcgan", "vae"}
    assert not comparison.cells.query("metric == 'auroc'")["pipeline"].eq("pgd").any(), (
        "scores do not compare there"
    )
    assert len(comparison.images) == (right[0] != right[1]).sum()
    assert comparison.differences == []
    back = compare(*pair[::-1]).cells
    assert back["change"].tolist() == pytest.approx((-comparison.cells["change"]).tolist())


def test_detectors_are_compared_by_mcnemar_and_flagged():
    contingency = pytest.importorskip("statsmodels.stats.contingency_tables")
    rng = np.random.default_rng(1)
    right = {
        (name, p): rng.random(N) < rate for name, rate in (("a", 0.9), ("b", 0.85), ("c", 0.5)) for p in CELLS
    }
    side = with_flag(made_up(right), "one_class", "c", "pgd")
    table = compare_detectors(side)
    assert len(table) == 2 * 3
    for row in table.to_dict(orient="records"):
        one, other = right[row["detector"], row["pipeline"]], right[row["other"], row["pipeline"]]
        counts = pd.crosstab(one, other).to_numpy()
        assert row["p_value"] == pytest.approx(contingency.mcnemar(counts, exact=True).pvalue, rel=1e-9)
        assert row["difference"] == pytest.approx(one.mean() - other.mean())
        assert row["low"] <= row["difference"] <= row["high"]
        assert row["p_holm"] >= row["p_value"]
        assert row["other_trust"] == (
            "one_class" if (row["other"], row["pipeline"]) == ("c", "pgd") else "ok"
        )
    assert compare_detectors(made_up({("a", "clean"): right["a", "clean"]})).empty


CELLS = ("clean", "pgd")


def test_what_differs_is_said_and_common_images_compared(pair):
    a, b = pair
    other = made_up(
        {("e", "clean"): np.ones(N, bool), ("e", "pgd"): np.ones(N, bool)},
        images=[f"test/{n:05}" for n in range(100, N + 100)],
        threshold=0.6,
    )
    comparison = compare(a, other)
    assert comparison.cells["n"].max() == N - 100
    assert any(text.startswith("threshold of e") for text in comparison.differences)
    assert any(text.startswith("data:") for text in comparison.differences)
    assert any("called e now" in text for text in comparison.differences)
    far = made_up({("d", "clean"): np.ones(N, bool)}, images=[f"far/{n}" for n in range(N)])
    with pytest.raises(UserError, match="no image in common"):
        compare(a, far)
    two = {(name, "clean"): np.ones(N, bool) for name in "xy"}
    with pytest.raises(UserError, match="no detector in common"):
        compare(a, made_up(two))
    assert len(compare(a, b).cells)


def test_folders_baselines_and_runs_in_memory_compare_alike(pair, tmp_path):
    a, b = pair
    expected = compare(a, b).cells
    pd.testing.assert_frame_equal(compare(write(a, tmp_path / "a"), b).cells, expected)
    pd.testing.assert_frame_equal(compare(a.save_baseline(tmp_path / "kept"), b).cells, expected)


def test_notebooks_show_tables_and_no_markup_from_names(tmp_path, pair):
    result = run(
        scenario(tmp_path, "{jpeg: [{perturb: jpeg}]}", data="{source: minigen, split: test, limit: 20}"),
        output=tmp_path / "out",
    )
    html = result._repr_html_()
    assert "<table" in html
    assert "minigen/lenet5" in html
    named = with_scenario(result, name="<script>")
    assert "<script>" not in named._repr_html_()
    assert "<table" in compare(*pair)._repr_html_()


def test_runs_are_listed_with_headlines_and_broken_ones_by_name(tmp_path, pair, cli):
    a, b = pair
    output = tmp_path / "results"
    older = write(a, output / "one" / "older")
    b = with_records(b, b.records, started="2025-06-01T00:00:00+00:00")
    write(b, output / "two" / "newer")
    (output / "two" / "latest").symlink_to("newer")
    write(a, output / "two" / "cut")
    (output / "two" / "cut" / "run.json").write_text('{"run_id": ')
    (output / "two" / "empty").mkdir()
    outcome = cli("list", "runs", "--output", output)
    assert outcome.code == 0
    assert outcome.out.index("newer") < outcome.out.index("older")
    assert sum(" newer " in line for line in outcome.out.splitlines()) == 1, "latest is no second run"
    assert "not listed:" in outcome.out
    assert "cut' is damaged: run.json" in outcome.out.replace("\n", "")
    rows = json.loads(cli("list", "runs", "--output", output, "--json").out)
    assert [row.get("run") for row in rows] == ["newer", "older", None]
    assert rows[1]["folder"] == str(older.resolve())
    assert rows[1]["lowest"] == "50.0"
    assert "damaged" in rows[2]["error"]
