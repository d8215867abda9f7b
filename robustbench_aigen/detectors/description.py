"""One-line descriptions of detectors: size, normalisation, fake output, assumptions."""

from collections.abc import Sequence

from robustbench_aigen.detectors.contract import Detector
from robustbench_aigen.detectors.ensembles import Ensemble
from robustbench_aigen.detectors.preprocessing_settings import describe_preprocessing
from robustbench_aigen.notices import Notice, about, warning
from robustbench_aigen.text import counted

UNDECLARED_NORMALISATION = "no card, mean or std: the network receives pixels in [0, 1]"
"""The assumption about a detector whose normalisation nothing declares."""


def describe_detector(detector: Detector) -> list[Notice]:
    """Return one line of how a detector is read, with its assumptions, and a line for each that is a warning.

    An ensemble has these lines for each member.
    """
    if isinstance(detector, Ensemble):
        names = ", ".join(member.name for member in detector.members)
        lines = [about(detector.name, f"{detector.rule} of {names}")]
        return lines + [
            about(detector.name, line) for member in detector.members for line in describe_detector(member)
        ]
    # The reading says of its normalisation itself that it is assumed.
    assumed = [Notice(text) for text in detector.assumptions if text != UNDECLARED_NORMALISATION]
    parts = [_reading(detector), *(text for text in assumed if not text.is_warning)]
    warnings = [about(detector.name, text) for text in assumed if text.is_warning]
    return [about(detector.name, "; ".join(parts)), *warnings]


def _reading(detector: Detector) -> str:
    own = detector.preprocessing
    is_assumed = UNDECLARED_NORMALISATION in detector.assumptions
    parts = [describe_preprocessing(own, " (assumed; set mean and std)" if is_assumed else "")]
    parts += [f"outputs are {own.outputs}"] if own.outputs != "logits" else []
    parts.append(f"output {own.fake_index} means fake{_reason(detector)}")
    parts += [] if detector.differentiable else ["no gradients"]
    return ", ".join(parts)


def _reason(detector: Detector) -> str:
    """Return the reason why an output is read as fake; empty if it is declared."""
    if "fake_index" in detector.declared:
        return ""
    return f" (as {detector.shown_by} show)" if detector.shown_by else " (assumed; set fake_index)"


def pads_undeclared(detector: Detector) -> bool:
    """Whether a detector, or a member of an ensemble, pads images smaller than its crop though no ``pad`` is declared."""
    return any(each.preprocessing.crops and each.preprocessing.pad is None for each in _single(detector))


def describe_padding(detector: Detector, shapes: Sequence[tuple[int, int]]) -> list[Notice]:
    """Return a warning if images are smaller than a crop, and padded with black because no ``pad`` is declared.

    Parameters
    ----------
    detector
        A detector, or an ensemble, whose members are told one by one.
    shapes
        Height and width of each image.
    """
    notices = []
    for one in filter(pads_undeclared, _single(detector)):
        small = sum(one.preprocessing.pads(height, width) for height, width in shapes)
        if small:
            size = "×".join(map(str, one.preprocessing.input_size or ()))
            text = (
                f"{small} of {counted(len(shapes), 'image')} {'is' if small == 1 else 'are'} smaller than the crop of {size} "
                "and padded with black; set pad: reflect or pad: black, or resize_to to resize them first"
            )
            notices.append(warning(text, one.name))
    return notices


def _single(detector: Detector) -> Sequence[Detector]:
    return detector.members if isinstance(detector, Ensemble) else [detector]
