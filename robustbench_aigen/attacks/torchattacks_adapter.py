"""torchattacks as a backend: any of its attack classes, from a recipe alone."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from robustbench_aigen.attacks.libraries import (
    CountingDetector,
    construct,
    fill_arguments,
    library_class,
    library_module,
    run_library,
)
from robustbench_aigen.attacks.task import AttackChunk, AttackTask
from robustbench_aigen.stages.recipe import AttackRecipe, LibraryCall


def run_torchattacks(task: AttackTask, call: LibraryCall, *, recipe: AttackRecipe) -> Iterator[AttackChunk]:
    """Run a torchattacks class.

    The argument ``targeted: true``, which no constructor has, aims at the wrong class by label.

    Parameters
    ----------
    task
        Images, labels, detector and budget.
    call
        The class and its arguments for the task's norm.
    recipe
        The recipe that the call is from.
    """
    model = CountingDetector(task)
    arguments = fill_arguments(call.args, task.params)
    targeted = bool(arguments.pop("targeted", False))
    attack_class = library_class(library_module("torchattacks"), call)

    def build() -> Any:
        attack = construct(model, attack_class, model, **arguments)
        attack.set_device(task.device)
        if targeted:
            construct(model, attack.set_mode_targeted_by_label, quiet=True)
        return attack

    def craft(pixels: Tensor, labels: Tensor) -> Tensor:
        # Built for every batch, so that no state passes from one batch to the next.
        attack = build()
        if hasattr(attack, "seed"):
            # It seeds the global generators with this, by default the same for every image and restart.
            attack.seed = int(torch.randint(2**31, ()))
        crafted: Tensor = attack(pixels, 1 - labels if targeted else labels)
        return crafted

    return run_library(
        task,
        model,
        craft,
        recipe,
        name=f"torchattacks {call.class_name}",
        repeats="restarts" in call.parameters,
    )
