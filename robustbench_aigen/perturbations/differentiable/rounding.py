"""Rounding whose gradient is not zero."""

from torch import Tensor

from robustbench_aigen.numerics.eight_bit import LEVELS


def straight_through(values: Tensor, forward: Tensor) -> Tensor:
    """Return ``forward`` with the gradient of ``values``; same shape, any units."""
    return values + (forward - values).detach()


_SLACK = 1e-3
"""Round-off of float32 below a half: exact halves are frequent where integers are averaged."""


def rounded(values: Tensor) -> Tensor:
    """Round to whole numbers, halves up; the gradient is 1."""
    return straight_through(values, (values + 0.5 + _SLACK).floor())


def on_8_bits(pixels: Tensor) -> Tensor:
    """Round pixels to what an image file holds, as real operations do between two of them; the gradient is 1."""
    return straight_through(pixels, rounded(pixels * LEVELS).clamp(0, LEVELS) / LEVELS)


def softly_rounded(values: Tensor) -> Tensor:
    """Round to whole numbers, halves away from zero, with the gradient of the cubic ⌊x⌉ + (x − ⌊x⌉)³.

    Shin and Song 2017, JPEG-resistant Adversarial Images, section 3.2. A value near a whole number, as most
    high frequencies are near 0, hardly changes the stored values, and has a small gradient. The forward pass rounds.
    """
    whole = (values.sign() * (values.abs() + 0.5 + _SLACK / 10).floor()).detach()
    return straight_through((values - whole) ** 3, whole)
