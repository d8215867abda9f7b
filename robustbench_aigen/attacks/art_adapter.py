"""The Adversarial Robustness Toolbox as a backend: its evasion attacks on a PyTorch classifier, from a recipe alone."""

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import Tensor, nn

from robustbench_aigen.attacks.libraries import (
    CountingDetector,
    construct,
    fill_arguments,
    library_class,
    run_library,
)
from robustbench_aigen.attacks.task import AttackChunk, AttackTask
from robustbench_aigen.numerics.seeding import preserved_global_rng
from robustbench_aigen.scenario.recipes import LibraryCall


def run_art(task: AttackTask, call: LibraryCall) -> Iterator[AttackChunk]:
    """Run an ART evasion class.

    True labels are always given (without them ART attacks its own predictions). A norm stands as ART writes it,
    ``inf`` or 2, and an eps as a float.

    Parameters
    ----------
    task
        Images, labels, detector and budget.
    call
        The class and its arguments for the task's norm.
    """
    model = CountingDetector(task.detector)
    # Importing ART draws from the global generators, and so may building an attack.
    with preserved_global_rng():
        from art.attacks import evasion
        from art.estimators.classification import PyTorchClassifier

        classifier = PyTorchClassifier(
            model=model,
            loss=nn.CrossEntropyLoss(),
            input_shape=tuple(task.levels.shape[1:]),
            nb_classes=2,
            clip_values=(0.0, 1.0),
            device_type="cpu" if task.device.type == "cpu" else "gpu",
        )
        arguments = fill_arguments(call.args, {**task.params, "norm": _art_norm(task)})
        if isinstance(arguments.get("num_random_init"), bool):
            arguments["num_random_init"] = int(arguments["num_random_init"])
        attack_class = library_class(evasion, call)
        if "verbose" in attack_class.attack_params:
            arguments["verbose"] = False
        attack = construct(attack_class, classifier, batch_size=task.batch_size, **arguments)

    def craft(pixels: Tensor, labels: Tensor) -> Tensor:
        one_hot = np.eye(2, dtype=np.float32)[labels.cpu().numpy()]
        with _shared_starts():
            return torch.from_numpy(attack.generate(x=pixels.cpu().numpy(), y=one_hot))

    return run_library(task, model, craft)


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
