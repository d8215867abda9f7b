"""The largest stratified part of a scenario's images whose run fits into a given time."""

import time
from collections.abc import Callable
from typing import NamedTuple

from robustbench_aigen.engine.estimate import write_duration
from robustbench_aigen.errors import UserError
from robustbench_aigen.runs.run import Run
from robustbench_aigen.scenario.scenario import Scenario

_FIRST, _SECOND = 8, 64
"""Images that are timed first, and those that are timed if the first take little of the time."""
_LITTLE = 0.03
"""Share of the time that the first images may take for the second to be timed, too."""
_TRUST = {"off": 1.0, "quick": 1.35, "full": 2.0}
"""Factor of the time of the cells for the trust checks: ``quick`` takes at most a quarter of a run."""
_RESERVE = 0.9
"""Share of the time that is planned."""
_UNITS = {"s": 1, "m": 60, "min": 60, "h": 3600}


class FittedScenario(NamedTuple):
    """A scenario whose images fit into the time, and a sentence on the choice; empty if all images fit."""

    scenario: Scenario
    told: str


def read_time(text: str) -> float:
    """Return the seconds of a duration such as ``90s``, ``10m`` or ``1.5h``.

    Raises
    ------
    UserError
        If it is not a duration.
    """
    number = text.strip().rstrip("sminh")
    unit = text.strip()[len(number) :]
    try:
        seconds = float(number) * _UNITS[unit]
    except (ValueError, KeyError):
        raise UserError(f"--time '{text}' is not a duration", hint="write 90s, 10m or 1.5h") from None
    if not 0 < seconds < float("inf"):
        raise UserError(f"--time '{text}' must be above 0")
    return seconds


def fitted_to(
    seconds: float, scenario: Scenario, run: Callable[[Scenario], Run], began: float
) -> FittedScenario:
    """Return the scenario with as many images as its run takes in the given time.

    Some images are run first, without trust checks, and their cells are timed.

    Parameters
    ----------
    seconds
        The time of the whole command.
    scenario
        The scenario.
    run
        Runs a scenario in memory.
    began
        When the command began, in seconds of ``time.perf_counter``.

    Raises
    ------
    UserError
        If the time is too short for as many images as were timed.
    """
    timed, each, fixed = _timed(scenario, _FIRST, run)
    if time.perf_counter() - began < _LITTLE * seconds + fixed:
        timed, each, fixed = _timed(scenario, _SECOND, run)
    left = _RESERVE * seconds - (time.perf_counter() - began) - fixed
    count = int(left / (each * _TRUST[scenario.trust]))
    if count < _FIRST:
        needed = (time.perf_counter() - began + fixed + _FIRST * each * _TRUST[scenario.trust]) / _RESERVE
        raise UserError(
            f"the time is too short: {_FIRST} images take about {write_duration(needed)}",
            hint="more --time, or fewer detectors and pipelines",
        )
    limit = scenario.data.limit
    if limit is not None and count >= limit:
        return FittedScenario(scenario, "")
    told = f"--time: at most {count} images, chosen from the times of {timed}"
    return FittedScenario(scenario.replace(data=scenario.data.model_copy(update={"limit": count})), told)


def _timed(scenario: Scenario, count: int, run: Callable[[Scenario], Run]) -> tuple[int, float, float]:
    """Return the number of timed images, the seconds of all cells for an image, and the seconds beside cells."""
    limit = count if scenario.data.limit is None else min(count, scenario.data.limit)
    clock = time.perf_counter()
    done = run(scenario.replace(data=scenario.data.model_copy(update={"limit": limit}), trust="off"))
    taken = time.perf_counter() - clock
    cells = sum(row.seconds for row in done.info.timings if row.step == "cell")
    images = max(1, done.info.data.images)
    return images, cells / images, taken - cells
