"""``run --time``: durations, the number of images, and what it refuses."""

from types import SimpleNamespace

import pytest

from robustbench_aigen import Scenario, UserError
from robustbench_aigen.engine import time_budget
from robustbench_aigen.engine.time_budget import fitted_to, read_time


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
        monkeypatch.setattr(time_budget.time, "perf_counter", lambda: self.now)

    def run(self, scenario):
        images = scenario.data.limit
        self.runs.append((images, scenario.trust))
        self.now += self.fixed + images * self.each
        rows = [
            SimpleNamespace(step="cell", seconds=images * self.each),
            SimpleNamespace(step="setup", seconds=self.fixed),
        ]
        return SimpleNamespace(info=SimpleNamespace(timings=rows, data=SimpleNamespace(images=images)))


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


@pytest.mark.parametrize(("trust", "factor"), [("off", 1), ("quick", 1.35), ("full", 2)])
def test_the_run_fits_into_the_time_and_uses_most_of_it(monkeypatch, trust, factor):
    clock = Clock(monkeypatch, each=0.5, fixed=2.0)
    found = fitted_to(400.0, scenario(trust=trust), clock.run, 0.0)
    count = found.scenario.data.limit
    whole = clock.now + clock.fixed + factor * count * clock.each
    assert whole <= 0.9 * 400
    assert whole > 0.9 * 400 - factor * clock.each
    assert found.scenario.trust == trust
    assert {each for _, each in clock.runs} == {"off"}
    assert found.told == f"--time: at most {count} images, chosen from the times of 64"


def test_slow_detectors_are_timed_on_few_images_alone(monkeypatch):
    clock = Clock(monkeypatch, each=5.0, fixed=2.0)
    fitted_to(400.0, scenario(), clock.run, 0.0)
    assert [images for images, _ in clock.runs] == [8]


def test_with_enough_time_all_images_are_evaluated(monkeypatch):
    clock = Clock(monkeypatch, each=0.001, fixed=1.0)
    whole = scenario(300)
    assert fitted_to(3600.0, whole, clock.run, 0.0) == (whole, "")


def test_too_short_a_time_says_how_much_is_needed(monkeypatch):
    clock = Clock(monkeypatch, each=5.0, fixed=2.0)
    with pytest.raises(UserError, match=r"8 images take about 94 s|8 images take about 1.6 min"):
        fitted_to(45.0, scenario(), clock.run, 0.0)


def test_the_command_takes_a_time(tmp_path, cli):
    """An hour is enough for sixty images on any machine, a millisecond for none."""
    outcome = cli("run", "jpeg_sweep", "--limit", "60", "--time", "1h", "--output", tmp_path / "out")
    assert outcome.code == 0, outcome.err
    assert "60 images" in outcome.out
    short = cli("run", "jpeg_sweep", "--limit", "60", "--time", "0.001s", "--output", tmp_path / "out")
    assert short.code == 2
    assert "the time is too short: 8 images take about" in short.err
    assert cli("run", "jpeg_sweep", "--time", "soon").code == 2
