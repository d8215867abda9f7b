"""What no file says of a network and its answers to a few images do: its input size, and what its outputs are."""

from dataclasses import replace
from typing import Any

import torch
from torch import nn

from robustbench_aigen.detectors.contract import Detector, scores
from robustbench_aigen.detectors.formats.final_activation import without_final_activation

_USUAL_SIZES = (224, 32, 256, 128, 96, 299, 384, 28, 512)


def find_out_input_size(detector: Detector) -> None:
    """Try usual input sizes on a network that does not take any, where nobody says which it takes."""
    own = detector.preprocessing
    if own.input_size is not None or takes_its_probes(detector):
        return
    for side in _USUAL_SIZES:
        _set(detector, input_size=(side, side))
        if takes_its_probes(detector):
            text = f"input_size: {side} was found by trying; declare it if that is not what it was trained on"
            detector.assumptions = (*detector.assumptions, text)
            return
    detector.preprocessing = own


@torch.no_grad()
def takes_its_probes(detector: Detector) -> bool:
    """Whether a detector answers its probes with finite numbers."""
    try:
        return bool(detector(detector.probes()).isfinite().all())
    except _UNFIT:
        return False


_UNFIT = (RuntimeError, ValueError, IndexError, TypeError, AssertionError)
"""What networks raise for input that they do not take; :meth:`Detector.check` tells the reason."""


def find_out_outputs(detector: Detector) -> None:
    """Find out whether a network answers logits or probabilities where nobody says, and take a final softmax off."""
    if "outputs" not in detector.declared:
        _set(detector, outputs="probabilities" if _answers_probabilities(detector) else "logits")
    if detector.preprocessing.outputs == "logits":
        return
    inner = without_final_activation(detector.network)
    if inner is not None and _gives_the_same_scores(detector, inner):
        detector.network = inner.eval().requires_grad_(False)
        _set(detector, outputs="logits")
    elif "outputs" not in detector.declared:
        text = "its outputs look like probabilities (in [0, 1] whatever it is shown); outputs: logits says otherwise"
        detector.assumptions = (*detector.assumptions, text)


def _set(detector: Detector, **changes: Any) -> None:
    detector.preprocessing = replace(detector.preprocessing, **changes)


def _answers_probabilities(detector: Detector) -> bool:
    try:
        return detector.answers_probabilities()
    except _UNFIT:
        return False


@torch.no_grad()
def _gives_the_same_scores(detector: Detector, inner: nn.Module) -> bool:
    """Whether a network without its last activation gives the same scores as with it."""
    plain = replace(detector.preprocessing, outputs="logits")
    without = Detector(inner, plain, name="", architecture="", weights_sha256="").to(detector.device)
    probes = detector.probes()
    return torch.allclose(scores(detector(probes)), scores(without(probes)), atol=1e-5)
