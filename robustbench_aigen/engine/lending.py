"""A user's modules during a run: tried on the first image, and restored afterwards."""

from collections.abc import Iterator
from contextlib import contextmanager

from robustbench_aigen.detectors.borrowing import borrowed, borrowers
from robustbench_aigen.engine.examination import few_images
from robustbench_aigen.engine.experiment import Experiment


@contextmanager
def lent(experiment: Experiment) -> Iterator[None]:
    """Run an experiment with its detectors in evaluation mode and frozen, and put the user's modules back afterwards.

    Everything computed from such a module before is computed again, because its weights may have changed. Each is tried on the
    size of the first image that can be read.

    Raises
    ------
    UserError
        If a module fails on that size, or does not answer one or two numbers for each image.
    """
    detectors = (*experiment.detectors, *experiment.surrogates.values())
    own = borrowers(*detectors)
    for detector in own:
        detector.refresh()
    if own:
        for index in experiment.selection.indices:
            levels = few_images(experiment.selection, [index]).levels
            if levels:
                for detector in detectors:
                    detector.see(levels[0].shape[1], levels[0].shape[2])
                break
    with borrowed(*detectors):
        yield
