"""SARIF of the gate: valid by a model of the official schema, and at the right lines."""

import json

import numpy as np
import pytest
from gated_runs import made_up, with_records, write
from pydantic_sarif.model import StaticAnalysisResultsFormatSarifVersion210JsonSchema as Sarif
from test_gate import NASTY

from robustbench_aigen.runs.run import Run
from robustbench_aigen.views.gating.verdict import gate

SCENARIO = """version: 1
name: made_up
data: {source: minigen}
detectors: [d]
pipelines:
  upload: [{perturb: jpeg}]
  pgd: [{attack: pgd, eps: 4/255}]
gate:
  tolerance: 0.01
  floors:
    - accuracy of pgd >= 0.95
"""
RIGHT = np.ones(400, dtype=bool)
WORSE = np.arange(400) >= 40


def sides(detector: str = "d", command: str | None = "robust-aigen run 'my scenario.yaml'") -> list[Run]:
    """A run that lost 10 points under PGD, and its baseline."""
    pair = [
        made_up({(detector, "clean"): RIGHT, (detector, "pgd"): right, (detector, "upload"): RIGHT})
        for right in (WORSE, RIGHT)
    ]
    return [with_records(run, run.records, command=command) for run in pair]


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my scenario.yaml").write_text(SCENARIO)
    now, then = sides()
    write(now, tmp_path / "now")
    then.save_baseline(tmp_path / "baseline")
    return tmp_path


def results_of(text: str) -> list[dict]:
    """Return the results of a log that the model of the schema accepts; the model allows no other keys."""
    Sarif.model_validate_json(text)
    (run,) = json.loads(text)["runs"]
    assert [run["tool"]["driver"]["rules"][each["ruleIndex"]]["id"] for each in run["results"]] == [
        each["ruleId"] for each in run["results"]
    ]
    return run["results"]


def place_of(result: dict) -> tuple[str, int]:
    (location,) = result["locations"]
    physical = location["physicalLocation"]
    return physical["artifactLocation"]["uri"], physical["region"]["startLine"]


def test_a_failed_check_points_at_its_line_of_the_scenario(workplace, cli):
    outcome = cli(
        "gate", "now", "--baseline", "baseline", "--sarif", "out/gate.sarif",
        "--floor", "accuracy of pgd >= 0.95",
    )  # fmt: skip
    assert outcome.code == 1
    loss, floor = results_of((workplace / "out" / "gate.sarif").read_text(encoding="utf-8"))
    assert (loss["ruleId"], place_of(loss)) == ("robustness-loss", ("my%20scenario.yaml", 7))
    assert (floor["ruleId"], place_of(floor)) == ("below-floor", ("my%20scenario.yaml", 10))
    assert "accuracy of pgd fell by 10.0 points" in loss["message"]["text"]
    assert loss["properties"]["loss"] == pytest.approx(0.1)
    assert floor["properties"]["p_holm"] is None
    assert loss["partialFingerprints"] != floor["partialFingerprints"]


def test_without_a_scenario_file_the_baseline_is_the_place(workplace):
    (workplace / "my scenario.yaml").unlink()
    gate("now", "baseline").write_sarif("gate.sarif")
    (loss,) = results_of((workplace / "gate.sarif").read_text(encoding="utf-8"))
    assert place_of(loss) == ("baseline/baseline.json", 1)


def test_a_file_outside_the_working_directory_has_a_whole_address(workplace, monkeypatch):
    (workplace / "below").mkdir()
    monkeypatch.chdir(workplace / "below")
    gate("../now", "../baseline").write_sarif("gate.sarif")
    (loss,) = results_of((workplace / "below" / "gate.sarif").read_text(encoding="utf-8"))
    assert place_of(loss)[0] == (workplace / "baseline" / "baseline.json").as_uri()


def test_a_gate_that_passes_has_rules_and_no_results(workplace):
    gate("baseline", "baseline").write_sarif("gate.sarif")
    text = (workplace / "gate.sarif").read_text(encoding="utf-8")
    assert results_of(text) == []
    (run,) = json.loads(text)["runs"]
    assert [rule["id"] for rule in run["tool"]["driver"]["rules"]] == ["robustness-loss", "below-floor"]


@pytest.mark.parametrize("command", [None, "robust-aigen run 'no end", "robust-aigen"])
def test_names_and_commands_of_strangers_stay_text(tmp_path, command):
    name = NASTY + "{0}"
    now, then = sides(name, command)
    result = gate(now, then)
    result.write_sarif(tmp_path / "gate.sarif")
    (loss,) = results_of((tmp_path / "gate.sarif").read_text(encoding="utf-8"))
    assert "{{0}}" in loss["message"]["text"]
    assert loss["properties"]["detector"] == name


def test_update_writes_no_sarif(workplace, cli):
    outcome = cli("gate", "now", "--baseline", "other", "--update", "--sarif", "gate.sarif")
    assert outcome.code == 2
    assert "--sarif" in outcome.err
    assert not (workplace / "other").exists()
