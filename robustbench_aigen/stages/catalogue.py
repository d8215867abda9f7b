"""Recipes as functions: ``attacks.pgd(eps=4/255)`` is the attack, ``perturbations.jpeg(quality=75)`` the perturbation."""

from collections.abc import Mapping, Sequence
from inspect import Parameter as Argument
from inspect import Signature
from pathlib import Path
from typing import cast

from robustbench_aigen.documents.document import PartError
from robustbench_aigen.errors import UserError, did_you_mean
from robustbench_aigen.stages.masks import FORMS, MASK
from robustbench_aigen.stages.models import MODEL_FORMS
from robustbench_aigen.stages.parameters import Parameter, Value, write_pixels
from robustbench_aigen.stages.recipe import AttackRecipe, Kind, Recipe
from robustbench_aigen.stages.recipe_files import find_recipe, known_recipe, recipe_names, shipped_recipes
from robustbench_aigen.stages.stage import (
    ATTACK_KEYS,
    Perturbation,
    Stage,
    make_stage,
    perturbation_from_dict,
)

_MODULES: Mapping[Kind, str] = {"attack": "attacks", "perturb": "perturbations"}
ATTACK_ARGUMENTS: Mapping[str, tuple[str, object]] = {
    "through": (
        "perturbations between the attacked image and the detector, in their order; by default none",
        (),
    ),
    "eot": ("whole number, random draws of 'through' that a gradient is averaged over; by default 1", 1),
    "surrogate": ("detector that the attack is crafted on; by default the attacked detector", None),
}


class Factory:
    """Makes stages of one recipe: call it with the parameters that a scenario would give.

    Attributes
    ----------
    recipe
        The recipe: its parameters, their defaults and bounds, and the source of the method.
    """

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        # A documented function, as help() sees it.
        self.__name__ = self.__qualname__ = recipe.name
        self.__module__ = f"robustbench_aigen.{_MODULES[recipe.kind]}"
        self.__doc__ = _documentation(recipe)
        self.__signature__ = _signature(recipe)

    def __call__(self, *unnamed: object, **given: object) -> Stage:
        """Return the stage; a list of values for a parameter is a sweep."""
        if unnamed:
            first = next((name for name in self.recipe.parameters if name not in ("backend", "norm")), "norm")
            raise UserError(
                f"{self.recipe.name} takes its parameters by name",
                hint=f"{self.recipe.name}({first}={unnamed[0]!r})",
            )
        # Numbers and arrays of NumPy and torch.
        given = {name: value.tolist() if hasattr(value, "tolist") else value for name, value in given.items()}
        if not isinstance(self.recipe, AttackRecipe):
            return make_stage(self.recipe, given)
        attack = {name: given.pop(name) for name in ATTACK_KEYS if name in given}
        inside = attack.get("through", ())
        if not isinstance(inside, list | tuple):
            raise PartError("must be a list of perturbations", ("through",), "through=[perturbations.jpeg()]")
        through = [_inside(each) for each in inside]
        return make_stage(
            self.recipe, given, through, cast(int, attack.get("eot", 1)), attack.get("surrogate")
        )

    def __repr__(self) -> str:
        return f"<{_MODULES[self.recipe.kind][:-1]} {self.recipe.name}>"


def _inside(stage: object) -> Perturbation:
    if isinstance(stage, Mapping):
        return perturbation_from_dict(stage)
    if not isinstance(stage, Perturbation):
        raise PartError("'through' takes only perturbations", ("through",), "perturbations.jpeg()")
    return stage


def factory(kind: Kind, name: str) -> Factory:
    """Return the factory of a recipe of the catalogue or of a plugin.

    Raises
    ------
    AttributeError
        If there is no recipe with this name and kind.
    """
    recipe = known_recipe(name)
    if recipe is not None and recipe.kind == kind:
        return Factory(recipe)
    word = "attack" if kind == "attack" else "perturbation"
    raise AttributeError(f"unknown {word} '{name}': {did_you_mean(name, recipe_names(kind))}")


def create(kind: Kind, recipe: str | Path, given: Mapping[str, object]) -> Stage:
    """Return a stage of a recipe by its name, or of a recipe file of your own.

    Raises
    ------
    UserError
        If there is no such recipe, or it does not take these parameters.
    """
    return Factory(find_recipe(kind, str(recipe), Path()))(**given)


def _signature(recipe: Recipe) -> Signature:
    own = {name: _Default(parameter.default, parameter) for name, parameter in recipe.parameters.items()}
    beside = {name: value for name, (_, value) in ATTACK_ARGUMENTS.items()}
    every = {**own, **(beside if isinstance(recipe, AttackRecipe) else {})}
    return Signature([Argument(name, Argument.KEYWORD_ONLY, default=value) for name, value in every.items()])


class _Default:
    """Shows a default as people write it."""

    def __init__(self, value: Value, parameter: Parameter) -> None:
        self.value, self.parameter = value, parameter

    def __repr__(self) -> str:
        return self.parameter.write(self.value) if isinstance(self.value, float) else repr(self.value)


def _documentation(recipe: Recipe) -> str:
    lines = [recipe.summary, *(["", "Parameters", "----------"] if recipe.parameters else [])]
    for name, parameter in recipe.parameters.items():
        lines += [name, f"    {_described(name, parameter, recipe)}"]
    if isinstance(recipe, AttackRecipe):
        for name, (text, _) in ATTACK_ARGUMENTS.items():
            lines += [name, f"    {text}"]
    lines += ["", "A list of values for a parameter is a sweep."]
    return "\n".join([*lines, *(["", f"Source: {recipe.source}"] if recipe.source else [])])


def _described(name: str, parameter: Parameter, recipe: Recipe) -> str:
    """Return the kind, the bounds and the default of a parameter as one line."""
    what = {
        "pixels": "length in pixel units, where a channel goes from 0 to 1",
        "number": "number",
        "count": "whole number",
        "switch": "True or False",
        "choice": f"one of {', '.join(parameter.choices)}",
        "text": "text",
        "mask": f"part of the image that may change: {FORMS}",
        "model": f"model of diffusers, {MODEL_FORMS}",
    }[parameter.kind]
    low, high = parameter.minimum, parameter.maximum
    if low is not None and high is not None:
        what += f" from {low:g} to {high:g}"
    elif low is not None or high is not None:
        what += f" of at least {low:g}" if low is not None else f" of at most {high:g}"

    def shown(value: Value) -> str:
        if not isinstance(value, float):
            return str(value)
        return write_pixels(value) if parameter.kind == "pixels" else f"{value:g}"

    if parameter.kind == "mask":
        return f"{what}; by default everything"
    if name == "severity" and not isinstance(recipe, AttackRecipe):
        return f"{what}, which sets {', '.join(recipe.severities)}; by default not given"
    if parameter.by_norm:
        listed = ", ".join(f"{shown(value)} in {norm}" for norm, value in parameter.by_norm.items())
        return f"{what}; by default {listed}"
    return f"{what}; " + (
        "required" if parameter.default is None else f"by default {shown(parameter.default)}"
    )


_TYPES = {
    "pixels": "_Number",
    "number": "_Number",
    "count": "int",
    "switch": "bool",
    "text": "str",
    "mask": "str",
    "model": "str",
}


def stub_text(kind: Kind) -> str:
    """Return the content of ``attacks/__init__.pyi`` or ``perturbations/__init__.pyi``: a class for every shipped recipe.

    ``make docs`` writes both files; mypy and editors read them instead of the module.
    """
    stage = "Attack" if kind == "attack" else "Perturbation"
    shipped = [recipe for recipe in shipped_recipes().values() if recipe.kind == kind]
    kinds = sorted({type(recipe).__name__ for recipe in shipped})
    lines = [
        f'"""The {_MODULES[kind]} of the catalogue. Written by make docs from the recipes."""',
        "",
        "from collections.abc import Sequence",
        "from pathlib import Path",
        "from typing import Literal, TypeAlias, TypeVar",
        "",
        f"from robustbench_aigen.stages.recipe import {', '.join(kinds)}",
        f"from robustbench_aigen.stages.stage import {'Attack, Perturbation' if kind == 'attack' else stage}",
        "",
        '_T = TypeVar("_T")',
        "_Number: TypeAlias = float | str",
        "_Values: TypeAlias = _T | Sequence[_T]",
        "",
        f"def create(recipe: str | Path, **given: object) -> {stage}: ...",
    ]
    for recipe in shipped:
        lines += ["", f"class _{recipe.name}:", f"    recipe: {type(recipe).__name__}"]
        arguments = _stub_arguments(recipe)
        if arguments:
            lines += ["    def __call__(", "        self,", "        *,"]
            lines += [*(f"        {argument}," for argument in arguments), f"    ) -> {stage}:"]
        else:
            lines.append(f"    def __call__(self) -> {stage}:")
        lines += [*_docstring(recipe), "", f"{recipe.name}: _{recipe.name}"]
    return "\n".join(lines) + "\n"


def _stub_arguments(recipe: Recipe) -> list[str]:
    arguments = []
    for name, parameter in recipe.parameters.items():
        plain = _TYPES.get(parameter.kind) or f"Literal[{_quoted(parameter.choices)}]"
        is_required = parameter.default is None and name not in ("severity", MASK)
        arguments.append(f"{name}: _Values[{plain}]{'' if is_required else ' = ...'}")
    if isinstance(recipe, AttackRecipe):
        surrogate = "surrogate: object" + ("" if recipe.needs_surrogate else " = ...")
        arguments += ["through: Sequence[Perturbation] = ...", "eot: int = ...", surrogate]
    return arguments


def _quoted(words: Sequence[str]) -> str:
    return ", ".join(f'"{word}"' for word in words)


def _docstring(recipe: Recipe) -> list[str]:
    text = _documentation(recipe).replace("\\", "\\\\").splitlines()
    indented = [f"        {line}" if line else "" for line in text[1:]]
    return [f'        """{text[0]}', *indented, '        """']
