"""adv-lib as a backend: the minimum-norm attacks of Rony et al., functions of (model, pixels, labels)."""

from collections.abc import Iterator
from inspect import signature

import torch
from torch import Tensor, nn

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

_RATIO_OF_LOGITS = {"alma"}
"""Functions that divide by the difference between the largest and the third largest logit."""
_THIRD = 10.0
"""How far a third logit lies below the mean of the two, in nats: far enough that no image gets its class."""


class _ThirdClass(nn.Module):
    """A detector with a third class of probability e⁻¹⁰, so that a ratio of logits is a rising function of the margin."""

    def __init__(self, model: CountingDetector) -> None:
        super().__init__()
        self.model = model
        self.training = False

    def forward(self, pixels: Tensor) -> Tensor:
        """Return N×3 logits."""
        logits = self.model(pixels)
        return torch.cat([logits, logits.mean(dim=1, keepdim=True) - _THIRD], dim=1)


def run_adv_lib(task: AttackTask, call: LibraryCall, *, recipe: AttackRecipe) -> Iterator[AttackChunk]:
    """Run a function of ``adv_lib.attacks``.

    Parameters
    ----------
    task
        Images, labels, detector and budget.
    call
        The function and its arguments for the task's norm.
    recipe
        The recipe that the call is from.
    """
    name, model = call.class_name, CountingDetector(task)
    attack = library_class(library_module("adv_lib"), call)
    arguments = fill_arguments(call.args, task.params)
    attacked = _ThirdClass(model) if name in _RATIO_OF_LOGITS else model

    def check(**given: object) -> None:
        signature(attack).bind(attacked, None, None, **given)

    check.__name__ = name
    construct(model, check, **arguments)

    def craft(pixels: Tensor, labels: Tensor) -> Tensor:
        crafted: Tensor = attack(attacked, pixels, labels, **arguments)
        return crafted

    repeats = "restarts" in call.parameters
    return run_library(task, model, craft, recipe, name=f"adv-lib {name}", repeats=repeats)
