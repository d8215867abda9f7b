"""Results of a gate: a table of checks, as text, Markdown, HTML, JSON, JUnit XML and SARIF."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pandas as pd

from robustbench_aigen.errors import UserError
from robustbench_aigen.metrics.summary import ALL_GENERATORS
from robustbench_aigen.scenario.gate_spec import GateSpec
from robustbench_aigen.views.formats.markdown import markdown_frame
from robustbench_aigen.views.table import percent

COLUMNS = [
    "kind", "detector", "pipeline", "generator", "metric", "n", "baseline", "current", "loss", "low", "high", "allowed",
    "p_value", "p_holm", "failed", "trust",
]  # fmt: skip
"""Columns of the table of checks. ``kind`` is ``loss`` or ``floor``; ``low`` and ``high`` bound the loss (95 %);
``allowed`` is the tolerance, or the floor; fractions."""
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True)
class GateResult:
    """The verdict of a gate.

    Parameters
    ----------
    checks
        :data:`COLUMNS`, a row per number.
    spec
        The settings.
    notices
        Notices about the comparison.
    current, baseline
        Folders of the two.
    scenario
        The scenario file of the current run, as its command names the file; None for a run without a file.
    families
        The family of each pipeline of the current run by its name: ``pgd`` of ``pgd[eps=1/255]``.
    """

    checks: pd.DataFrame
    spec: GateSpec
    notices: list[str]
    current: str
    baseline: str
    scenario: str | None = None
    families: Mapping[str, str] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Whether nothing failed."""
        return not self.checks["failed"].any()

    @property
    def failures(self) -> pd.DataFrame:
        """The checks that failed."""
        return self.checks[self.checks["failed"].astype(bool)]

    @property
    def headline(self) -> str:
        """The verdict in a line."""
        count, tried = len(self.failures), len(self.checks)
        verdict = f"passed, {tried} checks" if self.passed else f"FAILED, {count} of {tried} checks"
        return f"gate {verdict}: {self.current} against {self.baseline}"

    @property
    def rule(self) -> str:
        """The rule of the gate as a sentence."""
        test = "an unpaired" if any(text.startswith("unpaired") for text in self.notices) else "a paired"
        return (
            f"Fails where a loss is above {_points(self.spec.tolerance)} and {test} one-sided test rejects "
            f"'no loss' at {self.spec.alpha:g} (Holm), and below a floor."
        )

    def table(self) -> pd.DataFrame:
        """Return the checks as text, failures first; numbers in per cent, losses in points."""
        rows = self.checks.sort_values("failed", ascending=False, kind="stable")
        return pd.DataFrame(
            {
                "verdict": ["FAILED" if failed else "ok" for failed in rows["failed"]],
                "detector": rows["detector"],
                "pipeline": rows["pipeline"],
                "images of": rows["generator"],
                "metric": rows["metric"],
                "n": rows["n"].astype(str),
                "baseline": rows["baseline"].map(percent),
                "now": rows["current"].map(percent),
                "loss": rows["loss"].map(percent),
                "95 % CI": [_interval(row.low, row.high) for row in rows.itertuples()],
                "p (Holm)": rows["p_holm"].map(_p_value),
                "limit": [
                    f"floor {percent(row.allowed)}" if row.kind == "floor" else f"loss {percent(row.allowed)}"
                    for row in rows.itertuples()
                ],
                "trust": rows["trust"],
            }
        )

    def as_dict(self) -> dict[str, Any]:
        """Return the verdict as JSON has it; what is empty is null."""
        rows = self.checks.astype(object).where(self.checks.notna(), None).to_dict(orient="records")
        return {
            "passed": self.passed,
            "current": self.current,
            "baseline": self.baseline,
            "gate": self.spec.model_dump(mode="json"),
            "notices": self.notices,
            "checks": rows,
        }

    def markdown(self) -> str:
        """Return the verdict for a step summary or a comment."""
        notices = "\n".join(f"- {_plain(text)}" for text in self.notices)
        heading = "## robust-aigen: the gate " + ("passed" if self.passed else "failed")
        parts = [heading, f"{_plain(self.current)} against {_plain(self.baseline)}. {self.rule}"]
        return "\n\n".join([*parts, *([notices] if notices else []), markdown_frame(self.table())]) + "\n"

    def junit(self) -> str:
        """Return the checks as JUnit XML, a test case each."""
        failures = len(self.failures)
        suite = ET.Element(
            "testsuite", name="robust-aigen gate", tests=str(len(self.checks)), failures=str(failures),
            errors="0", skipped="0",
        )  # fmt: skip
        for row in self.checks.to_dict(orient="records"):
            case = ET.SubElement(
                suite,
                "testcase",
                classname=_xml(row["detector"]),
                name=_xml(f"{row['kind']}: {name_of(row)}"),
            )
            if row["failed"]:
                failure = ET.SubElement(case, "failure", message=_xml(sentence(row)), type=row["kind"])
                failure.text = _xml(f"{sentence(row)}\n{self.rule}")
        suites = ET.Element("testsuites", tests=str(len(self.checks)), failures=str(failures))
        suites.append(suite)
        ET.indent(suites)
        return ET.tostring(suites, encoding="unicode", xml_declaration=True) + "\n"

    def write_junit(self, file: str | Path) -> None:
        """Write :meth:`junit` into a file.

        Raises
        ------
        UserError
            If it cannot be written.
        """
        write_result(file, self.junit(), "JUnit")

    def write_sarif(self, file: str | Path) -> None:
        """Write the failed checks as SARIF 2.1.0 into a file, for code scanning.

        Raises
        ------
        UserError
            If it cannot be written.
        """
        from robustbench_aigen.views.gating.sarif import write_sarif  # sarif.py imports this module.

        write_sarif(self, file)

    def _repr_html_(self) -> str:
        notices = "".join(f"<li>{escape(text)}</li>" for text in self.notices)
        return (
            f"<p><strong>{escape(self.headline)}</strong></p><p>{escape(self.rule)}</p>"
            f"{f'<ul>{notices}</ul>' if notices else ''}{self.table().to_html(index=False, escape=True)}"
        )


def write_result(file: str | Path, text: str, form: str) -> None:
    """Write a text for another program into a file.

    Raises
    ------
    UserError
        If it cannot be written; the message names the form.
    """
    try:
        Path(file).parent.mkdir(parents=True, exist_ok=True)
        Path(file).write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot write the {form} file: {error}") from error


def name_of(row: Any) -> str:
    """Return the subject of a check: ``accuracy of pgd``, ``tpr of pgd on dcgan``."""
    where = "" if row["generator"] == ALL_GENERATORS else f" on {row['generator']}"
    return f"{row['metric']} of {row['pipeline']}{where}"


def sentence(row: Any) -> str:
    """Return a failed check in a sentence."""
    about = f"{row['detector']}: {name_of(row)}"
    if row["kind"] == "floor":
        return f"{about} is {percent(row['current'])} %, below its floor of {percent(row['allowed'])} %"
    return (
        f"{about} fell by {percent(row['loss'])} points, from {percent(row['baseline'])} to {percent(row['current'])} % "
        f"(allowed {percent(row['allowed'])}, p = {_p_value(row['p_holm'])} after Holm, n = {row['n']})"
    )


def _interval(low: float, high: float) -> str:
    return "" if math.isnan(low) else f"{percent(low)}…{percent(high)}"


def _p_value(value: float) -> str:
    return "" if math.isnan(value) else "< 0.0001" if value < 1e-4 else f"{value:.4f}"


def _plain(text: str) -> str:
    return re.sub(r"([\\`*_\[\]<>|])", r"\\\1", " ".join(text.split()))


def _xml(text: str) -> str:
    return _NOT_XML.sub("�", text)


def _points(share: float) -> str:
    return f"{100 * share:g} point{'' if share == 0.01 else 's'}"
