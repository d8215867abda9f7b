"""A defence of the zoo: how to build the defended detector, and the adaptive attack that breaks the defence."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import Literal

from torch import Tensor

from benchmarks.defences import zoo
from robustbench_aigen import Detector, UserError

EPS = 4
"""The L∞ budget of every attack, in 8-bit levels: the undefended detector keeps no image at half of this budget."""
BASE = "minigen/cifake_cnn"
"""The detector that every defence surrounds."""


@dataclass(frozen=True)
class Defence:
    """A defended detector and its reference attack.

    Parameters
    ----------
    name
        The name of the module in ``zoo``.
    source
        The paper of the defence.
    broken_by
        The paper of the attack that the reference follows.
    access
        Whether the detector answers with scores, or with verdicts alone.
    is_random
        Whether an answer draws random numbers.
    build
        Returns the defended detector.
    attack
        The reference: maps the detector, N×3×H×W pixels in [0, 1] and N labels to N×3×H×W pixels on the 8-bit grid, at
        most :data:`EPS` levels away. Nothing but plain torch; the reference knows everything about the defence.
    """

    name: str
    source: str
    broken_by: str
    access: Literal["scores", "verdicts"]
    is_random: bool
    build: Callable[[], Detector]
    attack: Callable[[Detector, Tensor, Tensor], Tensor]


def names() -> list[str]:
    """Return the names of all defences, sorted."""
    return sorted(module.name for module in iter_modules(zoo.__path__))


@cache
def defence(name: str) -> Defence:
    """Return a defence.

    Raises
    ------
    UserError
        If there is no defence of this name.
    """
    if name not in names():
        raise UserError(f"there is no defence '{name}'", hint=f"known defences: {', '.join(names())}")
    found = import_module(f"{zoo.__name__}.{name}").DEFENCE
    assert isinstance(found, Defence)
    return found
