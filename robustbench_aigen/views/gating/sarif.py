"""The failed checks of a gate as SARIF 2.1.0 (OASIS, 2020), the form of code scanning."""

import json
import math
from collections.abc import Mapping
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from robustbench_aigen.documents.located_yaml import LocatedYaml, Path_, read_yaml
from robustbench_aigen.errors import UserError
from robustbench_aigen.runs.baseline import BASELINE
from robustbench_aigen.views.gating.result import GateResult, sentence, write_result

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_RULES = {
    "loss": (
        "robustness-loss",
        "RobustnessLoss",
        "A metric fell below the baseline by more than the tolerance, and the loss is statistically significant.",
    ),
    "floor": ("below-floor", "BelowFloor", "A metric is below its floor."),
}
"""The rule of each kind of check: identifier, name, description."""


class _Place(NamedTuple):
    uri: str
    line: int


def write_sarif(result: GateResult, file: str | Path) -> None:
    """Write :func:`sarif_log` into a file.

    Raises
    ------
    UserError
        If it cannot be written.
    """
    text = json.dumps(sarif_log(result), indent=2, ensure_ascii=False, allow_nan=False)
    write_result(file, text + "\n", "SARIF")


def sarif_log(result: GateResult) -> dict[str, Any]:
    """Return the log: a rule for each kind of check, and a result for each failed check.

    A result points at the scenario file, at the line of the pipeline or of the floors. If the run has no scenario file
    here, the result points at the baseline. Paths are relative to the working directory.
    """
    where = _Files(result)
    kinds = list(_RULES)
    results = []
    for row in result.failures.to_dict(orient="records"):
        place = where.of(row)
        identity = "\n".join(str(row[key]) for key in ("kind", "detector", "pipeline", "generator", "metric"))
        results.append(
            {
                "ruleId": _RULES[row["kind"]][0],
                "ruleIndex": kinds.index(row["kind"]),
                "level": "error",
                "message": {"text": _message(sentence(row))},
                "locations": [
                    {
                        "physicalLocation": {
                            "artifactLocation": {"uri": place.uri},
                            "region": {"startLine": place.line},
                        }
                    }
                ],
                "partialFingerprints": {"check/v1": sha256(identity.encode()).hexdigest()},
                "properties": {key: _plain(value) for key, value in row.items()},
            }
        )
    notices = [{"level": "note", "message": {"text": _message(text)}} for text in result.notices]
    rules = [
        {
            "id": identifier,
            "name": name,
            "shortDescription": {"text": text},
            "fullDescription": {"text": _message(result.rule)},
            "defaultConfiguration": {"level": "error"},
        }
        for identifier, name, text in _RULES.values()
    ]
    driver = {"name": "robust-aigen", "version": version("robustbench-aigen"), "rules": rules}
    run = {
        "tool": {"driver": driver},
        "invocations": [{"executionSuccessful": True, "toolExecutionNotifications": notices}],
        "results": results,
    }
    return {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}


class _Files:
    """The file and the line of each check."""

    def __init__(self, result: GateResult) -> None:
        self._families = result.families
        self._scenario = _scenario(result.scenario)
        folder = Path(result.baseline)
        named = [folder / name for name in (BASELINE, "run.json")]
        self._baseline = next((file for file in named if file.is_file()), folder)

    def of(self, row: Mapping[str, Any]) -> _Place:
        if self._scenario is None:
            return _Place(_uri(self._baseline), 1)
        floors: Path_ = ("gate", "floors")
        path = floors if row["kind"] == "floor" else ("pipelines", self._families.get(row["pipeline"], ""))
        return _Place(_uri(self._scenario.file), self._scenario.line(path) or 1)


def _scenario(file: str | None) -> LocatedYaml | None:
    """Return the scenario with its lines; None if the file is not here, or is not a scenario any more."""
    if file is None or not Path(file).is_file():
        return None
    try:
        return read_yaml(Path(file))
    except UserError:
        return None


def _uri(file: Path) -> str:
    """Return a path relative to the working directory if the file is inside, else a ``file:`` address."""
    whole, here = file.resolve(), Path.cwd().resolve()
    return quote(whole.relative_to(here).as_posix()) if whole.is_relative_to(here) else whole.as_uri()


def _message(text: str) -> str:
    """Double the braces: single braces are placeholders (SARIF 2.1.0, section 3.11.5)."""
    return text.replace("{", "{{").replace("}", "}}")


def _plain(value: Any) -> Any:
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and math.isnan(value) else value
