"""The lines of progress in a log, on a clock of the test's own."""

import os
import signal

import pytest

from robustbench_aigen.cli import app
from robustbench_aigen.cli.progress import shown_progress
from robustbench_aigen.cli.progress_bar import ProgressBar
from robustbench_aigen.cli.progress_log import PERIOD, ProgressLog, duration
from robustbench_aigen.cli.stopping import StoppedError, stopping_on_signals


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def watched():
    clock, lines = Clock(), []
    return clock, lines, ProgressLog(clock, lines.append)


def test_nothing_is_said_of_what_takes_less_than_half_a_minute(watched):
    clock, lines, log = watched
    log.start(100)
    log.work_on("lenet5", "pgd[eps=1/255]")
    for _ in range(10):
        clock.now += 2.9
        log.advance(10)
    log.tick()
    assert lines == []


def test_a_line_every_half_minute_says_what_how_far_and_how_long(watched):
    clock, lines, log = watched
    log.start(400)
    log.work_on("lenet5", "pgd[eps=1/255]")
    for _ in range(9):
        clock.now += 10
        log.advance(10)
    assert PERIOD == 30
    assert lines == [
        "lenet5 · pgd[eps=1/255]: 30 of 400 images (7 %), 0:30 elapsed, about 6:10 left",
        "lenet5 · pgd[eps=1/255]: 60 of 400 images (15 %), 1:00 elapsed, about 5:40 left",
        "lenet5 · pgd[eps=1/255]: 90 of 400 images (22 %), 1:30 elapsed, about 5:10 left",
    ]


def test_a_batch_that_takes_minutes_is_told_of_too(watched):
    clock, lines, log = watched
    log.start(10)
    log.work_on("large", "auto")
    for _ in range(3):
        clock.now += 31
        log.tick()
    assert lines[-1] == "large · auto: 0 of 10 images (0 %), 1:33 elapsed, no estimate yet"
    assert len(lines) == 3


def test_images_from_the_cache_do_not_make_the_rest_look_quick(watched):
    clock, lines, log = watched
    log.start(1000)
    for _ in range(10):  # Half of the images within a second.
        clock.now += 0.1
        log.advance(50)
    clock.now += 29
    log.advance(29)  # From here on an image a second.
    assert lines == ["working: 529 of 1000 images (52 %), 0:30 elapsed, about 7:51 left"]


def test_the_pace_is_that_of_the_last_minutes(watched):
    clock, lines, log = watched
    log.start(10_000)
    for _ in range(20):
        clock.now += 30
        log.advance(300)
    for _ in range(11):
        clock.now += 30
        log.advance(30)
    assert lines[-1].endswith("about 1:01:10 left")  # 3,670 images at one a second.


def test_a_step_without_images_says_how_long_it_has_taken(watched):
    clock, lines, log = watched
    log.start(50)
    log.advance(50)
    log.start(0)
    log.work_on("", "hashing the images")
    clock.now += 45
    log.tick()
    assert lines == ["hashing the images: 0:45 elapsed"]


def test_durations():
    assert [duration(seconds) for seconds in (0, 59.6, 75, 3600, 90_061)] == [
        "0:00", "1:00", "1:15", "1:00:00", "25:01:01",
    ]  # fmt: skip


def test_the_thread_ends_with_the_block():
    lines: list[str] = []
    with ProgressLog(say_line=lines.append) as log:
        thread = log._thread
        assert thread is not None
        assert thread.is_alive()
    assert not thread.is_alive()
    assert lines == []


def test_a_log_is_no_terminal(monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert isinstance(shown_progress(), ProgressLog)
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    assert isinstance(shown_progress(), ProgressBar)
    monkeypatch.setenv("CI", "true")
    assert isinstance(shown_progress(), ProgressLog)


@pytest.mark.parametrize(("number", "name"), [(signal.SIGTERM, "SIGTERM"), (signal.SIGHUP, "SIGHUP")])
@pytest.mark.parametrize(
    ("command", "rest"),
    [
        (["run", "pgd_eps4"], "finished work is kept, and the same command continues from there"),
        (["train", "lenet5", "--data", "minigen"], "finished work is kept, and the same command continues from there"),
        (["finetune", "finetune_pgd_eps2"], "finished work is kept, and the same command continues from there"),
        (["audit", "minigen"], "the same command starts again"),
        (["gate", "a", "--baseline", "b"], "the same command starts again"),
        (["report", "a"], "the same command starts again"),
        (["data", "prepare", "a", "b"], "the same command starts again"),
    ],
)  # fmt: skip
def test_a_signal_ends_every_command_with_one_line_and_its_own_code(
    monkeypatch, cli, number, name, command, rest
):
    def kill(*_, **__):
        os.kill(os.getpid(), number)

    for place in (
        "scenario.scenario.load_scenario", "training.recipe.load_recipe", "training.adversarial.file.load_finetuning",
        "data.opening.open_data", "runs.run.Run.load", "views.report.report",
    ):  # fmt: skip
        monkeypatch.setattr(f"robustbench_aigen.{place}", kill)
    # Under nohup the tests themselves ignore SIGHUP.
    inherited = signal.signal(number, signal.SIG_DFL)
    try:
        outcome = cli(*command)
        assert signal.getsignal(number) == signal.SIG_DFL
    finally:
        signal.signal(number, inherited)
    assert outcome.code == 128 + number
    assert outcome.err.splitlines() == [f"stopped by {name}; {rest}"]
    assert outcome.out == ""


def test_an_ignored_signal_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stopping_on_signals():
            os.kill(os.getpid(), signal.SIGHUP)
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_signal_is_no_error_that_code_may_catch():
    with pytest.raises(StoppedError), stopping_on_signals():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        except Exception:  # noqa: BLE001
            pytest.fail("caught")


def test_nothing_half_written_is_left_of_a_run(tmp_path, monkeypatch, cli):
    from test_engine import scenario

    def kill(*_):
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr("robustbench_aigen.engine.runner.write_run", kill)
    file = scenario(tmp_path, "{jpeg: [{perturb: jpeg}]}", data="{source: minigen, limit: 10}")
    outcome = cli("run", file, "--output", tmp_path / "out")
    assert outcome.code == 143
    assert app is not None
    left = [path for path in (tmp_path / "out").rglob("*") if path.is_file() and ".cache" not in path.parts]
    assert left == []


def test_the_time_left_reckons_with_cells_that_take_longer(watched):
    """Two cells of a hundred images: a second and nine for an image; the images are counted as they are."""
    clock, lines, log = watched
    log.start(200)
    log.expect({("lenet5", "pgd"): 1.0, ("lenet5", "auto"): 9.0})
    log.work_on("lenet5", "pgd")
    for _ in range(10):
        clock.now += 10
        log.advance(10)
    assert lines[-1] == "lenet5 · pgd: 90 of 200 images (45 %), 1:30 elapsed, about 15:10 left"
    log.work_on("lenet5", "auto")
    for _ in range(5):
        clock.now += 90
        log.advance(10)
    assert lines[-1] == "lenet5 · auto: 150 of 200 images (75 %), 9:10 elapsed, about 7:30 left"
    log.start(10)
    log.work_on("lenet5", "auto")
    for _ in range(4):
        clock.now += 10
        log.advance(1)
    assert lines[-1].endswith(
        "3 of 10 images (30 %), 0:30 elapsed, about 1:10 left"
    )  # What was expected of the task before is forgotten.
