"""Filters of convolutions and activation maps of layers, as study A shows them."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from robustbench_aigen.detectors.borrowing import borrowed
from robustbench_aigen.detectors.contract import Detector
from robustbench_aigen.detectors.loading import load_detector
from robustbench_aigen.errors import UserError, did_you_mean
from robustbench_aigen.explain.layers import Layer, names_of_layers, spatial_layers
from robustbench_aigen.numerics.eight_bit import to_pixels
from robustbench_aigen.numerics.images_like import ImagesLike, to_levels_list
from robustbench_aigen.numerics.seeding import preserved_global_rng

_LAYERS = 4
"""Layers that are shown by default, spread over the network."""


class Filters(NamedTuple):
    """The filters of a convolution: its dotted name, and K×C×h×w weights."""

    layer: str
    weights: NDArray[np.float32]

    def normalised(self) -> NDArray[np.float32]:
        """Return the filters with every channel brought to [0, 1]; a constant channel becomes 0.5."""
        low, high = (
            self.weights.min(axis=(2, 3), keepdims=True),
            self.weights.max(axis=(2, 3), keepdims=True),
        )
        span = np.where(high > low, high - low, 1)
        return np.where(high > low, (self.weights - low) / span, 0.5).astype(np.float32)


def filters(detector: Detector | nn.Module | str, layers: Sequence[str] | None = None) -> list[Filters]:
    """Return the filters of convolutions.

    Parameters
    ----------
    detector
        A detector, an ``nn.Module`` or an id.
    layers
        Dotted names of convolutions; by default all.

    Raises
    ------
    UserError
        If one is not a convolution of the detector: with the names of all.
    """
    modules = names_of_layers(load_detector(detector, device="auto"))
    known = {name: module for name, module in modules.items() if isinstance(module, nn.Conv2d)}
    for name in layers or ():
        if name not in known:
            raise UserError(f"no convolution '{name}'", hint=_names(name, list(known)))
    return [
        Filters(name, known[name].weight.detach().float().cpu().numpy())
        for name in (known if layers is None else layers)
    ]


class Activations(NamedTuple):
    """The output of a layer for some images: its dotted name, and N×C×h×w values."""

    layer: str
    values: NDArray[np.float32]


def activations(
    detector: Detector | nn.Module | str, images: ImagesLike, layers: Sequence[str] | None = None
) -> list[Activations]:
    """Return the activation maps of layers, for images of one size.

    Parameters
    ----------
    detector
        A detector, an ``nn.Module`` or an id.
    images
        Images of one size.
    layers
        Dotted names of layers; by default four blocks or convolutions, spread over the network.

    Raises
    ------
    UserError
        If a layer does not exist or is not laid out over the image: with the names of the layers that are.
    """
    loaded, levels = load_detector(detector, device="auto"), to_levels_list(images)
    if len({image.shape for image in levels}) > 1:
        raise UserError("images of several sizes", hint="activations of one size at a time")
    loaded.see(*levels[0].shape[1:])
    pixels = to_pixels(torch.stack(levels).to(loaded.device))
    with borrowed(loaded), preserved_global_rng():
        known = (
            {layer.name: layer for layer in spatial_layers(loaded, pixels[:4])}
            if loaded.differentiable
            else {}
        )
        for name in layers or ():
            if name not in known:
                raise UserError(
                    f"{loaded.name} has no layer '{name}' for a map", hint=_names(name, list(known))
                )
        chosen = [known[name] for name in layers] if layers else _spread(list(known.values()))
        return [Activations(layer.name, _output(loaded, pixels, layer)) for layer in chosen]


def _spread(layers: list[Layer]) -> list[Layer]:
    """Return a few layers, the first and the last among them; convolutions where there are any."""
    convolutions = [layer for layer in layers if isinstance(layer.module, nn.Conv2d)] or layers
    places = np.unique(np.linspace(0, len(convolutions) - 1, min(_LAYERS, len(convolutions))).round())
    return [convolutions[int(place)] for place in places]


@torch.no_grad()
def _output(detector: Detector, pixels: Tensor, layer: Layer) -> NDArray[np.float32]:
    found: list[Tensor] = []
    # A later operation may write into the output.
    handle = layer.module.register_forward_hook(lambda _module, _input, output: found.append(output.clone()))
    try:
        detector(pixels)
    finally:
        handle.remove()
    return layer.channels_first(found[-1]).float().cpu().numpy()


def _names(name: str, known: list[str]) -> str:
    near = did_you_mean(name, known)
    return f"{near} layers: {', '.join(known)}" if near.startswith("did") else near
