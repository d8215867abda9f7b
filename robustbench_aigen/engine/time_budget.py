"""The largest stratified part of a scenario's images whose run fits into a given time."""

import time
from collections.abc import Callable
from typing import NamedTuple

from robustbench_aigen.detectors.remote.network import services_of
from robustbench_aigen.engine.estimate import write_duration
from robustbench_aigen.engine.experiment import Experiment
from robustbench_aigen.engine.pilot import Pilot, RunInMemory, pilot
from robustbench_aigen.errors import UserError
from robustbench_aigen.scenario.scenario import Scenario

_FEWEST = 8
"""Images of the smallest run."""
_SHARE = 0.1
"""Share of the time that the next pilot may take."""
_RESERVE = 0.9
"""Share of the time that is planned."""


class FittedScenario(NamedTuple):
    """A scenario whose images fit into the time, and a sentence on the choice; empty if all images fit."""

    scenario: Scenario
    told: str


def fitted_to(
    seconds: float,
    scenario: Scenario,
    make: Callable[[Scenario], Experiment],
    run: RunInMemory,
    began: float,
) -> FittedScenario:
    """Return the scenario with as many images as its run takes in the given time.

    A part of the images is run first (:mod:`robustbench_aigen.engine.pilot`).

    Parameters
    ----------
    seconds
        The time of the whole command.
    scenario
        The scenario.
    make
        Makes the experiment of a scenario.
    run
        Runs an experiment in memory.
    began
        When the command began, in seconds of ``time.perf_counter``.

    Raises
    ------
    UserError
        If the time is too short for 8 images, or if a detector is a service.
    """
    clock = time.perf_counter()
    experiment = make(scenario)
    if services_of(*experiment.detectors, *experiment.surrogates.values()):
        raise UserError(
            "--time would ask a service for images to measure the time",
            hint="leave out --time, and set --limit; --dry-run tells the queries",
        )
    setup = time.perf_counter() - clock
    found = pilot(experiment, run, lambda _: _SHARE * seconds)
    left = _RESERVE * seconds - (time.perf_counter() - began) - setup
    if found.seconds(found.whole, scenario.trust).likely <= left:
        return FittedScenario(scenario, "")
    count = most_images(found, scenario.trust, left)
    if count < _FEWEST:
        needed = (_RESERVE * seconds - left + found.seconds(_FEWEST, scenario.trust).likely) / _RESERVE
        raise UserError(
            f"the time is too short: {_FEWEST} images take about {write_duration(needed)}",
            hint="more --time, or fewer detectors and pipelines",
        )
    planned = write_duration(found.seconds(count, scenario.trust).likely)
    told = f"--time: at most {count} images, for which {planned} are planned from the times of {found.images}"
    return FittedScenario(scenario.replace(data=scenario.data.model_copy(update={"limit": count})), told)


def most_images(found: Pilot, trust: str, seconds: float) -> int:
    """Return the largest number of images whose run takes at most some seconds by a pilot, or 0."""
    none, one = found.seconds(0, trust).likely, found.seconds(1, trust).likely
    return max(0, int((seconds - none) / (one - none))) if one > none else found.whole
