"""The shipped detector inside the defences."""

from torch import nn

from benchmarks.defences.defence import BASE
from benchmarks.defences.training import adapt, put_weights, small_parts, take_weights
from robustbench_aigen import load_detector


def base_detector(name: str | None = None) -> nn.Module:
    """Return the shipped detector, pixels in [0, 1] to logits, with the weights that a defence trained."""
    detector = load_detector(BASE)
    if name is not None:
        take_weights(name, detector)
    return detector


def train_behind(
    name: str, defended: nn.Module, detector: nn.Module, *, more: tuple[str, ...] = (), epochs: int = 2
) -> None:
    """Train the batch norms and the last layer of the detector inside a defence, and write the weights.

    Parameters
    ----------
    name
        The name of the file of weights.
    defended, detector
        The defence, and the detector that is one of its parts.
    more
        Further parameters of the detector.
    epochs
        Passes over the training images.
    """
    parts = [*small_parts(detector), *more]
    prefix = next(key for key, module in defended.named_modules() if module is detector)
    adapt(defended, [f"{prefix}.{part}" for part in parts], epochs=epochs)
    put_weights(name, detector, parts)
