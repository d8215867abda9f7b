"""The format of detectors behind HTTP. The function imports torch and httpx when a detector is loaded."""

from typing import TYPE_CHECKING

from robustbench_aigen.detectors.format import detector_format

if TYPE_CHECKING:
    from robustbench_aigen.detectors.contract import Detector
    from robustbench_aigen.detectors.formats.request import Request


@detector_format(
    prefix=("https", "http"),
    suffixes=(".yaml", ".yml"),
    gradients="no: scores or verdicts only",
    trust="never",
    written="https://HOST/PATH with http:, FILE.yaml",
    what="service behind HTTP, or a file with its address and description",
    order=10,
)
def load_http(request: "Request") -> "Detector":
    """Make the detector of a service; nothing is sent."""
    from robustbench_aigen.detectors.formats import http_service

    return http_service.load_http(request)
