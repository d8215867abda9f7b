"""Times of the tables, figures and trust checks of a run, in its ``run.json``."""

from collections.abc import Mapping

from robustbench_aigen.runs.info import RunInfo, TimingInfo

TABLES_STEP, FIGURES_STEP = "tables", "figures"
_OF_REPORTS = (TABLES_STEP, FIGURES_STEP)
OUTPUT_CHECK_STEP, PROBES_STEP = "output check", "trust probes"
WORKERS_STEP = "workers"
_OF_IMAGES = ("audit", "hashing", "decoding")
_OF_TRUST = (OUTPUT_CHECK_STEP, PROBES_STEP)


def step_row(step: str, seconds: float, detector: str = "") -> TimingInfo:
    """Return a row of ``timings`` for a step beside the cells; ``detector`` is empty where it is of the whole run."""
    return TimingInfo(
        step=step, detector=detector, pipeline="", seconds=round(seconds, 3), shards_computed=0, shards_cached=0,
        batch_size=None,
    )  # fmt: skip


def of_images(step: str) -> bool:
    """Whether a step beside the cells takes longer with more images."""
    return step in _OF_IMAGES


def with_report_times(info: RunInfo, seconds: Mapping[str, float]) -> RunInfo:
    """Return the info with the seconds of the report's steps added to ``timings`` and to the total.

    Parameters
    ----------
    info
        The info so far. Earlier times of the same steps are replaced.
    seconds
        Seconds by step: ``tables``, ``figures``.
    """
    earlier = [row for row in info.timings if row.step in seconds]
    kept = [row for row in info.timings if row.step not in seconds]
    rows = [step_row(step, value) for step, value in seconds.items()]
    total = info.seconds + sum(row.seconds for row in rows)
    total -= sum(row.seconds for row in earlier)
    return info.replace(seconds=round(total, 3), timings=[*kept, *rows])


def seconds_without_report(info: RunInfo) -> float:
    """Return the duration of a run without its tables and figures, which does not depend on later reports."""
    return info.seconds - sum(row.seconds for row in info.timings if row.step in _OF_REPORTS)


def trust_share(info: RunInfo) -> float:
    """Return the share of a run's seconds that its trust checks took, 0 to 1."""
    checks = sum(row.seconds for row in info.timings if row.step in _OF_TRUST)
    return checks / info.seconds if info.seconds else 0.0
