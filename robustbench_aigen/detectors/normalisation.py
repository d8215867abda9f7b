"""Means and standard deviations that networks are trained with, in pixel units ([0, 1])."""

from typing import NamedTuple

Triple = tuple[float, float, float]


class Normalisation(NamedTuple):
    """Mean and standard deviation of each channel for the normalisation."""

    mean: Triple
    std: Triple


PIXELS = Normalisation((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
"""None: the network wants pixels in [0, 1], or normalises by itself."""

SYMMETRIC = Normalisation((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
"""[-1, 1]: networks trained from scratch, and Keras' ImageNet weights of ResNetV2 and MobileNet."""

IMAGENET = Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""torchvision's and timm's ImageNet weights."""

CLIP = Normalisation((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
"""OpenAI's CLIP."""
