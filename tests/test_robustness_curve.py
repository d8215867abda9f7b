"""The robustness curve against counting, its area, median and intervals, and its way through report and gate."""

import math

import numpy as np
import pandas as pd
import pytest

from robustbench_aigen import attacks, evaluate
from robustbench_aigen.metrics.robustness_curve import (
    area_interval,
    median_distance,
    median_interval,
    radii,
    robustness_curve,
)
from robustbench_aigen.runs.joined import join_runs
from robustbench_aigen.scenario.gate_spec import GateSpec
from robustbench_aigen.views.figures.robustness_curves import robustness_curves as figure
from robustbench_aigen.views.tables.robustness_curves import robustness_curves as table


def made(distances, limit=2.0, images=None):
    """Records with these distances."""
    names = [str(number) for number in range(len(distances))] if images is None else images
    return pd.DataFrame({"distance": distances, "distance_limit": limit, "sha256": names}).astype(
        {"distance": "float32"}
    )


@pytest.fixture(scope="module")
def run():
    """An attack on 48 images through the engine."""
    pipelines = {"near": attacks.fab(norm="l2", eps=1.0, steps=10), "pgd": attacks.pgd(eps="1/255")}
    return evaluate("minigen/lenet5", "minigen", pipelines, limit=48)


def test_the_curve_is_what_counting_gives(run):
    """At every eps of a fine grid, and exactly at and beside each distance."""
    records = run.records[run.records["pipeline"] == "near"]
    curve = robustness_curve(records)
    found = records.loc[np.isfinite(records["distance"]), "distance"].to_numpy(float)
    for eps in np.concatenate([np.linspace(0, 1, 200), found, np.nextafter(found, 0)]).clip(0):
        # By hand: clean verdict, verdict after the attack, and the L2 norm of the stored image.
        fallen = ~records["correct_clean"] | (~records["correct"] & (records["l2"].astype(float) <= eps))
        at = np.searchsorted(curve.eps, eps, side="right") - 1
        assert curve.accuracy[at] == (~fallen).mean()
    assert curve.accuracy[0] == records["correct_clean"].mean()
    assert curve.accuracy[-1] == records["correct"].mean()
    assert (np.diff(curve.accuracy) <= 0).all()


def test_the_area_is_the_integral_of_the_staircase(run):
    records = run.records[run.records["pipeline"] == "near"]
    curve = robustness_curve(records)
    integral = (np.diff(curve.eps) * curve.accuracy[:-1]).sum() / curve.eps[-1]
    assert radii(records).mean() == pytest.approx(integral, abs=1e-12)
    interval = area_interval(records)
    error = radii(records).std() / math.sqrt(len(records))
    assert interval.low < integral < interval.high
    assert interval.high - interval.low == pytest.approx(2 * 1.96 * error, rel=0.15)


def test_the_median_is_of_images_that_were_right():
    assert median_distance(made([0, 0, 1, 0.5, math.inf])) == 1
    assert median_distance(made([0, 1, math.inf, math.inf])) == math.inf
    assert median_distance(made([1.0, 2.0])) == 1
    assert math.isnan(median_distance(made([0.0])))
    many = made(np.linspace(0.01, 2, 400))
    # Order statistics n/2 ± 1.96 √n/2.
    expected = 2 * np.array([200 - 19.6, 200 + 19.6]) / 400
    assert np.array(median_interval(many)) == pytest.approx(expected, abs=0.03)


def test_rows_of_one_source_image_are_drawn_together():
    distances = np.linspace(0.1, 1.9, 30).repeat(4)
    alone, together = made(distances), made(distances, images=np.arange(30).repeat(4).astype(str))
    widths = [interval.high - interval.low for interval in map(area_interval, (alone, together))]
    assert widths[1] / widths[0] == pytest.approx(2, rel=0.15)


def test_report_has_the_curve_and_its_numbers(run):
    joined = join_runs([run])
    shown, drawn = table(joined), figure(joined)
    assert drawn is not None
    assert shown is not None
    frame = shown.frame()
    assert set(frame["pipeline"]) == {"near"}
    assert frame["generator"].iloc[0] == "all"
    assert set(frame["generator"].iloc[1:]) == set(run.records.loc[run.records["label"] == 1, "generator"])
    records = run.records[run.records["pipeline"] == "near"]
    assert float(frame["area"].iloc[0]) == pytest.approx(100 * radii(records).mean(), abs=0.05)
    assert float(frame["median distance"].iloc[0]) == pytest.approx(median_distance(records), rel=0.01)
    steps = drawn.drawing.axes[0].lines[0]
    assert np.array_equal(steps.get_xdata(), robustness_curve(records).eps)
    assert np.array_equal(steps.get_ydata(), robustness_curve(records).accuracy)


def test_a_gate_takes_the_area(run, tmp_path):
    run.save_baseline(tmp_path / "baseline")
    spec = GateSpec.model_validate({"metrics": ["curve_area"], "pipelines": ["near"]})
    assert run.gate(tmp_path / "baseline", spec).passed
    area = radii(run.records[run.records["pipeline"] == "near"]).mean()
    for floor, passes in ((area - 0.01, True), (area + 0.01, False)):
        floors = [f"curve_area of near >= {floor:.4f}"]
        spec = GateSpec.model_validate({"metrics": ["curve_area"], "pipelines": ["near"], "floors": floors})
        assert run.gate(tmp_path / "baseline", spec).passed is passes
