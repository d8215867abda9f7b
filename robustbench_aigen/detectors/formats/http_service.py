"""Detectors behind HTTP: an address and its description in a scenario, or both in a YAML file."""

import re
from dataclasses import fields
from hashlib import sha256

from robustbench_aigen.detectors.contract import Detector
from robustbench_aigen.detectors.formats.request import Request
from robustbench_aigen.detectors.preprocessing import Preprocessing
from robustbench_aigen.detectors.remote.network import HttpNetwork
from robustbench_aigen.detectors.remote.service import HttpService
from robustbench_aigen.documents.document import validated
from robustbench_aigen.documents.located_yaml import read_yaml
from robustbench_aigen.errors import UserError
from robustbench_aigen.scenario.detector_spec import DetectorSpec
from robustbench_aigen.scenario.http_spec import HttpSpec, answers_beside
from robustbench_aigen.text import counted


def load_http(request: Request) -> Detector:
    """Make the detector of a service; nothing is sent.

    Raises
    ------
    UserError
        If the file is not the description of a service, or an environment variable is missing.
    """
    spec, folder = request.spec, request.folder
    if spec.path is not None:
        spec, folder = _from_file(request), request.path.parent
    assert spec.id is not None
    assert spec.http is not None
    http = answers_beside(spec.http, folder)
    name = request.spec.name or spec.name or default_name(spec.id)
    service = HttpService(spec.id, http, name)
    detector = Detector.assembled(
        HttpNetwork(service),
        Preprocessing(),
        name=name,
        architecture="HTTP",
        weights_sha256=sha256(service.reading.encode()).hexdigest(),
    )
    detector.differentiable = False
    # The service does its own preprocessing, and the description says the rest.
    detector.declared = frozenset(field.name for field in fields(Preprocessing))
    detector.assumptions = tuple(_description(spec.id, http))
    return detector


def _from_file(request: Request) -> DetectorSpec:
    """Return the address and the description in a YAML file."""
    others = request.spec.model_fields_set - {"path", "name"}
    if others:
        raise UserError(
            f"'{min(others)}' does not go with the description of a service: the service does its own preprocessing",
            source=request.spec.where(min(others)),
        )
    spec = validated(DetectorSpec, read_yaml(request.path), "the description of a service")
    if spec.http is None:
        raise UserError(
            "not the description of a service: the keys 'id' (an address) and 'http' are missing",
            file=request.path,
        )
    return spec


def default_name(address: str) -> str:
    """Return the host and the path of an address, without its parameters.

    >>> default_name("https://api.example.org/v1/detect?key=${KEY}")
    'api.example.org/v1/detect'
    """
    return re.sub(r"\$\{[^}]*\}", "…", address.partition("://")[2].partition("?")[0]).rstrip("/")


def _description(address: str, http: HttpSpec) -> list[str]:
    """Return what the user has to know of a service, in short phrases."""
    image = http.image.format if http.image.quality is None else f"jpeg, quality {http.image.quality}"
    score = http.score
    what = "verdicts" if score.is_verdict else f"{score.scale or 'probability'} of {score.of}"
    parts = [f"{http.method} {address} ({http.send}, {image}), {what} at {score.path}"]
    parts.append(
        "answers are stored, and the output check and the trust probes are left out: each image costs a query"
    )
    if score.is_verdict:
        parts.append("the outputs are labels, not scores: AUROC and attacks on scores see two values")
    if http.image.format == "jpeg":
        parts.append("the service sees each image after JPEG; distances are measured before it")
    limit = (
        "no budget" if http.budget is None else f"at most {counted(http.budget.limit, 'query', 'queries')}"
    )
    return [*parts, limit]
