"""Copies of a detector with random weights, for sanity checks."""

from collections.abc import Sequence
from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from robustbench_aigen.detectors.borrowing import borrowed
from robustbench_aigen.detectors.contract import Detector
from robustbench_aigen.detectors.hidden_networks import hidden_networks
from robustbench_aigen.numerics.eight_bit import to_pixels
from robustbench_aigen.numerics.seeding import preserved_global_rng


def randomised(detector: Detector, images: Sequence[Tensor], seed: int) -> Detector | None:
    """Return a copy whose weights are random, or None where no weights can be reached.

    Matrices and kernels are drawn from a normal distribution around 0 with their own root mean square, so that the
    activations keep their scale; biases and scales are permuted. Batch norms get the statistics of the images under
    the random weights: with those of the trained weights, many copies would answer a constant.

    Parameters
    ----------
    detector
        The detector; it is not changed.
    images
        A few uint8 images 3×H×W.
    seed
        Of the random weights.
    """
    if not detector.differentiable or hidden_networks(detector.network):
        return None
    try:
        # Copies of some libraries' layers draw random numbers.
        with preserved_global_rng(), borrowed(detector):
            copy = deepcopy(detector, {})
    except Exception:  # noqa: BLE001  Copying fails in as many ways as there are libraries.
        return None
    copy.borrows = False
    copy.eval()
    copy.requires_grad_(False)
    generator, changed = torch.Generator().manual_seed(seed), False
    for module in copy.network.modules():
        for tensor in _weights(module):
            _randomise(tensor, generator)
            changed = True
    _fit_statistics(copy, images[:_MOST])
    return copy if changed else None


_MOST = 32
"""Images that the statistics of batch norms are of."""


@torch.no_grad()
def _fit_statistics(detector: Detector, images: Sequence[Tensor]) -> None:
    norms = [
        module
        for module in detector.network.modules()
        if isinstance(module, _BatchNorm) and module.track_running_stats
    ]
    if not norms:
        return
    usual = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        # Cumulative means over the images.
        norm.momentum, norm.training = None, True
    shapes = {image.shape: [other for other in images if other.shape == image.shape] for image in images}
    for alike in shapes.values():
        detector(to_pixels(torch.stack(alike).to(detector.device)))
    for norm, momentum in zip(norms, usual, strict=True):
        norm.momentum, norm.training = momentum, False


def _weights(module: nn.Module) -> list[Tensor]:
    """Return the tensors of a module that training or fitting decides."""
    own: list[Tensor] = [*module.parameters(recurse=False)]
    if not isinstance(module, _BatchNorm):
        own += module.buffers(recurse=False)
    return [tensor for tensor in own if tensor.is_floating_point() and tensor.numel() > 1]


def _randomise(tensor: Tensor, generator: torch.Generator) -> None:
    with torch.no_grad():
        if tensor.dim() >= 2:
            noise = torch.randn(tensor.shape, generator=generator).to(tensor)
            tensor.copy_(noise * tensor.square().mean().sqrt())
        else:
            tensor.copy_(tensor[torch.randperm(len(tensor), generator=generator).to(tensor.device)])
