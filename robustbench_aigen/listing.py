"""Names of the objects that ship with the package."""

from fnmatch import fnmatchcase
from typing import get_args

from robustbench_aigen.catalogue import shipped_files
from robustbench_aigen.detectors.published import PUBLISHED
from robustbench_aigen.detectors.shipped import shipped_detectors
from robustbench_aigen.errors import UserError, did_you_mean
from robustbench_aigen.stages.parameters import Norm
from robustbench_aigen.stages.recipe import Access, AttackRecipe
from robustbench_aigen.stages.recipe_files import known_recipes, recipe_names


def list_detectors(pattern: str = "*") -> list[str]:
    """Return the ids of the detectors that :func:`load_detector` knows: ``list_detectors("minigen/*")``."""
    return sorted(name for name in {*shipped_detectors(), *PUBLISHED} if fnmatchcase(name, str(pattern)))


def list_attacks(norm: Norm | None = None, access: Access | None = None) -> list[str]:
    """Return the names of the attacks, of one norm or with one access (gradients, scores, decisions) if so asked."""
    for what, given, known in (("norm", norm, get_args(Norm)), ("access", access, get_args(Access))):
        if given is not None and given not in known:
            raise UserError(f"unknown {what} {given!r}", hint=did_you_mean(str(given), known))
    return sorted(
        recipe.name
        for recipe in known_recipes("attack")
        if isinstance(recipe, AttackRecipe)
        and (norm is None or norm in recipe.norms)
        and (access is None or recipe.access == access)
    )


def list_perturbations() -> list[str]:
    """Return the names of the perturbations."""
    return recipe_names("perturb")


def list_scenarios() -> list[str]:
    """Return the names of the shipped scenarios, those of protocols included."""
    return sorted([*shipped_files("scenarios"), *shipped_files("protocols")])
