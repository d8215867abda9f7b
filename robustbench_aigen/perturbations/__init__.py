"""Perturbations, by the names of their recipes: ``perturbations.jpeg(quality=75)``.

``help(perturbations.jpeg)`` shows parameters and source, ``perturbations.create("my_recipe.yaml")`` takes a recipe of your
own. The modules beside are not public. Each has one family of functions ``(levels, **params)``, or ``(levels, streams,
**params)`` where the recipe says ``random: true``: N×3×H×W uint8 images of one size (and their random streams) in,
N×3×H'×W' uint8 images out.
"""

from pathlib import Path

from robustbench_aigen.stages import catalogue
from robustbench_aigen.stages.recipe_files import recipe_names
from robustbench_aigen.stages.stage import Stage


def create(recipe: str | Path, **given: object) -> Stage:
    """Return the perturbation of a recipe by its name, or of a recipe file of your own."""
    return catalogue.create("perturb", recipe, given)


def __getattr__(name: str) -> catalogue.Factory:
    if name.startswith("_"):
        raise AttributeError(name)
    return catalogue.factory("perturb", name)


def __dir__() -> list[str]:
    return [*recipe_names("perturb"), "create"]
