"""What a run keeps beside its numbers: notices with their level, and how long every step took."""

import json

import pytest
from test_engine import scenario

from robustbench_aigen.engine.progress import Recording, Silent
from robustbench_aigen.evaluation import run
from robustbench_aigen.notices import Notice, warning
from robustbench_aigen.runs.run import Run
from robustbench_aigen.views.report import report

pytestmark = pytest.mark.usefixtures("undrawn")

PGD = "{pgd: [{attack: pgd, eps: 1/255, steps: 2}]}"
KEYS = {"data": "{source: minigen, split: test, limit: 20}"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run with a warning and with information."""
    place = tmp_path_factory.mktemp("record")
    with pytest.MonkeyPatch.context() as patch:
        said = ["plain words", warning("a <number> may be wrong", "minigen/lenet5")]
        patch.setattr("robustbench_aigen.engine.runner.read_detectors", lambda plan: (plan, said))
        return run(scenario(place, PGD, trust="quick", **KEYS), output=place / "out").folder


def seconds(info, *steps: str) -> float:
    return sum(row.seconds for row in info.timings if row.step in steps)


def test_the_timings_of_cells_and_steps_add_up(folder):
    info = Run.load(folder).info
    assert {"cell", "setup", "audit", "trust probes", "summary", "tables"} <= {
        row.step for row in info.timings
    }
    assert info.seconds == pytest.approx(sum(row.seconds for row in info.timings), abs=2e-3)
    assert len({tuple(row.to_dict()) for row in info.timings}) == 1
    probed = {row.detector for row in info.timings if row.step == "trust probes"}
    assert probed == {detector.name for detector in info.detectors}


def test_a_report_adds_its_figures_once_however_often_it_is_made(folder):
    before = Run.load(folder).info
    for _ in range(2):
        report([folder])
        info = Run.load(folder).info
        assert seconds(info, "figures") > 0
        assert info.seconds == pytest.approx(sum(row.seconds for row in info.timings), abs=2e-3)
        of_run = before.seconds - seconds(before, "tables")
        assert info.seconds - seconds(info, "tables", "figures") == pytest.approx(of_run, abs=2e-3)


def test_notices_stay_with_the_run_and_warnings_stand_in_its_report(folder):
    stored = json.loads((folder / "run.json").read_text(encoding="utf-8"))["notices"]
    notices = [Notice.stored(each) for each in stored]
    assert [notice for notice in notices if notice.is_warning] == ["minigen/lenet5: a <number> may be wrong"]
    assert "plain words" in notices
    report = (folder / "report.md").read_text(encoding="utf-8")
    assert "Warning: minigen/lenet5: a \\<number\\> may be wrong" in report
    assert "plain words" not in report


def test_a_run_folder_without_timings_and_notices_still_opens_and_reports(folder, tmp_path):
    info = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    for key in ("timings", "notices", "digests"):
        del info[key]
    old = tmp_path / "old"
    old.mkdir()
    (old / "run.json").write_text(json.dumps(info), encoding="utf-8")
    (old / "summary.csv").write_bytes((folder / "summary.csv").read_bytes())
    assert Run.load(old).info.seconds == info["seconds"]
    assert report([old]).samefile(old)
    made = Run.load(old).info
    assert made.seconds == pytest.approx(info["seconds"] + seconds(made, "tables", "figures"), abs=2e-3)


def test_every_notice_is_kept_once_and_passed_on():
    told: list[str] = []
    silent = Silent()
    silent.notice = told.append
    progress = Recording(silent)
    for text in ("a", warning("b"), "a"):
        progress.notice(text)
    assert [(notice, notice.level) for notice in progress.notices] == [("a", "information"), ("b", "warning")]
    assert told == ["a", "b", "a"]


def test_warnings_are_shown_again_below_the_result(tmp_path, monkeypatch, cli):
    monkeypatch.setattr(
        "robustbench_aigen.engine.runner.read_detectors", lambda plan: (plan, [warning("look here")])
    )
    outcome = cli(
        "run", scenario(tmp_path, "{jpeg: [{perturb: jpeg}]}", **KEYS), "--output", tmp_path / "out"
    )
    *_, above, told, written = outcome.out.splitlines()
    assert (above, told) == ("", "warning: look here")
    assert " s, written to " in written
    assert outcome.err.count("warning: look here") == 1
    info = Run.load(next((tmp_path / "out").glob("*/latest"))).info
    names = info.detector_names
    # Shipped detectors are read alike: one line names all of them, and the record has a line for each.
    (line,) = [line for line in outcome.err.splitlines() if "output 1 means fake" in line]
    assert line.startswith(f"{', '.join(names)}: ")
    recorded = [each.subject for each in info.notices if "output 1 means fake" in each.text]
    assert recorded == names


def test_a_setup_line_says_each_assumption_once(tmp_path, cli):
    (tmp_path / "d.py").write_text(
        "from torch import nn\n"
        "def build():\n"
        "    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2))\n"
    )
    declared = "mean: [0, 0, 0], std: [1, 1, 1], fake_index: 1"
    networks = '{id: "python:d.py:build", name: one}, {id: "python:d.py:build", name: two, DECLARED}'
    place = scenario(
        tmp_path,
        "{jpeg: [{perturb: jpeg}]}",
        detectors=f"[{networks.replace('DECLARED', declared)}]",
        **KEYS,
    )
    outcome = cli("run", place, "--output", tmp_path / "out")
    assert outcome.code == 0, outcome.err
    (one,) = [line for line in outcome.err.splitlines() if line.startswith("one: images")]
    (two,) = [line for line in outcome.err.splitlines() if line.startswith("two: images")]
    assert one.count("[0, 1]") == 1
    assert "pixels in [0, 1] (assumed; set mean and std)" in one
    assert two == "two: images at their own size, pixels in [0, 1], output 1 means fake"
