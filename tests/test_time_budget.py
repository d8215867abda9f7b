"""``run --time``: durations, the number of images, and what it refuses."""

import re
from types import SimpleNamespace

import pandas as pd
import pytest

from robustbench_aigen import Scenario, UserError
from robustbench_aigen.engine import pilot, time_budget
from robustbench_aigen.engine.time_budget import fitted_to
from robustbench_aigen.scenario.amounts import read_time


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("10m", 600), ("1.5h", 5400), (" 2min", 120), ("0.5 m", 30)]
)
def test_durations(text, seconds):
    assert read_time(text) == seconds


@pytest.mark.parametrize("text", ["10", "m", "10x", "-5m", "0s", "nan s", "1h30m", ""])
def test_what_is_no_duration_is_refused(text):
    with pytest.raises(UserError, match="--time"):
        read_time(text)


class Clock:
    """A clock that runs only when a run takes time: ``fixed`` seconds, and ``each`` for an image."""

    def __init__(self, monkeypatch, each: float, fixed: float) -> None:
        self.now, self.each, self.fixed, self.runs = 0.0, each, fixed, []
        for module in (time_budget, pilot):
            monkeypatch.setattr(module.time, "perf_counter", lambda: self.now)

    def run(self, experiment, progress):
        del progress
        images = len(experiment.selection.indices)
        self.runs.append((images, experiment.scenario.trust))
        self.now += self.fixed + images * self.each
        rows = [
            SimpleNamespace(step="cell", detector="d", pipeline="jpeg", seconds=images * self.each),
            SimpleNamespace(step="setup", detector="", pipeline="", seconds=self.fixed),
        ]
        work = pd.DataFrame({"detector": "d", "pipeline": "jpeg", "queries": [2] * images})
        return SimpleNamespace(info=SimpleNamespace(timings=rows), records=work)


def scenario(limit: int | None = 1000, trust: str = "off") -> Scenario:
    data = {"source": "minigen", "split": "test"} | ({} if limit is None else {"limit": limit})
    pipelines = {"jpeg": [{"perturb": "jpeg"}]}
    return Scenario.from_dict(
        {
            "version": 1,
            "name": "s",
            "data": data,
            "detectors": ["minigen/lenet5"],
            "pipelines": pipelines,
            "trust": trust,
        }
    )


def fitted(seconds, scenario, clock):
    return fitted_to(seconds, scenario, Scenario.experiment, clock.run, 0.0)


@pytest.mark.parametrize(("trust", "factor"), [("off", 1), ("quick", 1.12), ("full", 1.5)])
def test_the_run_fits_into_the_time_and_uses_most_of_it(monkeypatch, trust, factor):
    clock = Clock(monkeypatch, each=0.5, fixed=2.0)
    found = fitted(400.0, scenario(trust=trust), clock)
    count = found.scenario.data.limit
    whole = clock.now + clock.fixed + factor * count * clock.each
    assert whole <= 0.9 * 400
    assert whole > 0.9 * 400 - 2 * factor * clock.each
    assert found.scenario.trust == trust
    assert clock.runs == [(4, "off"), (16, "off"), (64, "off")]
    assert re.fullmatch(
        rf"--time: at most {count} images, for which .* min are planned from the times of 64", found.told
    )


def test_slow_detectors_are_timed_on_few_images_alone(monkeypatch):
    clock = Clock(monkeypatch, each=5.0, fixed=2.0)
    fitted(400.0, scenario(), clock)
    assert [images for images, _ in clock.runs] == [4, 8]


def test_with_enough_time_all_images_are_evaluated(monkeypatch):
    clock = Clock(monkeypatch, each=0.001, fixed=1.0)
    whole = scenario(300)
    assert fitted(3600.0, whole, clock) == (whole, "")


def test_too_short_a_time_says_how_much_is_needed(monkeypatch):
    clock = Clock(monkeypatch, each=5.0, fixed=2.0)
    with pytest.raises(UserError, match=r"8 images take about 71 s"):
        fitted(45.0, scenario(), clock)


def test_a_span_holds_the_mean_the_growth_and_the_spread_of_the_work(monkeypatch):
    clock = Clock(monkeypatch, each=0.5, fixed=2.0)
    experiment = scenario(trust="quick").experiment()
    found = pilot.pilot(experiment, clock.run, lambda done: 30.0 if done.images < 16 else 0.0)
    assert [images for images, _ in clock.runs] == [4, 16]
    assert (found.images, found.whole, found.fixed) == (16, 1000, 2.0)
    span = found.seconds(1000, "quick")
    assert span == pytest.approx((2 + 500 / 1.2, 2 + 1.12 * 500, 2 + 1.34 * 500 * 1.2))
    assert pilot.relative_error(pd.Series([1.0, 3.0, 1.0, 3.0])) == pytest.approx(2 / 3**0.5 / 2 / 2)
    assert pilot.relative_error(pd.Series([], dtype=float)) == 0


def test_growth_counts_half_where_the_first_images_were_slow(monkeypatch):
    clock = Clock(monkeypatch, each=0.1, fixed=0.0)
    experiment = scenario().experiment()
    found = pilot.pilot(experiment, clock.run, lambda done: 30.0 if done.images < 16 else 0.0)
    slow = found.before._replace(cells={("d", "jpeg"): 1.0})
    rate = found._replace(before=slow).cell_rate(("d", "jpeg"))
    growth = (1.6 - 1.0) / 12
    assert rate == pytest.approx((growth / 1.2, (0.1 + growth) / 2, 0.1 * 1.2))


def test_a_service_is_not_asked_for_a_measurement(monkeypatch):
    clock = Clock(monkeypatch, each=1.0, fixed=0.0)
    monkeypatch.setattr(time_budget, "services_of", lambda *_: ["service"])
    with pytest.raises(UserError, match="would ask a service"):
        fitted(400.0, scenario(), clock)
    assert clock.runs == []


def test_the_command_takes_a_time(tmp_path, cli):
    """An hour is enough for sixty images on any machine, a millisecond for none."""
    outcome = cli("run", "jpeg_sweep", "--limit", "60", "--time", "1h", "--output", tmp_path / "out")
    assert outcome.code == 0, outcome.err
    assert "60 images" in outcome.out
    short = cli("run", "jpeg_sweep", "--limit", "60", "--time", "0.001s", "--output", tmp_path / "out")
    assert short.code == 2
    assert "the time is too short: 8 images take about" in short.err
    assert cli("run", "jpeg_sweep", "--time", "soon").code == 2
