"""The Adversarial Robustness Toolbox as a backend: its evasion attacks on a PyTorch classifier, from a recipe alone."""

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from inspect import signature
from typing import Any
from unittest import mock

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from robustbench_aigen.attacks.adversarial_starts import adversarial_starts
from robustbench_aigen.attacks.libraries import (
    CountingDetector,
    construct,
    fill_arguments,
    library_class,
    library_module,
    run_library,
)
from robustbench_aigen.attacks.task import AttackChunk, AttackTask
from robustbench_aigen.numerics.seeding import preserved_global_rng
from robustbench_aigen.stages.recipe import AttackRecipe, LibraryCall

_ONE_IMAGE = {
    "AdversarialPatch",
    "AdversarialPatchPyTorch",
    "BoundaryAttack",
    "BrendelBethgeAttack",
    "GeoDA",
    "HopSkipJump",
    "ShadowAttack",
    "SimBA",
    "SpatialTransformation",
}
"""Classes that take one image at a time, or that make one patch or transformation for all given images."""

_TARGETS = {"SaliencyMapMethod", "TargetedUniversalPerturbation"}
"""Classes that read labels as targets and have no argument ``targeted``."""

_COLUMN_OF_LABELS = {"PixelAttack", "SignOPTAttack"}
"""Classes that turn labels into a column and then take two classes with one column for a single output. They are
shown a third class, of probability 0.
"""

_PROBABILITIES = {"NewtonFool", "SimBA", "VirtualAdversarialMethod"} | _COLUMN_OF_LABELS
"""Classes whose method is defined on probabilities; the others get logits."""

_STARTED = {"BoundaryAttack", "BrendelBethgeAttack", "GeoDA", "HopSkipJump"}
"""Classes that start from an image with the wrong verdict."""


def run_art(task: AttackTask, call: LibraryCall, *, recipe: AttackRecipe) -> Iterator[AttackChunk]:
    """Run an ART evasion class.

    True labels are always given (without them ART attacks its own predictions), or where the class is ``targeted``
    the wrong ones. A norm stands as ART writes it, ``inf`` or 2, and an eps as a float.

    Parameters
    ----------
    task
        Images, labels, detector and budget.
    call
        The class and its arguments for the task's norm.
    recipe
        The recipe that the call is from.
    """
    name, single = call.class_name, call.class_name in _ONE_IMAGE
    model = CountingDetector(task)
    # Building an attack may draw from the global generators.
    with preserved_global_rng():
        attack_class = library_class(library_module("art"), call)
        from art.estimators.classification import PyTorchClassifier

        classes = 3 if name in _COLUMN_OF_LABELS else 2
        classifier = PyTorchClassifier(
            model=_presented(model, name),
            loss=nn.CrossEntropyLoss(),
            input_shape=tuple(task.levels.shape[1:]),
            nb_classes=classes,
            clip_values=(0.0, 1.0),
            device_type="cpu" if task.device.type == "cpu" else "gpu",
        )
    arguments = fill_arguments(call.args, {**task.params, "norm": _art_norm(task)})
    if isinstance(arguments.get("num_random_init"), bool):
        arguments["num_random_init"] = int(arguments["num_random_init"])
    offered = {"verbose": False, "batch_size": 1 if name == "SimBA" else task.batch_size}
    taken = signature(attack_class).parameters
    arguments = {key: value for key, value in offered.items() if key in taken} | arguments

    def craft(pixels: Tensor, labels: Tensor) -> Tensor:
        # Built for every batch, because some classes keep results of the previous batch.
        attack = construct(model, attack_class, classifier, **arguments)
        is_target = name in _TARGETS or getattr(attack, "targeted", False)
        aim = (1 - labels if is_target else labels).cpu().numpy()
        given = {}
        if name in _STARTED:
            start = adversarial_starts(model, pixels, labels)
            if start.isnan().any():
                return pixels
            given = _with_start(attack, name, start.cpu().numpy())
        images = pixels.cpu().numpy()
        with _shared_starts(), _geoda_as_it_was_meant():
            crafted = attack.generate(x=images, y=np.eye(classes, dtype=np.float32)[aim], **given)
            if isinstance(crafted, tuple):
                # A patch and its mask: the images with it are what the detector is shown.
                crafted = attack.apply_patch(images, scale=arguments.get("scale_max", 1.0))
        return torch.from_numpy(crafted)

    repeats = "restarts" in call.parameters
    return run_library(task, model, craft, recipe, name=f"ART {name}", single=single, repeats=repeats)


def _presented(model: CountingDetector, name: str) -> nn.Module:
    """Return the detector with the outputs that a class works on."""
    if name in _COLUMN_OF_LABELS:
        return nn.Sequential(model, nn.Softmax(dim=1), nn.ConstantPad1d((0, 1), 0.0))
    return nn.Sequential(model, nn.Softmax(dim=1)) if name in _PROBABILITIES else model


def _with_start(attack: Any, name: str, start: NDArray[np.float32]) -> dict[str, Any]:
    """Return the arguments that give a decision-based attack its start."""
    if name == "GeoDA":
        # It searches for as long as it takes, which is for ever where noise has one verdict only.
        attack._find_random_adversarial = lambda **_: start
        return {}
    return {"x_adv_init": start}


@contextmanager
def _geoda_as_it_was_meant() -> Iterator[None]:
    """Give GeoDA ``np.mat``, which NumPy 2 no longer has, and keep its basis out of the working folder."""
    save = np.save

    def save_what_was_asked_for(file: Any, *arguments: Any, **named: Any) -> None:
        if not str(file).startswith("2d_dct_basis_"):
            save(file, *arguments, **named)

    with (
        mock.patch.object(np, "mat", np.asmatrix, create=True),
        mock.patch.object(np, "save", save_what_was_asked_for),
    ):
        yield


@contextmanager
def _shared_starts() -> Iterator[None]:
    """Give ART the random starts of the other backends.

    ART draws L2 starts uniformly from the ball, which in thousands of dimensions is its surface; torchattacks and
    the native engine draw the radius uniformly. A comparison of backends is one of the search, not of that.
    """
    from art import utils

    original = utils.random_sphere

    def random_sphere(nb_points: int, nb_dims: int, radius: float, norm: float | str) -> Any:
        if norm != 2:
            return original(nb_points, nb_dims, radius, norm)
        direction = np.random.randn(nb_points, nb_dims)
        length = np.random.uniform(0, 1, size=(nb_points, 1))
        return direction / np.linalg.norm(direction, axis=1, keepdims=True) * length * radius

    modules = [
        m for name, m in sys.modules.items() if name.startswith("art.") and hasattr(m, "random_sphere")
    ]
    with ExitStack() as stack:
        for module in modules:
            stack.enter_context(mock.patch.object(module, "random_sphere", random_sphere))
        yield


def _art_norm(task: AttackTask) -> Any:
    return "inf" if task.threat.norm == "linf" else 2
