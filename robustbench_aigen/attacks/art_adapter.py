"""The Adversarial Robustness Toolbox as a backend: its evasion attacks on a PyTorch classifier, from a recipe alone."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from robustbench_aigen.attacks.libraries import CountingDetector, fill_arguments, run_library
from robustbench_aigen.attacks.task import AttackChunk, AttackTask
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
    from art.attacks import evasion
    from art.estimators.classification import PyTorchClassifier

    model = CountingDetector(task.detector)
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
    attack_class = getattr(evasion, call.class_name)
    if "verbose" in attack_class.attack_params:
        arguments["verbose"] = False
    attack = attack_class(classifier, batch_size=task.batch_size, **arguments)

    def craft(pixels: Tensor, labels: Tensor) -> Tensor:
        one_hot = np.eye(2, dtype=np.float32)[labels.cpu().numpy()]
        return torch.from_numpy(attack.generate(x=pixels.cpu().numpy(), y=one_hot))

    return run_library(task, model, craft)


def _art_norm(task: AttackTask) -> Any:
    return "inf" if task.threat.norm == "linf" else 2
