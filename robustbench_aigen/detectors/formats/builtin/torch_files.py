"""Formats of torch: weights, exported programs, TorchScript. No function imports torch before a file is loaded."""

from typing import TYPE_CHECKING

from robustbench_aigen.detectors.format import detector_format
from robustbench_aigen.detectors.formats.sharding import INDEX

if TYPE_CHECKING:
    from robustbench_aigen.detectors.formats.request import Loaded, Request


@detector_format(
    suffixes=(".safetensors", ".pt", ".pth", ".ckpt", ".bin", ".tar", ".npz", INDEX),
    trust="for pickles of more than weights",
    written="FILE.safetensors, .pt, .pth, .ckpt, .bin, .npz with arch:",
    what="weights: safetensors, state dicts of torch, Lightning and training checkpoints",
    order=1,
)
def load_weights(request: "Request") -> "Loaded":
    """Load weights into the architecture that the scenario or the card names."""
    from robustbench_aigen.detectors.formats import weights

    return weights.load_weights(request)


@detector_format(suffixes=(".pt2",), trust="always", what="program of torch.export", order=5)
def load_exported(request: "Request") -> "Loaded":
    """Load a program of torch.export."""
    from robustbench_aigen.detectors.formats import exported

    return exported.load_exported(request)


@detector_format(trust="always", written="FILE.pt", what="TorchScript", order=6)
def load_torchscript(request: "Request") -> "Loaded":
    """Load a TorchScript module."""
    from robustbench_aigen.detectors.formats import exported

    return exported.load_torchscript(request)
