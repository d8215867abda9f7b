"""How long the tables, figures and trust checks of a run took, in its ``run.json``."""

from collections.abc import Mapping
from typing import Any

TABLES_STEP, FIGURES_STEP = "tables", "figures"
_OF_REPORTS = (TABLES_STEP, FIGURES_STEP)
OUTPUT_CHECK_STEP, PROBES_STEP = "output check", "trust probes"
_OF_TRUST = (OUTPUT_CHECK_STEP, PROBES_STEP)


def step_row(step: str, seconds: float, detector: str = "") -> dict[str, Any]:
    """Return a row of ``timings`` for a step beside the cells; ``detector`` is empty where it is of the whole run."""
    shards = {"shards_computed": 0, "shards_cached": 0, "batch_size": None}
    return {"step": step, "detector": detector, "pipeline": "", "seconds": round(seconds, 3), **shards}


def with_report_times(info: Mapping[str, Any], seconds: Mapping[str, float]) -> dict[str, Any]:
    """Return the content of a ``run.json`` with the seconds of steps of its report in ``timings`` and in the total.

    Parameters
    ----------
    info
        The content so far. Earlier times of the same steps are replaced.
    seconds
        By step: ``tables``, ``figures``.
    """
    timings = list(info.get("timings", []))
    before = [row for row in timings if row.get("step") in seconds]
    rows = [step_row(step, value) for step, value in seconds.items()]
    total = float(info["seconds"]) + sum(row["seconds"] for row in rows)
    total -= sum(row["seconds"] for row in before)
    kept = [row for row in timings if row not in before]
    return {**info, "seconds": round(total, 3), "timings": [*kept, *rows]}


def seconds_without_report(info: Mapping[str, Any]) -> float:
    """Return how long a run took up to its tables and figures, however often its report is made again."""
    of_reports = [row["seconds"] for row in info.get("timings", []) if row.get("step") in _OF_REPORTS]
    return float(info["seconds"] - sum(of_reports))


def trust_share(info: Mapping[str, Any]) -> float:
    """Return the share of a run's seconds that its trust checks took, 0 to 1."""
    checks = sum(row["seconds"] for row in info.get("timings", []) if row.get("step") in _OF_TRUST)
    return float(checks / info["seconds"]) if info["seconds"] else 0.0
