"""One plugin file with trust checks: found in the trust column, the report and ``run.json``."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from robustbench_aigen import registry
from robustbench_aigen.errors import UserError
from robustbench_aigen.registry import load_plugin
from robustbench_aigen.trust.check import CHECKS, flag_names, flags

pytestmark = pytest.mark.usefixtures("undrawn")

OWN = """
from robustbench_aigen.plugins import DetectorCheck, Measurement, check

@check("few_images", meaning="a cell has fewer images than a paper needs", on="cell")
def few_images(cell):
    return f"{len(cell.records)} images" if len(cell.records) < 100 else None

@check("timid_margins", meaning="no image is decided clearly", on="detector")
class TimidMargins(DetectorCheck):
    def probe(self, images):
        return images.clean_logits.diff(dim=1)[:, 0].abs()

    def judge(self, answers):
        return Measurement(bool(answers.max() < 1e6), f"at most {answers.max():.1f} nats on {len(answers)} images")

@check("same_norm", meaning="another attack has the same norm", on="pair")
def same_norm(cell, other):
    return False

@check("once_more", meaning="the same attack fools more at a second try", on="survivors")
def once_more(withstood):
    from robustbench_aigen.plugins import NextAttack
    return NextAttack("the same attack once more", withstood.stage)
"""
BROKEN = """
from robustbench_aigen.plugins import DetectorCheck, Measurement, check

@check("broken", meaning="never", on="KIND")
BODY
"""
SCENARIO = """
version: 1
name: own
plugins: [own_checks.py]
data: {source: minigen, split: test, limit: 12}
detectors: [minigen/cifake_cnn+pgd]
trust: full
pipelines: {pgd: [{attack: pgd, eps: 1/255, steps: 2}]}
"""


@pytest.fixture(autouse=True)
def _no_plugins_stay() -> Iterator[None]:
    before = registry._snapshot()
    yield
    registry._restore(before)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "own.yaml"
    file.write_text(SCENARIO)
    return file


def test_checks_of_a_file_are_in_trust_column_report_and_list(file, tmp_path, output, cli):
    (tmp_path / "own_checks.py").write_text(OWN)
    outcome = cli("run", file, "--output", output)
    assert outcome.code == 0, outcome.err
    folder = output / "own" / "latest"
    summary = pd.read_csv(folder / "summary.csv")
    trust = summary[summary["generator"] == "all"].set_index("pipeline")["trust"]
    assert trust["clean"].split()[-1] == "few_images"
    assert {"few_images", "timid_margins"} <= set(trust["pgd"].split())
    assert [flag.name for flag in flags()][-5:-1] == ["few_images", "timid_margins", "same_norm", "once_more"]
    probes = json.loads((folder / "run.json").read_text())["trust"]["probes"]
    measured = {probe["flag"]: probe for probe in probes}
    assert measured["timid_margins"]["raised"]
    assert "the same attack once more turn 0 of" in measured["once_more"]["evidence"]
    # The run speaks for itself: the report needs no plugin to explain the flag.
    registry._restore({CHECKS: frozenset()})
    assert "few_images" not in flag_names("cell")
    assert cli("report", folder).code == 0
    report = (folder / "report.md").read_text()
    assert "- `few_images`: a cell has fewer images than a paper needs.\n  - " in report
    assert "- `timid_margins`: no image is decided clearly." in report


def test_a_changed_probe_is_asked_again(file, tmp_path, output, cli):
    for times in ("1", "1000"):
        source = OWN.replace(".abs()", f".abs() * {times}")
        (tmp_path / "own_checks.py").write_text(source)
        module = registry._PLUGINS.pop(tmp_path / "own_checks.py", None)
        sys.modules.pop(getattr(module, "__name__", ""), None)
        registry._restore({CHECKS: frozenset()})
        assert cli("run", file, "--output", output).code == 0
    runs = sorted(path for path in (output / "own").iterdir() if path.name != "latest")
    told = [
        next(
            probe["evidence"]
            for probe in json.loads((run / "run.json").read_text())["trust"]["probes"]
            if probe["flag"] == "timid_margins"
        )
        for run in runs
    ]
    values = [float(text.split()[2]) for text in told]
    assert values[1] == pytest.approx(1000 * values[0], rel=0.02)


@pytest.mark.parametrize(
    ("kind", "body", "said"),
    [
        ("cell", "def broken(cell): return cell.nothing_here", "AttributeError"),
        ("cell", "def broken(cell): return 7", "TypeError: the check returned 7"),
        ("pair", "def broken(cell, other): raise ValueError('no pairs')", "ValueError: no pairs"),
        ("survivors", "def broken(withstood): raise ValueError('too late')", "ValueError: too late"),
        (
            "detector",
            (
                "class Broken(DetectorCheck):\n"
                "    def probe(self, images): return images.labels[:1].repeat(2, 1)\n"
                "    def judge(self, answers): return Measurement(True, 'x')"
            ),
            "expected a tensor of [",
        ),
        (
            "detector",
            (
                "class Broken(DetectorCheck):\n"
                "    def probe(self, images): return images.labels\n"
                "    def judge(self, answers): return True"
            ),
            "the check returned True",
        ),
        ("repeats", "def broken(answers): return 1 / 0", "ZeroDivisionError"),
    ],
)
def test_a_check_that_fails_costs_a_line_and_no_number(file, tmp_path, output, cli, kind, body, said):
    (tmp_path / "own_checks.py").write_text(BROKEN.replace("KIND", kind).replace("BODY", body))
    pair = "{pgd: [{attack: pgd, eps: [1/255, 2/255], steps: 2}]}"
    file.write_text(SCENARIO.replace("{pgd: [{attack: pgd, eps: 1/255, steps: 2}]}", pair))
    outcome = cli("run", file, "--output", output)
    assert outcome.code == 0, outcome.err
    assert outcome.err.count("the trust check 'broken' fails: ") == 1
    folder = output / "own" / "latest"
    (notice,) = [
        each["text"] for each in json.loads((folder / "run.json").read_text())["notices"]
        if "broken" in each["text"]
    ]  # fmt: skip
    assert said in notice
    assert f"{tmp_path / 'own_checks.py'}:4" in notice
    assert len(pd.read_csv(folder / "summary.csv")) > 0
    assert "- broken (the check fails: " in (folder / "report.md").read_text()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('@check("one_class", meaning="m", on="cell")\ndef own(cell): ...', "registered twice"),
        ('@check("unchecked", meaning="m", on="cell")\ndef own(cell): ...', "an unused name"),
        ('@check("Two Words", meaning="m", on="cell")\ndef own(cell): ...', "small letters"),
        ('@check("mine", meaning="m", on="cells")\ndef own(cell): ...', "did you mean 'cell'"),
        ('@check("mine", meaning="m", on="detector")\ndef own(images): ...', "subclass of DetectorCheck"),
    ],
)
def test_a_check_that_cannot_be_asked_is_refused(tmp_path, text, said):
    file = tmp_path / "wrong.py"
    file.write_text(f"from robustbench_aigen.plugins import check\n{text}\n")
    with pytest.raises(UserError, match=said):
        load_plugin(file)
