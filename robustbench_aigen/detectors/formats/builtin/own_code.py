"""Functions of the user's that return a detector. None imports torch before it loads something."""

from typing import TYPE_CHECKING

from robustbench_aigen.detectors.format import detector_format

if TYPE_CHECKING:
    from robustbench_aigen.detectors.contract import Detector
    from robustbench_aigen.detectors.formats.request import Loaded, Request


@detector_format(
    prefix="python",
    gradients="as it has them",
    trust="never",
    written="python:MODULE:FACTORY, python:FILE.py:FACTORY",
    what="the return value of your function",
    order=9,
)
def load_python(request: "Request") -> "Loaded | Detector":
    """Load what a function of the user's returns."""
    from robustbench_aigen.detectors.formats import python_factory

    return python_factory.load_python(request)
