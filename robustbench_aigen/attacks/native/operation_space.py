"""The search space of the post-processing attack: chains of operations that a person could apply before an upload.

Every operation has a strength between 0 and 1. A strength near 0 leaves the image nearly as it is, a strength of 1 is
as much as a viewer might accept.
"""

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from robustbench_aigen.stages.parameters import Value
from robustbench_aigen.stages.recipe_files import shipped_recipes
from robustbench_aigen.stages.stage import Perturbation, make_stage


class Choice(NamedTuple):
    """An operation of a chain: its name, strength, direction (−1 or 1), and settings without a strength."""

    operation: str
    strength: float
    sign: int
    settings: Mapping[str, Value]


Chain = tuple[Choice, ...]


class SearchOperation(NamedTuple):
    """An operation: its parameters at a signed strength, whether it has two directions, and its other settings."""

    params: Callable[[float], Mapping[str, Value]]
    has_sign: bool = False
    settings: Mapping[str, tuple[str, ...]] = {}


_SPREAD = 0.5
"""Standard deviation of the logarithm by which a strength changes."""
_WEAKEST = 0.02
_FILTERS = ("bilinear", "bicubic", "lanczos", "box")

OPERATIONS: Mapping[str, SearchOperation] = {
    "jpeg": SearchOperation(
        lambda t: {"quality": round(98 - 68 * t)}, settings={"subsampling": ("4:2:0", "4:4:4")}
    ),
    "webp": SearchOperation(lambda t: {"quality": round(98 - 78 * t)}),
    "resize": SearchOperation(
        lambda t: {"scale": _short(1 + 0.6 * t)}, has_sign=True, settings={"filter": _FILTERS}
    ),
    "gaussian_blur": SearchOperation(lambda t: {"sigma": _short(0.2 + 1.8 * t)}),
    "sharpen": SearchOperation(lambda t: {"amount": _short(3 * t)}),
    "film_grain": SearchOperation(lambda t: {"sigma": _pixels(16 * t)}),
    "gaussian_noise": SearchOperation(lambda t: {"sigma": _pixels(12 * t)}),
    "gamma": SearchOperation(lambda t: {"exponent": _short(math.exp(0.6 * t))}, has_sign=True),
    "brightness": SearchOperation(lambda t: {"shift": _short(0.25 * t)}, has_sign=True),
    "contrast": SearchOperation(lambda t: {"factor": _short(math.exp(0.5 * t))}, has_sign=True),
    "saturation": SearchOperation(lambda t: {"factor": _short(math.exp(0.8 * t))}, has_sign=True),
    "rotate": SearchOperation(lambda t: {"degrees": _short(2 * t)}, has_sign=True),
    "chromatic_aberration": SearchOperation(lambda t: {"shift": _short(1.5 * t)}, has_sign=True),
    "frequency_attenuation": SearchOperation(lambda t: {"strength": _short(t)}),
}
"""Operations of the search by the names of their perturbations; all keep the size of the image."""


def drawn_chain(generator: np.random.Generator, longest: int) -> Chain:
    """Draw a chain of one to ``longest`` operations, all uniform."""
    names = generator.choice(list(OPERATIONS), size=int(generator.integers(1, longest + 1)))
    return tuple(drawn_choice(generator, str(name)) for name in names)


def drawn_choice(generator: np.random.Generator, name: str, strength: float | None = None) -> Choice:
    """Draw the direction and the settings of an operation, and its strength unless it is given."""
    operation = OPERATIONS[name]
    drawn = float(generator.uniform()) if strength is None else strength
    sign = int(generator.choice([-1, 1])) if operation.has_sign else 1
    settings = {key: str(generator.choice(words)) for key, words in operation.settings.items()}
    return Choice(name, drawn, sign, settings)


def changed_chain(generator: np.random.Generator, chain: Chain, longest: int) -> Chain:
    """Return a chain with one change: all strengths, an operation replaced, inserted, moved or removed."""
    changes = ["strengths", "replace"]
    if len(chain) < longest:
        changes += ["insert", "insert"]
    if len(chain) > 1:
        changes += ["move", "remove"]
    change, place = str(generator.choice(changes)), int(generator.integers(len(chain)))
    rest = [*chain[:place], *chain[place + 1 :]]
    if change == "strengths":
        factors = np.exp(generator.normal(0, _SPREAD, len(chain)))
        return tuple(
            each._replace(strength=float(np.clip(each.strength * factor, _WEAKEST, 1)))
            for each, factor in zip(chain, factors, strict=True)
        )
    if change == "remove":
        return tuple(rest)
    added = (
        chain[place] if change == "move" else drawn_choice(generator, str(generator.choice(list(OPERATIONS))))
    )
    others = list(chain) if change == "insert" else rest
    target = place if change == "replace" else int(generator.integers(len(others) + 1))
    return (*others[:target], added, *others[target:])


def stages_of(chain: Chain, scale: float = 1.0) -> tuple[Perturbation, ...]:
    """Return the perturbations of a chain with all strengths multiplied by ``scale``."""
    recipes = shipped_recipes()
    made = []
    for each in chain:
        params = OPERATIONS[each.operation].params(each.sign * scale * each.strength)
        made.append(make_stage(recipes[each.operation], {**params, **each.settings}))
    return tuple(stage for stage in made if isinstance(stage, Perturbation))


def _short(value: float) -> float:
    """Round to a number that a person would write, so that a pasted chain is the same chain."""
    return round(value, 3)


def _pixels(levels: float) -> str:
    # A length in pixel units is positive.
    return f"{max(0.1, round(levels, 1)):g}/255"
