"""Images are added until the intervals of all accuracies are narrow enough.

The intervals are checked several times, and a usual 95 % interval does not hold for a number of images that depends
on the results. Here the number of looks is known before, and each look has a confidence of 1 − 0.05 / looks. By Boole's
inequality all looks together have 95 %, for any stop (Bonferroni; Jennison and Turnbull, Group Sequential
Methods with Applications to Clinical Trials, 2000, on repeated looks).
"""

from collections.abc import Callable
from typing import NamedTuple

from robustbench_aigen.data.selection import Selection, nested_limit, stratified
from robustbench_aigen.engine.experiment import Experiment
from robustbench_aigen.metrics.summary import ALL_GENERATORS
from robustbench_aigen.runs.run import Run

_FIRST, _GROWTH = 256, 2
_ERROR = 0.05


class NarrowedExperiment(NamedTuple):
    """An experiment with as many images as its intervals need, and a sentence on the choice."""

    experiment: Experiment
    told: str


def until_narrow(
    experiment: Experiment, half_width: float, run: Callable[[Experiment], Run]
) -> NarrowedExperiment:
    """Return the experiment with as many images as it needs for intervals of a width.

    The images are added in a fixed order, stratified by class and generator, so that finished shards are used again.

    Parameters
    ----------
    experiment
        The experiment with all images.
    half_width
        Largest half width of the interval of an accuracy, as a fraction.
    run
        Runs an experiment in memory, and keeps its finished shards.
    """
    looks = looks_of(experiment.selection)
    confidence = 1 - _ERROR / len(looks)
    taken: list[int] = []
    for count in looks:
        taken += _added(experiment.selection, taken, count)
        part = experiment.replaced(
            selection=experiment.selection._replace(indices=list(taken)), confidence=confidence
        )
        silent = part.replaced(scenario=experiment.scenario.model_copy(update={"trust": "off"}))
        widest = _widest(run(silent))
        if widest <= half_width:
            break
    reached = "" if widest <= half_width else ", which are all"
    told = (
        f"--precision {100 * half_width:g}%: {len(taken)} images{reached}, after look {looks.index(count) + 1} of {len(looks)}; the widest "
        f"interval of an accuracy is ±{100 * widest:.1f} points. Intervals have {100 * confidence:.2f} % at each look, and "
        "95 % for any look that is the last. The p-values take the number of images as fixed"
    )
    return NarrowedExperiment(part, told)


def looks_of(selection: Selection) -> list[int]:
    """Return the numbers of images at which the intervals are checked: 256, twice as many, … and all."""
    whole = len(selection.indices)
    if not whole:
        return [0]
    planned = [_FIRST * _GROWTH**power for power in range(64) if _FIRST * _GROWTH**power < whole]
    samples = selection.source.samples
    return sorted({*(nested_limit(samples, selection.indices, count) for count in planned), whole})


def _added(selection: Selection, taken: list[int], count: int) -> list[int]:
    """Return the images that a larger look has beside those of the look before."""
    before = set(taken)
    larger = stratified(selection.source.samples, selection.indices, count)
    return [index for index in larger if index not in before]


def _widest(run: Run) -> float:
    """Return the largest half width of the intervals of all accuracies."""
    rows = run.summary[run.summary["generator"] == ALL_GENERATORS]
    return float((rows["ci_high"] - rows["ci_low"]).max() / 2)
