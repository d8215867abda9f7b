"""What an attack needs before it starts: the code that computes it, and a detector that it can attack.

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
    """What of a detector decides whether it can be attacked."""

    @property
    def name(self) -> str:
        """What it is called."""
        ...

    @property
    def differentiable(self) -> bool:
        """Whether it has gradients."""
        ...

    @property
    def changes(self) -> Sequence[str]:
        """What of it changes with every answer."""
        ...


def check_attack(stage: Attack) -> None:
    """Raise UserError if what computes an attack stage is not there: before the first image, not after."""
    backends, backend = stage.recipe.backends, stage.backend
    if backends.names() == ():  # The object that the attack was made from computes it.
        return
    if backends.native is not None and backend == "native":
        if not is_shipped(stage.recipe):
            check_signature(import_function(backends.native.implementation), ["task"], stage.arguments)
        return
    from robustbench_aigen.attacks.libraries import library_class, library_module

    calls = getattr(backends, str(backend))
    library_class(library_module(str(backend)), calls[stage.norm])


def check_gradients(stage: Attack, source_model: AttackedDetector) -> None:
    """Raise UserError if an attack follows gradients and what it is crafted on has none, or changes as it answers.

    Parameters
    ----------
    stage
        An attack.
    source_model
        The detector that it queries: the attacked one, or its surrogate.
    """
    check_unchanging(source_model)
    if stage.recipe.access == "gradients" and not source_model.differentiable:
        raise UserError(
            f"{stage.recipe.name} follows gradients, and detector '{source_model.name}' has none",
            hint=f"take one that needs scores or verdicts alone ({', '.join(_without_gradients())}), or craft it on "
            "another detector with 'surrogate: NAME'",
        )


def check_unchanging(detector: AttackedDetector) -> None:
    """Raise UserError if a detector changes its own weights, buffers or mode with every answer: no attack can judge it."""
    if detector.changes:
        more = f" and {len(detector.changes) - 1} more" if len(detector.changes) > 1 else ""
        raise UserError(
            f"detector '{detector.name}' changes its own weights at every answer ({detector.changes[0]}{more}); an attack "
            "needs a fixed detector",
            hint="it is in training mode: call eval() on the network, and export it again where it was exported",
        )


def _without_gradients() -> list[str]:
    """Return the names of the attacks that need no gradients."""
    recipes = known_recipes("attack")
    return [each.name for each in recipes if isinstance(each, AttackRecipe) and each.access != "gradients"]
