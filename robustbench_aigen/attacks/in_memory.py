"""Attacks made from objects: a function of the user, an attack of foolbox, a class of torchattacks or ART."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn

from robustbench_aigen.attacks.adversarial_starts import adversarial_starts
from robustbench_aigen.attacks.libraries import CountingDetector, Craft, raise_unless_librarys, run_library
from robustbench_aigen.attacks.object_identity import object_identity
from robustbench_aigen.attacks.task import AttackChunk, AttackTask
from robustbench_aigen.attacks.users_faults import users_faults
from robustbench_aigen.errors import UserError
from robustbench_aigen.imports import import_library
from robustbench_aigen.stages.recipe import AttackRecipe


@dataclass(frozen=True)
class LibraryClass:
    """A class of torchattacks or ART with its arguments, which an adapter runs.

    Parameters
    ----------
    name
        The class, in lower case.
    made_of
        The library, the class and its arguments.
    """

    name: str
    made_of: Any

    def identity(self) -> str:
        """Return the sha256 of library, class and arguments."""
        return object_identity(self.made_of)


@dataclass(frozen=True)
class FunctionAttack:
    """A function of the user as an attack.

    Parameters
    ----------
    name
        Name of the attack in tables.
    function
        (module, pixels, labels) → adversarial pixels.
    """

    name: str
    function: Callable[[nn.Module, Tensor, Tensor], Tensor]

    def identity(self) -> str:
        """Return the sha256 of the function's code and values."""
        return object_identity(self.function)

    def crafting(self, task: AttackTask, model: CountingDetector) -> Craft:
        """Return the function that maps a batch to adversarial pixels."""
        del task

        def craft(pixels: Tensor, labels: Tensor) -> Tensor:
            with users_faults(f"attack '{self.name}'"):
                try:
                    crafted: object = self.function(model, pixels, labels)
                except Exception as error:
                    raise_unless_librarys(error, model)
                    raise
            return _checked(self.name, crafted, pixels)

        return craft


@dataclass(frozen=True)
class FoolboxAttack:
    """An attack of foolbox.

    Parameters
    ----------
    name
        Name of the attack in tables.
    attack
        The object of foolbox.
    fills_budget
        Whether the attack fills a budget that it is given; others look for the smallest perturbation.
    starts
        Whether the attack starts from an image with the wrong verdict.
    """

    name: str
    attack: Any
    fills_budget: bool
    starts: bool

    @classmethod
    def of(cls, attack: Any) -> "FoolboxAttack":
        """Return an attack of foolbox with what its class needs."""
        base = import_library("foolbox", extra="bench", what="an attack of foolbox").attacks.base
        starts = "starting_points" in signature(attack.run).parameters and queries_only(attack)
        fills = isinstance(attack, base.FixedEpsilonAttack)
        return cls(type(attack).__name__.lower(), attack, fills, starts)

    def identity(self) -> str:
        """Return the sha256 of the attack's class and attributes."""
        return object_identity(self.attack)

    def crafting(self, task: AttackTask, model: CountingDetector) -> Craft:
        """Return the function that maps a batch to adversarial pixels."""
        foolbox = import_library("foolbox", extra="bench", what=f"the attack '{self.name}'")

        def craft(pixels: Tensor, labels: Tensor) -> Tensor:
            given: dict[str, Any] = {"epsilons": task.threat.eps if self.fills_budget else None}
            if self.starts:
                start = adversarial_starts(model, pixels, labels)
                if start.isnan().any():
                    return pixels
                given["starting_points"] = start
            attacked = foolbox.PyTorchModel(model, bounds=(0, 1), device=task.device)
            if type(self.attack).__name__ == "GenAttack":
                criterion = foolbox.criteria.TargetedMisclassification(1 - labels)
            else:
                criterion = foolbox.criteria.Misclassification(labels)
            raw, clipped, _ = self.attack(attacked, pixels, criterion, **given)
            # Some fill a budget past its edge, and foolbox reports what it has clipped.
            return _checked(self.name, clipped if self.fills_budget else raw, pixels)

        return craft


_WITHOUT_GRADIENTS = {
    "BinarizationRefinementAttack", "BoundaryAttack", "DatasetAttack", "GaussianBlurAttack", "GenAttack",
    "HopSkipJumpAttack", "InversionAttack", "PointwiseAttack",
}  # fmt: skip
"""Attacks of foolbox that use only scores or verdicts, besides those with noise or contrast."""


def queries_only(attack: Any) -> bool:
    """Whether an attack of foolbox uses only scores or verdicts."""
    name = type(attack).__name__
    return name in _WITHOUT_GRADIENTS or "Noise" in name or "Contrast" in name


def run_in_memory(
    task: AttackTask, attack: FunctionAttack | FoolboxAttack, *, recipe: AttackRecipe
) -> Iterator[AttackChunk]:
    """Run an attack that was made from an object, batch by batch."""
    model = CountingDetector(task)
    return run_library(task, model, attack.crafting(task, model), recipe, name=f"attack '{attack.name}'")


def _checked(name: str, crafted: object, pixels: Tensor) -> Tensor:
    """Return the attacked images, checked for their shape and for finite numbers."""
    if not isinstance(crafted, Tensor):
        raise UserError(
            f"attack '{name}' returned {_article(type(crafted).__name__)}, and a tensor is needed",
            hint="return adversarial pixels, a tensor of the shape of the images",
        )
    if crafted.shape != pixels.shape:
        raise UserError(
            f"attack '{name}' returned the shape {_shape(crafted)} for images of {_shape(pixels)}",
            hint="return adversarial pixels, a tensor of the shape of the images",
        )
    if not torch.isfinite(crafted).all():
        raise UserError(
            f"attack '{name}' returned NaN or infinite pixels",
            hint="look for a gradient that is not finite, or a division by zero",
        )
    return crafted


def _shape(tensor: Tensor) -> str:
    return "×".join(map(str, tensor.shape)) or "of one number"


def _article(word: str) -> str:
    return f"an {word}" if word[:1].lower() in "aeiou" else f"a {word}"
