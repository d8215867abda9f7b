"""What makes a table or a figure of a report, and what is told of one that fails."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol, TypeVar, cast

from robustbench_aigen.errors import UserError, first_line
from robustbench_aigen.registry import Registry
from robustbench_aigen.runs.joined import JoinedRuns

LAST = 1000
"""The place of what says nothing of its order."""
_STEM = re.compile(r"[A-Za-z0-9][\w-]*", re.ASCII)


class NamedView(Protocol):
    """What has a name that files can have."""

    @property
    def name(self) -> str:
        """The stem of its files."""


Made = TypeVar("Made", bound=NamedView)
Done = TypeVar("Done")
Function = TypeVar("Function", bound=Callable[..., object])


@dataclass(frozen=True)
class Maker(Generic[Made]):
    """A function that makes a table or a figure of runs, or None where it would say nothing.

    Parameters
    ----------
    name
        Of the function.
    order
        Its place in a report: 10 and more for the built-in ones.
    make
        The function.
    built_in
        Whether it is this package's own.
    """

    name: str
    order: float
    make: Callable[[JoinedRuns], Made | None]
    built_in: bool


class Register(Protocol):
    """A decorator that takes the place in the report."""

    def __call__(self, *, order: float = LAST) -> Callable[[Function], Function]:
        """Return the decorator of a function."""


def register(registry: Registry[Maker[Made]]) -> Register:
    """Return the decorator that registers functions of :class:`~robustbench_aigen.runs.joined.JoinedRuns`."""

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
    """Return what the functions of a registry make of runs, in the order of a report.

    Parameters
    ----------
    registry, kind
        The functions, and what they return.
    joined
        The runs.
    finish
        What is done with each.
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
    """Say which tables or figures are missing, once all else is written.

    Raises
    ------
    UserError
        With a line for each, where there are any.
    """
    if faults:
        raise UserError(
            "; ".join(faults), hint=f"correct the plugin; the other files are written to '{folder}'"
        )
