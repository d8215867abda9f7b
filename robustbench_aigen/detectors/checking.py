"""Checks detectors without running code that comes with them, and without loading those that the package knows."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from robustbench_aigen.detectors.published import PUBLISHED
from robustbench_aigen.detectors.shipped import shipped_detectors
from robustbench_aigen.scenario.detector_spec import DetectorSpec

if TYPE_CHECKING:
    from robustbench_aigen.detectors.contract import Detector


@dataclass
class KnownDetector:
    """A detector of which the package knows all that a check asks, without loading it.

    Parameters
    ----------
    name
        Name of the detector.
    differentiable, changes
        As of a :class:`~robustbench_aigen.detectors.contract.Detector`: every shipped one has gradients, and none
        changes with its answers.
    """

    name: str
    differentiable: bool = True
    changes: tuple[str, ...] = ()


def known_detector(spec: DetectorSpec) -> KnownDetector | None:
    """Return the known properties of a shipped detector, with or without a defence, or of an ensemble of such detectors; else None."""
    if spec.ensemble is not None:
        members = [known_detector(member) for member in spec.ensemble]
        return None if None in members else KnownDetector(spec.name or spec.text)
    if spec.id not in shipped_detectors():
        return None
    return KnownDetector(spec.name or (spec.id if spec.wrap is None else f"{spec.id}+trim"))


def check_detector(spec: DetectorSpec, *, folder: Path) -> "Detector | KnownDetector | str":
    """Check a detector without running code that comes with it.

    Weights are loaded and tried, except those of the package. Of ``python:`` the form alone is checked, of files that
    need ``--trust-code`` only the existence.

    Returns
    -------
    Detector, KnownDetector or str
        The detector, what the package knows of it, or why it was not loaded.

    Raises
    ------
    UserError
        As :func:`~robustbench_aigen.detectors.loading.load_detector` does.
    """
    known = known_detector(spec)
    if known is not None:
        return known
    if spec.ensemble is None and spec.id in PUBLISHED:
        return f"'{spec.id}' is not downloaded here"
    # From here on a detector is loaded, which needs torch.
    import torch

    from robustbench_aigen.detectors.formats.python_factory import check_python
    from robustbench_aigen.detectors.formats.request import NeedsTrustError
    from robustbench_aigen.detectors.loading import load_detector, requested

    if spec.ensemble is not None:
        members = [check_detector(member, folder=folder) for member in spec.ensemble]
        notes = [member for member in members if isinstance(member, str)]
        return "; ".join(notes) if notes else load_detector(spec, folder=folder)
    kind, request = requested(spec, folder, torch.device("cpu"), trust_code=False)
    if kind.name == "python":
        check_python(request.place, folder)
        return f"'{spec.text}' is not imported here"
    try:
        return load_detector(spec, folder=folder)
    except NeedsTrustError as refusal:
        return f"not loaded here: {refusal.message}"
