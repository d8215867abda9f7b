"""Grad-CAM and its relatives, computed by the library grad-cam at a layer of the network."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge

from robustbench_aigen.detectors.contract import Detector
from robustbench_aigen.detectors.ensembles import Ensemble
from robustbench_aigen.errors import UserError
from robustbench_aigen.explain.layers import target_layer
from robustbench_aigen.explain.task import Task, TaskMaps, evidence_of
from robustbench_aigen.imports import import_library

CLASSES = {
    "grad_cam": "GradCAM",
    "grad_cam_plus_plus": "GradCAMPlusPlus",
    "hires_cam": "HiResCAM",
    "layer_cam": "LayerCAM",
    "xgrad_cam": "XGradCAM",
}
"""Methods, and the class of the library that computes each."""
TITLES = {
    "grad_cam": "Grad-CAM",
    "grad_cam_plus_plus": "Grad-CAM++",
    "hires_cam": "HiResCAM",
    "layer_cam": "LayerCAM",
    "xgrad_cam": "XGrad-CAM",
}


class _Explained(nn.Module):
    """The detector as the library wants a model: with a parameter, and safe from being changed."""

    def __init__(self, detector: Detector) -> None:
        super().__init__()
        self.place = nn.Parameter(torch.zeros((), device=detector.device), requires_grad=False)
        self.detector = detector

    def forward(self, pixels: Tensor) -> Tensor:
        logits: Tensor = self.detector(pixels)
        return logits

    def eval(self) -> "_Explained":
        """Change nothing: the detector is borrowed, and in evaluation mode already."""
        return self


def class_activation(task: Task, kind: str, layer: str | None = None) -> TaskMaps:
    """Return maps of at least 0 by Grad-CAM (Selvaraju et al. 2017) or a relative of it.

    The library weights and sums the activations of a layer; the map is laid over the part of the image that the
    network sees, and is 0 outside.

    Parameters
    ----------
    task
        The images.
    kind
        The name of the library's class.
    layer
        Dotted name of the target layer; by default that of :func:`target_layer`.
    """
    detector = task.detector
    _refuse(detector)
    library = import_library("pytorch_grad_cam", extra="explain", what="Grad-CAM")
    target = target_layer(detector, task.pixels[:4], layer)
    evidence, height, width = evidence_of(detector), *task.pixels.shape[-2:]
    maps = []
    with (
        getattr(library, kind)(
            _Explained(detector), [target.module], reshape_transform=target.channels_first
        ) as cam,
        _edges_of(target.module) as edges,
    ):
        for pixels, signs in zip(
            task.pixels.split(task.batch_size), task.signs.split(task.batch_size), strict=True
        ):
            leaf, recorded = pixels.clone().requires_grad_(), cam.activations_and_grads
            recorded.clear()
            with torch.enable_grad():
                answer = evidence(leaf, signs).sum()
                # The library records the gradient on its way; nothing before the layer is needed.
                torch.autograd.grad(answer, [edges.pop()])
            activations, gradients = (each[0].numpy() for each in (recorded.activations, recorded.gradients))
            found = cam.get_cam_image(leaf, target.module, None, activations, gradients, eigen_smooth=False)
            # A NaN stays one: the library would draw it as 0.
            positive = torch.from_numpy(np.maximum(found, 0)).float()
            maps.append(detector.preprocessing.onto_image(positive, height, width))
    return TaskMaps(torch.cat(maps))


@contextmanager
def _edges_of(module: nn.Module) -> Iterator[list[GradientEdge]]:
    """Collect where the gradient of a module's output arrives, before a later layer changes the output in place."""
    edges: list[GradientEdge] = []
    handle = module.register_forward_hook(lambda _, __, output: edges.append(get_gradient_edge(output)))
    try:
        yield edges
    finally:
        handle.remove()


def _refuse(detector: Detector) -> None:
    if isinstance(detector, Ensemble):
        raise UserError(
            f"{detector.name} has several networks, and Grad-CAM needs a layer of one network",
            hint="explain the members, or use integrated_gradients or occlusion",
        )
    if detector.preprocessing.has_views:
        raise UserError(
            f"{detector.name} sees several views of an image, and Grad-CAM needs one view",
            hint="use integrated_gradients or occlusion",
        )
