"""Checks before an attack starts: its code exists, and it can attack the detector.

Nothing here imports torch, unless a scenario names a class of another library or code of the user's own.
"""

from collections.abc import Sequence
from typing import Protocol

from robustbench_aigen.errors import UserError
from robustbench_aigen.imports import import_function
from robustbench_aigen.stages.own_functions import check_signature
from robustbench_aigen.stages.recipe import AttackRecipe
from robustbench_aigen.stages.recipe_files import is_shipped, known_recipes
from robustbench_aigen.stages.stage import Attack


class AttackedDetector(Protocol):
    """The properties of a detector that decide which attacks are possible."""

    @property
    def name(self) -> str:
        """Name of the detector."""
        ...

    @property
    def differentiable(self) -> bool:
        """Whether the detector has gradients."""
        ...

    @property
    def changes(self) -> Sequence[str]:
        """Names of the weights, buffers and modes that change with every call."""
        ...


def check_attack(stage: Attack) -> None:
    """Raise UserError if the code of an attack stage is missing, before the first image."""
    backends, backend = stage.recipe.backends, stage.backend
    if backends.names() == ():  # The attack is computed by the object that it was made from.
        return
    if backends.native is not None and backend == "native":
        if not is_shipped(stage.recipe):
            check_signature(import_function(backends.native.implementation), ["task"], stage.arguments)
        return
    from robustbench_aigen.attacks.libraries import library_class, library_module

    calls = getattr(backends, str(backend))
    library_class(library_module(str(backend)), calls[stage.norm])


def check_gradients(stage: Attack, source_model: AttackedDetector) -> None:
    """Raise UserError if an attack needs gradients and its source model has none, or if the model changes itself.

    Parameters
    ----------
    stage
        An attack.
    source_model
        The detector that it queries: the attacked one, or its surrogate.
    """
    check_unchanging(source_model)
    needs_gradients = stage.recipe.access == "gradients" and not stage.recipe.adapts
    if needs_gradients and not source_model.differentiable:
        raise UserError(
            f"{stage.recipe.name} needs gradients, and detector '{source_model.name}' has none",
            hint=f"use an attack that works without gradients ({', '.join(_without_gradients())}), or add 'surrogate: NAME' with a detector that has gradients",
        )


def check_unchanging(detector: AttackedDetector) -> None:
    """Raise UserError if a detector changes its own weights, buffers or mode with every answer: no attack can judge it."""
    if detector.changes:
        more = f" and {len(detector.changes) - 1} more" if len(detector.changes) > 1 else ""
        raise UserError(
            f"detector '{detector.name}' changes its own weights with every call ({detector.changes[0]}{more}); an attack "
            "needs a fixed detector",
            hint="the network is in training mode: call eval() before you save or export the network",
        )


def _without_gradients() -> list[str]:
    """Return the names of the attacks that need no gradients."""
    recipes = known_recipes("attack")
    return [
        each.name
        for each in recipes
        if isinstance(each, AttackRecipe) and (each.adapts or each.access != "gradients")
    ]
