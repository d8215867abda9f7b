"""The format for functions of the user that return a detector; torch is imported when such a function is called."""

from typing import TYPE_CHECKING

from robustbench_aigen.detectors.format import detector_format

if TYPE_CHECKING:
    from robustbench_aigen.detectors.contract import Detector
    from robustbench_aigen.detectors.formats.request import Loaded, Request


@detector_format(
    prefix="python",
    gradients="if the returned module has gradients",
    trust="never",
    written="python:MODULE:FACTORY, python:FILE.py:FACTORY",
    what="the return value of your function",
    order=9,
)
def load_python(request: "Request") -> "Loaded | Detector":
    """Load the detector that a function of the user returns."""
    from robustbench_aigen.detectors.formats import python_factory

    return python_factory.load_python(request)
