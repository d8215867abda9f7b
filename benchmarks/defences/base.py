"""The shipped detector inside the defences."""

from typing import Any

from torch import nn

from benchmarks.defences.defence import BASE
from benchmarks.defences.training import adapt, put_weights, small_parts, take_weights
from robustbench_aigen import Detector, load_detector


def base_detector(name: str | None = None) -> Any:
    """Return the shipped detector, pixels in [0, 1] to logits, with the weights that a defence trained.

    The type is open, because torch types the parts of a module as tensors or modules.
    """
    detector = load_detector(BASE)
    if name is not None:
        take_weights(name, detector)
    return detector


def train_behind(name: str, defended: nn.Module, detector: nn.Module, *, thorough: bool = False) -> None:
    """Train the batch norms and the last layer of the detector inside a defence, and write the weights.

    ``thorough`` takes all training images three times, where a short training costs too much accuracy.
    """
    parts = small_parts(detector)
    prefix = next(key for key, module in defended.named_modules() if module is detector)
    names = [f"{prefix}.{part}" for part in parts]
    if thorough:
        adapt(defended, names, epochs=3, rate=1e-3, limit=None)
    else:
        adapt(defended, names)
    put_weights(name, detector, parts)


def inside(detector: Detector) -> Any:
    """Return the network of a defended detector, whose parts its own reference knows."""
    return detector.network
