"""Functions of plugins as attacks and perturbations: a decorator makes the recipe, instead of a file."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.util import find_spec
from inspect import getdoc, signature
from typing import TypeVar

from robustbench_aigen.documents.document import validated_values
from robustbench_aigen.errors import UserError
from robustbench_aigen.stages.parameters import Norm
from robustbench_aigen.stages.recipe import Access, AttackRecipe, PerturbationRecipe, Recipe
from robustbench_aigen.stages.recipe_files import RECIPES, recipe_files

Function = TypeVar("Function", bound=Callable[..., object])
Declared = Mapping[str, object]
"""Parameters as a recipe file declares them: ``{"steps": {"kind": "count", "default": 10, "min": 1}}``."""


def attack(
    *,
    norms: Sequence[Norm],
    params: Declared,
    access: Access = "gradients",
    cost: Mapping[str, str] | None = None,
) -> Callable[[Function], Function]:
    """Register a function ``(task, *, steps: int, ...) -> Iterator[AttackChunk]`` as an attack of its name.

    Parameters
    ----------
    norms
        Norms of the budget that the attack keeps.
    params
        The parameters, ``eps`` included, as in a recipe file. The function is called with all of them except ``eps``.
    access
        The outputs that the attack needs: ``gradients``, ``scores``, or ``decisions``.
    cost
        Gradients and queries per image: ``{"gradients": "steps * restarts"}``.

    Raises
    ------
    UserError
        If the name is taken, or the function does not take the parameters.
    """

    def decorator(function: Function) -> Function:
        content = {
            "kind": "attack",
            "norms": list(norms),
            "params": dict(params),
            "access": access,
            "backends": {"native": {"implementation": _reference(function)}},
            **({} if cost is None else {"cost": dict(cost)}),
        }
        _register(function, AttackRecipe, content, ["task"], [name for name in params if name != "eps"])
        return function

    return decorator


def perturbation(
    *,
    params: Declared,
    severities: Mapping[str, Sequence[object]] | None = None,
    random: bool = False,
    differentiable: Callable[..., object] | None = None,
) -> Callable[[Function], Function]:
    """Register a function ``(levels[, streams], *, quality: int) -> levels`` as a perturbation of its name.

    ``levels`` are N×3×H×W uint8; the function returns N×3×H'×W' uint8.

    Parameters
    ----------
    params
        The parameters as a recipe file declares them.
    severities
        The values of some parameters at severities 1 to 5.
    random
        Whether the function draws random numbers; its second argument is then the random streams of the images.
    differentiable
        An approximation with gradients, for adaptive attacks: a function of N×3×H×W float32 pixels.

    Raises
    ------
    UserError
        If the name is taken, or one of the functions does not take the parameters.
    """

    def decorator(function: Function) -> Function:
        content = {
            "kind": "perturb",
            "params": dict(params),
            "severities": {name: list(values) for name, values in (severities or {}).items()},
            "random": random,
            "implementation": _reference(function),
            "differentiable": None if differentiable is None else _reference(differentiable),
        }
        streams = ["streams"] if random else []
        if differentiable is not None:
            check_signature(differentiable, ["pixels", *streams], params)
        _register(function, PerturbationRecipe, content, ["levels", *streams], params)
        return function

    return decorator


def check_signature(function: Callable[..., object], leading: Sequence[str], names: Iterable[str]) -> None:
    """Raise UserError unless a function takes the leading arguments, and its parameters as keywords."""
    listed = [*names]
    try:
        signature(function).bind(*leading, **dict.fromkeys(listed))
    except TypeError as error:
        arguments = ", ".join([*leading, *(["*", *listed] if listed else [])])
        raise UserError(
            f"'{function.__name__}' does not take the declared parameters: {error}",
            hint=f"write def {function.__name__}({arguments})",
        ) from None


def _reference(function: Callable[..., object]) -> str:
    """Return ``module:name`` of a function.

    Raises
    ------
    UserError
        If the function cannot be imported by its name.
    """
    if not hasattr(function, "__code__"):
        raise UserError(f"{function!r} is not a function", hint="write it with def")
    if function.__qualname__ != function.__name__ or not function.__name__.isidentifier():
        raise UserError(
            f"'{function.__name__}' is defined inside another function or class",
            hint="define it at the top level of its file",
        )
    return f"{function.__module__}:{function.__name__}"


def _register(
    function: Callable[..., object],
    model: type[Recipe],
    content: Mapping[str, object],
    leading: Sequence[str],
    names: Iterable[str],
) -> None:
    name = function.__name__
    word, package = ("attack", "attacks") if model is AttackRecipe else ("perturbation", "perturbations")
    if name in recipe_files():
        file = recipe_files()[name]
        raise UserError(
            f"the {word} '{name}' is registered twice: {file.parent.name}/{file.name} has the name",
            hint="rename the function",
        )
    if name == "create" or name.startswith("_") or find_spec(f"robustbench_aigen.{package}.{name}"):
        raise UserError(f"'{name}' is a reserved name for {word}s", hint="rename the function")
    summary = (getdoc(function) or name).splitlines()[0]
    whole = {"name": name, "summary": summary, **content}
    try:
        recipe = validated_values(model, whole, "a declaration")
    except UserError as error:
        place = "" if error.key is None else f"{error.key}: "
        raise UserError(f"the {word} '{name}': {place}{error.message}", hint=error.hint) from None
    check_signature(function, leading, names)
    RECIPES.add(name, recipe, defined=function)
