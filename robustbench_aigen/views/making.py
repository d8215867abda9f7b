"""Functions that make the tables and figures of a report, and errors of functions that fail."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol, TypeVar, cast

from robustbench_aigen.errors import UserError, first_line
from robustbench_aigen.registry import Registry
from robustbench_aigen.runs.joined import JoinedRuns

LAST = 1000
"""The place of a table or figure without an order."""
_STEM = re.compile(r"[A-Za-z0-9][\w-]*", re.ASCII)


class NamedView(Protocol):
    """An object with a name that is valid for files."""

    @property
    def name(self) -> str:
        """The stem of its files."""


Made = TypeVar("Made", bound=NamedView)
Done = TypeVar("Done")
Function = TypeVar("Function", bound=Callable[..., object])


@dataclass(frozen=True)
class Maker(Generic[Made]):
    """A function that makes a table or a figure of runs, or returns None if it would be empty.

    Parameters
    ----------
    name
        Name of the function.
    order
        Its place in a report; built-in functions have 10 or more.
    make
        The function.
    built_in
        Whether the function is part of this package.
    """

    name: str
    order: float
    make: Callable[[JoinedRuns], Made | None]
    built_in: bool


class Register(Protocol):
    """A decorator whose argument is the place in the report."""

    def __call__(self, *, order: float = LAST) -> Callable[[Function], Function]:
        """Return the decorator of a function."""


def register(registry: Registry[Maker[Made]]) -> Register:
    """Return the decorator that registers functions of ``JoinedRuns``."""

    def ordered(*, order: float = LAST) -> Callable[[Function], Function]:
        def decorator(function: Function) -> Function:
            name, module = function.__name__, function.__module__
            make = cast(Callable[[JoinedRuns], Made | None], function)
            maker: Maker[Made] = Maker(name, order, make, module.startswith(f"{registry.folder}."))
            registry.add(name, maker, defined=function)
            return function

        return decorator

    return ordered


def made_by(
    registry: Registry[Maker[Made]],
    kind: type[Made],
    joined: JoinedRuns,
    finish: Callable[[Made], Done],
    faults: list[str],
) -> list[Done]:
    """Return the tables or figures that the functions of a registry make, in the order of a report.

    Parameters
    ----------
    registry, kind
        The functions, and the type of their results.
    joined
        The runs.
    finish
        Called on each table or figure.
    faults
        Takes a line for each function of a plugin that fails; its table or figure is left out.
    """
    done: dict[str, Done] = {}
    for maker in sorted(registry, key=lambda maker: maker.order):
        try:
            made = maker.make(joined)
            if made is None:
                continue
            if not maker.built_in:
                _refuse(made, kind, done)
            done[made.name] = finish(made)
        except Exception as error:
            if maker.built_in:
                raise
            said = (
                first_line(error)
                if isinstance(error, UserError)
                else f"{type(error).__name__}: {first_line(error)}"
            )
            faults.append(f"the {registry.kind} '{maker.name}' fails: {said} ({registry.place(maker.name)})")
    return list(done.values())


def _refuse(made: object, kind: type[Made], done: Iterable[str]) -> None:
    if not isinstance(made, kind):
        raise UserError(f"the function returned {type(made).__name__}, expected {kind.__name__} or None")
    if not isinstance(made.name, str) or not _STEM.fullmatch(made.name):
        raise UserError(f"{made.name!r} cannot name a file: use letters, digits, '_' and '-'")
    if made.name in done:
        raise UserError(f"the report has a '{made.name}' already")


def raise_faults(faults: list[str], folder: str | Path) -> None:
    """Raise an error that names the missing tables or figures, after everything else is written.

    Raises
    ------
    UserError
        With a line for each missing table or figure.
    """
    if faults:
        raise UserError(
            "; ".join(faults), hint=f"correct the plugin; the other files are written to '{folder}'"
        )
