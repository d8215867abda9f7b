"""The names and amounts of augmentations, as recipes have them. Nothing here needs torch.

The studies' own: flips both ways, zoom, brightness (A); rotation, random crop resized, Gaussian noise (C); blur and
JPEG of Wang et al. 2020, "CNN-generated images are surprisingly easy to spot… for now" (arXiv:1912.11035).
"""

from collections.abc import Mapping
from dataclasses import dataclass

from robustbench_aigen.errors import did_you_mean
from robustbench_aigen.stages.parameters import read_fraction


@dataclass(frozen=True)
class Augmentation:
    """One augmentation of a recipe, with its amount (None if the kind has no amount)."""

    name: str
    amount: float | None

    def __str__(self) -> str:
        return self.name if self.amount is None else f"{self.name}={self.amount:g}"


@dataclass(frozen=True)
class _Kind:
    """Default amount, largest amount and description of a kind of augmentation."""

    default: float | None
    largest: float = 1.0
    meaning: str = ""


KINDS: Mapping[str, _Kind] = {
    "flip_horizontal": _Kind(None, meaning="mirrored left to right, half of the images"),
    "flip_vertical": _Kind(None, meaning="mirrored top to bottom, half of the images"),
    "rotation": _Kind(15, 180, "rotation by up to this many degrees either way"),
    "zoom": _Kind(0.1, 0.9, "enlarged or made smaller by up to this share"),
    "random_crop": _Kind(0.5, 1.0, "a rectangle of at least this share of the area, resized to the whole"),
    "shift": _Kind(2, 512, "shift by up to this many whole pixels, with mirrored edges"),
    "brightness": _Kind(0.1, 1.0, "every pixel plus up to this much, either way"),
    "gaussian_noise": _Kind(0.02, 1.0, "noise of a standard deviation up to this much"),
    "resize": _Kind(
        0.5, 0.9, "made smaller by up to this share of its sides and large again, half of the images"
    ),
    "blur_jpeg": _Kind(
        0.5, 1.0, "with this probability a blur of σ up to 3, and with it again a JPEG of 30 to 100"
    ),
}


def read_augmentation(value: object) -> Augmentation:
    """Read ``flip_horizontal``, ``zoom=0.2`` or ``{zoom: 0.2}``.

    Raises
    ------
    ValueError
        If there is no such augmentation or its amount is out of range.
    """
    if isinstance(value, Augmentation):
        return value
    if isinstance(value, str):
        name, _, amount = value.partition("=")
        given: object = amount or None
    elif isinstance(value, Mapping) and len(value) == 1:
        name, given = next((str(key), item) for key, item in value.items())
    else:
        raise ValueError("must be the name of an augmentation, or {name: amount}")
    if name not in KINDS:
        raise ValueError(f"unknown augmentation '{name}'; {did_you_mean(name, KINDS)}")
    kind = KINDS[name]
    if kind.default is None:
        if given is not None:
            raise ValueError(f"{name} has no amount")
        return Augmentation(name, None)
    number = kind.default if given is None else read_fraction(given)
    if number is None or not 0 < number <= kind.largest:
        raise ValueError(f"{name} takes a number above 0 and at most {kind.largest:g}, not '{given}'")
    return Augmentation(name, number)
