"""Attacks, by the names of their recipes: ``attacks.pgd(eps=4/255, steps=10)``.

``help(attacks.pgd)`` shows parameters and source, ``attacks.create("my_recipe.yaml", eps=2/255)`` takes a recipe of your
own. The modules beside are not public: threat model, native engine, library adapters, and the verifier that every attack
passes.
"""

from pathlib import Path

from robustbench_aigen.stages import catalogue
from robustbench_aigen.stages.recipe_files import recipe_names
from robustbench_aigen.stages.stage import Stage


def create(recipe: str | Path, **given: object) -> Stage:
    """Return the attack of a recipe by its name, or of a recipe file of your own."""
    return catalogue.create("attack", recipe, given)


def __getattr__(name: str) -> catalogue.Factory:
    if name.startswith("_"):
        raise AttributeError(name)
    return catalogue.factory("attack", name)


def __dir__() -> list[str]:
    return [*recipe_names("attack"), "create"]
