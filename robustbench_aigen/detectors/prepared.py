"""A detector made ready for gradients: the same function, computed faster."""

from copy import deepcopy
from functools import lru_cache
from typing import Literal, cast

import torch
from torch import Tensor, nn

from robustbench_aigen.detectors.contract import Detector
from robustbench_aigen.detectors.folding import fold_batch_norms_backwards, fold_batch_norms_forwards
from robustbench_aigen.detectors.rewriting import rewritten_modules, unshuffle_stems, with_the_same_weights
from robustbench_aigen.numerics.precision import gradient_precision

_LARGE = 64
"""Pixels a side from which float32 convolutions run on channels-last tensors.

They pay at 224 pixels (1.2 times) and less at 32, where the plain layout gives the gradients of torchattacks to the
bit. Reduced-precision convolutions always run on channels-last tensors.
"""


@lru_cache(maxsize=16)
def prepare(detector: Detector, precision: Literal["fp32", "bf16"]) -> Detector:
    """Return a copy of a detector for gradients: batch norms folded, stem rewritten, memory laid out, precision set.

    Parameters
    ----------
    detector
        In evaluation mode and frozen; its weights do not change afterwards.
    precision
        Of convolutions and products. The resize, the normalisation and the logits are float32 either way.
    """
    prepared = deepcopy(detector)
    _make_ready(prepared, precision)
    prepared.requires_grad_(False)
    return prepared


class FollowingDetector:
    """A prepared detector that follows the weights of one in training, without being traced again.

    It is in evaluation mode whatever the mode of the other, whose parameters and buffers it shares.

    Parameters
    ----------
    detector
        On its device already.
    precision
        As :func:`prepare` takes it.

    Attributes
    ----------
    prepared
        What is differentiated to the pixels.
    """

    def __init__(self, detector: Detector, precision: Literal["fp32", "bf16"]) -> None:
        self.prepared = cast(Detector, with_the_same_weights(detector)).eval()
        _make_ready(self.prepared, precision)
        self._rewritten = rewritten_modules(self.prepared)

    def refresh(self) -> Detector:
        """Take over the present weights and running statistics, and return the prepared detector."""
        for module in self._rewritten:
            module.refresh()
        return self.prepared


def _make_ready(detector: Detector, precision: Literal["fp32", "bf16"]) -> None:
    size = detector.preprocessing.input_size
    channels_last = precision == "bf16" or size is None or min(size) >= _LARGE
    network = _faster(detector) if channels_last else detector.network
    detector.network = _Prepared(network, precision, channels_last=channels_last)
    detector.eval()


class _Prepared(nn.Module):
    def __init__(
        self, network: nn.Module, precision: Literal["fp32", "bf16"], *, channels_last: bool
    ) -> None:
        super().__init__()
        self.precision = precision
        self.layout = torch.channels_last if channels_last else torch.contiguous_format
        self.network = network.to(memory_format=self.layout) if channels_last else network

    def forward(self, images: Tensor) -> Tensor:
        with gradient_precision(self.precision, images.device):
            logits: Tensor = self.network(images.contiguous(memory_format=self.layout))
        return logits


def _faster(detector: Detector) -> nn.Module:
    """Return the network rewritten as far as it stays the same function."""
    network = detector.network
    height, width = detector.preprocessing.input_size or (64, 64)
    device = cast(Tensor, detector.mean).device
    probe = torch.rand((2, 3, height, width), generator=torch.Generator().manual_seed(0)).to(device)
    for rewrite in (fold_batch_norms_backwards, fold_batch_norms_forwards, unshuffle_stems):
        changed = rewrite(network)
        if changed is network:
            continue
        with torch.no_grad():
            before, after = network(probe), changed(probe)
        if torch.allclose(before, after, rtol=1e-3, atol=1e-3 * float(before.abs().max())):
            network = changed
    return network
