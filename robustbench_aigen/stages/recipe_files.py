"""Reads recipe files and finds a recipe by its name."""

from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path

from robustbench_aigen.catalogue import shipped_files
from robustbench_aigen.documents.document import PartError, validated
from robustbench_aigen.documents.located_yaml import read_yaml
from robustbench_aigen.errors import UserError, did_you_mean
from robustbench_aigen.imports import import_callable, importable
from robustbench_aigen.registry import Registry
from robustbench_aigen.stages.recipe import AttackRecipe, Kind, PerturbationRecipe, Recipe, recipe_class


def read_recipe(file: Path) -> Recipe:
    """Read and check one recipe file.

    Raises
    ------
    UserError
        If it is not a recipe; file, line and key are named.
    """
    return _read(file, ())


def _read(file: Path, within: tuple[Path, ...]) -> Recipe:
    """Read a recipe that the chains of the files ``within``, outermost first, contain."""
    located = read_yaml(file)
    within = (*within, file.resolve())

    def find(name: str) -> Recipe:
        return _in_chain(name, file.parent, within)

    recipe = validated(recipe_class(located.content), located, "a recipe", find)
    _import_beside(file, recipe)
    return recipe


def _in_chain(name: str, folder: Path, within: tuple[Path, ...]) -> Recipe:
    """Return the perturbation that a stage of a chain names; paths start at ``folder``."""
    if name.endswith((".yaml", ".yml")):
        file = (folder / name).resolve()
        if file in within:
            names = " → ".join([*(other.stem for other in within), file.stem])
            raise PartError(f"the chain contains itself: {names}", ("perturb",))
        recipe = _read(folder / name, within)
    else:
        known = known_recipe(name)
        if known is None:
            hint = did_you_mean(name, recipe_names("perturb"))
            raise PartError(f"unknown perturbation '{name}'", ("perturb",), hint)
        recipe = known
    if isinstance(recipe, AttackRecipe):
        raise PartError(f"'{name}' is an attack; a chain takes only perturbations", ("perturb",))
    return recipe


def _import_beside(file: Path, recipe: Recipe) -> None:
    """Import the modules of a user's functions, which may lie beside the recipe; what is missing is said later."""
    named: list[str | None] = []
    if isinstance(recipe, AttackRecipe) and recipe.backends.native is not None:
        named = [recipe.backends.native.implementation]
    if isinstance(recipe, PerturbationRecipe):
        named = [recipe.implementation, recipe.differentiable, recipe.exif, recipe.check]
    for function in named:
        module = (function or "").partition(":")[0]
        if module and not module.startswith(f"{__package__.partition('.')[0]}."):
            with importable(file.parent), suppress(UserError):
                import_callable(str(function))


_FOLDERS: Mapping[Kind, str] = {"attack": "attacks", "perturb": "perturbations"}
RECIPES: Registry[Recipe] = Registry("attack or perturbation", None)
"""The recipes of plugins; recipes of the catalogue are files."""


@cache
def shipped_recipe(name: str) -> Recipe:
    """Return a recipe of the catalogue; the others are not read."""
    return read_recipe(recipe_files()[name])


def shipped_attack(name: str) -> AttackRecipe:
    """Return an attack of the catalogue."""
    recipe = shipped_recipe(name)
    assert isinstance(recipe, AttackRecipe)
    return recipe


@cache
def recipe_files() -> Mapping[str, Path]:
    """Return the files of the catalogue by the names of their recipes, attacks first."""
    return {name: file for folder in _FOLDERS.values() for name, file in shipped_files(folder).items()}


@cache
def shipped_recipes() -> dict[str, Recipe]:
    """Return every recipe of the catalogue by name."""
    return {name: shipped_recipe(name) for name in recipe_files()}


def is_shipped(recipe: Recipe) -> bool:
    """Whether a recipe, with everything that it names, is part of the catalogue."""
    return recipe.name in recipe_files() and recipe == shipped_recipe(recipe.name)


def known_recipe(name: str) -> Recipe | None:
    """Return a recipe of the catalogue or of a plugin; None if the name is unknown."""
    if name in recipe_files():
        return shipped_recipe(name)
    return RECIPES[name] if name in RECIPES else None  # noqa: SIM401  A registry is not a dict.


def recipe_names(kind: Kind) -> list[str]:
    """Return the names of the recipes of a kind, those of the catalogue and of plugins, sorted."""
    return sorted([*shipped_files(_FOLDERS[kind]), *(each.name for each in RECIPES if each.kind == kind)])


def known_recipes(kind: Kind) -> list[Recipe]:
    """Return the recipes of a kind, those of the catalogue and of plugins, sorted by name."""
    return [recipe for name in recipe_names(kind) if (recipe := known_recipe(name)) is not None]


def find_recipe(kind: Kind, name: str, folder: Path) -> Recipe:
    """Find a recipe by name, or the user's own by the path of its YAML file.

    Parameters
    ----------
    kind
        ``attack`` or ``perturb``, the key in the scenario.
    name
        A name of the catalogue or of a plugin, or a path ending in ``.yaml``, relative to ``folder``.
    folder
        The folder of the scenario file.

    Raises
    ------
    UserError
        If there is no recipe with this name and kind.
    """
    if name.endswith((".yaml", ".yml")):
        recipe = read_recipe(folder / name)
        if recipe.kind != kind:
            raise UserError(f"'{name}' is a recipe of kind {recipe.kind}, not {kind}")
        return recipe
    known = known_recipe(name)
    if known is None:
        word = "attack" if kind == "attack" else "perturbation"
        raise UserError(f"unknown {word} '{name}'", hint=did_you_mean(name, recipe_names(kind)))
    if known.kind != kind:
        raise UserError(
            f"'{name}' is not an {kind}" if kind == "attack" else f"'{name}' is not a perturbation",
            hint=f"write {known.kind}: {name}",
        )
    return known
