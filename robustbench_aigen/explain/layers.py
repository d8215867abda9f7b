"""Layers of a network whose output is laid out over the image: the targets of Grad-CAM."""

import math
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from robustbench_aigen.detectors.contract import Detector, log_odds
from robustbench_aigen.errors import UserError, did_you_mean

_MOST_PREFIX = 8
"""Largest number of tokens before those of the patches: of a class, of a distillation, registers."""
_PASSING = (nn.Identity, nn.Dropout, nn.Softmax, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d)
"""Modules whose output is another module's, or no longer laid out over the image."""


class Layer(NamedTuple):
    """A layer and how its output is laid out.

    Parameters
    ----------
    name
        Dotted name below the network.
    module
        The layer.
    layout
        ``first``: N×C×h×w; ``last``: N×h×w×C; ``tokens``: N×T×C.
    grid
        h and w.
    reaches
        Whether the answer depends on the output at more than one position.
    """

    name: str
    module: nn.Module
    layout: Literal["first", "last", "tokens"]
    grid: tuple[int, int]
    reaches: bool

    def channels_first(self, output: Tensor) -> Tensor:
        """Return the output as N×C×h×w."""
        return _channels_first(output, self.layout, self.grid)


def spatial_layers(detector: Detector, pixels: Tensor) -> list[Layer]:
    """Return the layers with an output laid out over the image, in the order in which they finish.

    Layers that are called several times in a pass, or with another number of images, are left out.

    Parameters
    ----------
    detector
        The detector, borrowed by the caller.
    pixels
        A few N×3×H×W images.
    """
    aspect = pixels.shape[-2] / pixels.shape[-1] if detector.preprocessing.input_size is None else None
    if detector.preprocessing.input_size is not None:
        aspect = detector.preprocessing.input_size[0] / detector.preprocessing.input_size[1]
    outputs: list[tuple[str, nn.Module, Tensor]] = []
    leaf = pixels.clone().requires_grad_()
    with torch.enable_grad(), _recorded(detector, outputs):
        answer = log_odds(detector(leaf)).sum()
    calls = Counter(name for name, _, _ in outputs)
    tokens = {output.shape[1] for _, _, output in outputs if output.dim() == 3}
    laid_out = []
    for name, module, output in outputs:
        found = _layout(output, len(pixels), aspect or 1.0, tokens) if calls[name] == 1 else None
        if found is not None and output.requires_grad and not isinstance(module, _PASSING):
            laid_out.append((name, module, output, *found))
    if not laid_out or not answer.requires_grad:
        return []
    gradients = torch.autograd.grad(answer, [output for _, _, output, _, _ in laid_out], allow_unused=True)
    layers = []
    for (name, module, _, layout, grid), gradient in zip(laid_out, gradients, strict=True):
        reaches = False
        if gradient is not None:
            felt = _channels_first(gradient, layout, grid).abs().amax(dim=1) > 0
            reaches = bool((felt.flatten(1).sum(dim=1) > 1).any())
        layers.append(Layer(name, module, layout, grid, reaches))
    return layers


def target_layer(detector: Detector, pixels: Tensor, name: str | None = None) -> Layer:
    """Return the layer of a name; by default the last layer on whose output the answer depends at several positions.

    That is the last block or pooling of a convolutional network. In a transformer whose answer is that of a class
    token it is the first norm of the last block, behind which the tokens of the patches no longer matter.

    Raises
    ------
    UserError
        If there is no such layer: with the names of those that exist.
    """
    layers = spatial_layers(detector, pixels)
    names = [layer.name for layer in layers if layer.reaches]
    if name is not None:
        for layer in layers:
            if layer.name == name and layer.reaches:
                return layer
        said = "its output is not laid out over the image" if name in names_of_layers(detector) else ""
        raise UserError(
            f"{detector.name} has no layer '{name}' for a map{f': {said}' if said else ''}",
            hint=f"{_nearest(name, names)}layers: {', '.join(names) or 'none'}",
        )
    if not names:
        raise UserError(
            f"{detector.name} has no layer whose output is laid out over the image",
            hint="use the methods input_gradients, integrated_gradients or occlusion",
        )
    reaching = [layer for layer in layers if layer.reaches]
    # Queries, keys and values are no features: the norm before them is the usual target in a transformer.
    blocks = [
        layer for layer in reaching if layer.layout != "tokens" or not isinstance(layer.module, nn.Linear)
    ]
    return (blocks or reaching)[-1]


def _nearest(name: str, names: list[str]) -> str:
    near = did_you_mean(name, names)
    return f"{near} " if near.startswith("did") else ""


def names_of_layers(detector: Detector) -> dict[str, nn.Module]:
    """Return all modules of a detector's networks by their dotted names, the networks themselves left out."""
    found: dict[str, nn.Module] = {}
    for number, network in enumerate(detector.networks()):
        before = f"hidden{number}." if number else ""
        found |= {before + name: module for name, module in network.named_modules() if name}
    return found


@contextmanager
def _recorded(detector: Detector, outputs: list[tuple[str, nn.Module, Tensor]]) -> Iterator[None]:
    def note(name: str, module: nn.Module, output: object) -> None:
        if isinstance(output, Tensor):
            outputs.append((name, module, output))

    handles = [
        module.register_forward_hook(lambda module, _, output, name=name: note(name, module, output))
        for name, module in (names_of_layers(detector) or {"network": detector.network}).items()
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _layout(
    output: Tensor, count: int, aspect: float, tokens: set[int]
) -> tuple[Literal["first", "last", "tokens"], tuple[int, int]] | None:
    """Return how an output is laid out, and its grid; None if it is not, or its grid has a single position."""
    if len(output) != count or not output.is_floating_point():
        return None
    if output.dim() == 4:
        _, a, b, c = output.shape
        # Attention has one matrix, or one row, for each token.
        if tokens & {b, c} and a not in (b, c):
            return None
        misfit_last, misfit_first = abs(math.log(a / b / aspect)), abs(math.log(b / c / aspect))
        layout: Literal["first", "last"] = "first" if misfit_first <= misfit_last else "last"
        grid = (b, c) if layout == "first" else (a, b)
        return (layout, grid) if math.prod(grid) > 1 else None
    if output.dim() == 3:
        for prefix in range(_MOST_PREFIX + 1):
            patches = output.shape[1] - prefix
            height = round(math.sqrt(patches * aspect)) if patches > 0 else 0
            if height and patches % height == 0 and abs(math.log(height**2 / patches / aspect)) < 0.1:
                grid = (height, patches // height)
                return ("tokens", grid) if patches > 1 else None
    return None


def _channels_first(output: Tensor, layout: str, grid: tuple[int, int]) -> Tensor:
    if layout == "first":
        return output
    if layout == "last":
        return output.movedim(-1, 1)
    return output[:, -math.prod(grid) :].transpose(1, 2).unflatten(2, grid)
