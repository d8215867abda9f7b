"""Recipes as functions: ``attacks.pgd(eps=4/255)`` is the attack, ``perturbations.jpeg(quality=75)`` the perturbation."""

from collections.abc import Mapping
from functools import cache
from inspect import Parameter, Signature
from pathlib import Path
from typing import Any

from robustbench_aigen.catalogue import shipped_files
from robustbench_aigen.errors import UserError, did_you_mean
from robustbench_aigen.stages.parameters import Value, write_pixels
from robustbench_aigen.stages.recipe import Kind, Recipe
from robustbench_aigen.stages.recipe_files import find_recipe, shipped_recipe, shipped_recipes
from robustbench_aigen.stages.stage import (
    ATTACK_KEYS,
    Perturbation,
    Stage,
    StageError,
    make_stage,
    stage_from_dict,
)


class Factory:
    """Makes stages of one recipe: call it with the parameters that a scenario would give.

    Attributes
    ----------
    recipe
        The recipe: its parameters, their defaults and bounds, and the source of the method.
    """

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.__name__ = self.__qualname__ = recipe.name
        self.__doc__ = _documentation(recipe)
        self.__signature__ = _signature(recipe)

    def __call__(self, *unnamed: object, **given: Any) -> Any:
        """Return the stage; a list of values for a parameter is a sweep."""
        if unnamed:
            first = next((name for name in self.recipe.parameters if name not in ("backend", "norm")), "norm")
            raise UserError(
                f"{self.recipe.name} takes its parameters by name",
                hint=f"{self.recipe.name}({first}={unnamed[0]!r})",
            )
        # Numbers and arrays of NumPy and torch.
        given = {name: value.tolist() if hasattr(value, "tolist") else value for name, value in given.items()}
        attack = {
            name: given.pop(name) for name in ATTACK_KEYS if name in given and self.recipe.kind == "attack"
        }
        if "through" in attack:
            inside = attack["through"]
            if not isinstance(inside, list | tuple):
                raise StageError(
                    "must be a list of perturbations", ("through",), "through=[perturbations.jpeg()]"
                )
            attack["through"] = tuple(_inside(each) for each in inside)
        return make_stage(self.recipe, given, **attack)

    def __repr__(self) -> str:
        return f"<{self.recipe.kind} {self.recipe.name}{self.__signature__}>"


def _inside(stage: Any) -> Stage:
    if isinstance(stage, Mapping):
        return stage_from_dict(stage, only="perturb")
    if not isinstance(stage, Perturbation):
        raise StageError(
            "only perturbations stand inside the attacked function", ("through",), "perturbations.jpeg()"
        )
    return stage


@cache
def factory(kind: Kind, name: str) -> Factory:
    """Return the factory of a shipped recipe.

    Raises
    ------
    AttributeError
        If there is none of that name and kind.
    """
    if name in shipped_files("attacks"):
        recipe = shipped_recipe(name)
        if recipe.kind == kind:
            return Factory(recipe)
    word = "attack" if kind == "attack" else "perturbation"
    raise AttributeError(f"no {word} '{name}': {did_you_mean(name, names(kind))}")


def names(kind: Kind) -> list[str]:
    """Return the names of the shipped recipes of a kind, sorted."""
    return sorted(recipe.name for recipe in shipped_recipes().values() if recipe.kind == kind)


def create(kind: Kind, recipe: str | Path, **given: Any) -> Stage:
    """Return a stage of a recipe by its name, or of a recipe file of your own.

    Raises
    ------
    UserError
        If there is no such recipe, or it does not take these parameters.
    """
    made: Stage = Factory(find_recipe(kind, str(recipe), Path()))(**given)
    return made


def _signature(recipe: Recipe) -> Signature:
    parameters = [
        Parameter(name, Parameter.KEYWORD_ONLY, default=_Default(parameter.default))
        for name, parameter in recipe.parameters.items()
    ]
    if recipe.kind == "attack":
        own: dict[str, Any] = {"through": (), "eot": 1, "surrogate": None}
        parameters += [Parameter(name, Parameter.KEYWORD_ONLY, default=value) for name, value in own.items()]
    return Signature(parameters)


class _Default:
    """Shows a default as people write it."""

    def __init__(self, value: Value) -> None:
        self.value = value

    def __repr__(self) -> str:
        return repr(self.value)


def _documentation(recipe: Recipe) -> str:
    lines = [recipe.summary, ""]
    lines += ["Parameters", "----------"]
    for name, parameter in recipe.parameters.items():
        lines += [
            name,
            f"    {_described(parameter.kind, parameter.default, parameter.by_norm, parameter.choices)}",
        ]
    if recipe.source:
        lines += ["", f"Source: {recipe.source}"]
    return "\n".join(lines)


def _described(kind: str, default: Value, by_norm: Any, choices: tuple[str, ...]) -> str:
    what = {
        "pixels": "pixel units, where a channel goes from 0 to 1",
        "number": "number",
        "count": "whole number",
        "switch": "True or False",
        "choice": f"one of {', '.join(choices)}",
        "text": "text",
    }[kind]

    def shown(value: Value) -> str:
        return write_pixels(value) if kind == "pixels" and isinstance(value, float) else str(value)

    if by_norm:
        return (
            f"{what}; by default {', '.join(f'{shown(value)} in {norm}' for norm, value in by_norm.items())}"
        )
    return f"{what}; {'required' if default is None else f'by default {shown(default)}'}"
