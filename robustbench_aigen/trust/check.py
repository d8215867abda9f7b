"""What a trust check is, and the registry of all checks: built-in ones, and those of plugins."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args

from robustbench_aigen.errors import UserError, did_you_mean, first_line
from robustbench_aigen.notices import Notice, warning
from robustbench_aigen.registry import Registry
from robustbench_aigen.stages.stage import Attack
from robustbench_aigen.trust.flags import UNCHECKED, Flag, Measurement

if TYPE_CHECKING:  # A report names all checks, and needs no torch.
    import pandas as pd
    from torch import Tensor

    from robustbench_aigen.trust.probe_images import ProbeImages

On = Literal["cell", "pair", "detector", "survivors", "repeats"]
Item = TypeVar("Item")
T = TypeVar("T")
_NAME = re.compile(r"[a-z][a-z0-9_]*")


class DetectorCheck:
    """What a check on a detector is made of: a small experiment on images that the detector gets right.

    A subclass writes ``probe`` and ``judge``.

    Attributes
    ----------
    attacks
        The attacks that ``probe`` makes.
    stepwise
        Whether quick checks ask the first eight images, and the others only where ``is_clear`` says no.
    """

    attacks: tuple[Attack, ...] = ()
    stepwise: bool = False

    def probe(self, images: "ProbeImages") -> "Tensor":
        """Return an answer for each image, N numbers or booleans on the CPU. They are cached."""
        raise NotImplementedError

    def judge(self, answers: "Tensor") -> Measurement:
        """Judge the answers to all images, in no particular order."""
        raise NotImplementedError

    def is_clear(self, answers: "Tensor") -> bool:
        """Whether the answers to the first images are enough."""
        del answers
        return False

    def known(self, records: "pd.DataFrame") -> Mapping[str, float]:
        """Return the answers, by sample id, that follow from the detector's records; they are not asked."""
        del records
        return {}


@dataclass(frozen=True)
class Check:
    """A check and the flag that it raises.

    Parameters
    ----------
    name, meaning
        The flag: in the ``trust`` column and in ``run.json``; in reports, a clause without a full stop.
    when
        When it is raised, with the thresholds.
    parts
        What answers, by what it is asked about. ``cell``: ``(CellRecords) -> str | None``, the evidence where the flag
        is raised. ``pair``: ``(AttackCell, AttackCell) -> bool``, whether the second may not leave clearly less than
        the first. ``detector``: a :class:`DetectorCheck`. ``survivors``: ``(Withstood) -> NextAttack | None``, the
        attack that images are tried with that withstood the one of a cell. ``repeats``: ``(Repeated) -> Measurement``,
        of the same images asked several times.
    built_in
        Whether it is this package's own.
    order
        Its place among the flags of a report.
    """

    name: str
    meaning: str
    when: str
    parts: Mapping[On, Any]
    built_in: bool
    order: float

    @property
    def detector(self) -> DetectorCheck:
        """The part that is asked about a detector."""
        part: DetectorCheck = self.parts["detector"]
        return part


CHECKS: Registry[Check] = Registry("trust check", "robustbench_aigen.trust.checks")
"""In the order of modules and of writing, in which checks of one kind are asked."""


def check(
    name: str, *, meaning: str, on: On | tuple[On, ...], when: str = "", order: float = 0
) -> Callable[[Item], Item]:
    """Register a function or class as a trust check; see :class:`Check`.

    A class is registered where ``on`` is ``detector``, a :class:`DetectorCheck`, or where ``on`` names several: then
    its methods have these names.

    Parameters
    ----------
    name
        The flag that it raises.
    meaning
        What a raised flag means, a clause.
    when
        When it is raised, with the thresholds: a clause for the table of flags.
    on
        What it is asked about.
    order
        Its place among the built-in flags of a report; those of plugins follow.

    Raises
    ------
    UserError
        If the name is taken or is no word of small letters, or what is registered does not fit.
    """

    def decorator(item: Item) -> Item:
        kinds: tuple[On, ...] = on if isinstance(on, tuple) else (on,)
        built_in = item.__module__.startswith(f"{CHECKS.folder}.")
        _refuse(name, kinds, item)
        made = item() if isinstance(item, type) else item
        parts = {
            kind: made if kind == "detector" or len(kinds) == 1 else getattr(made, kind) for kind in kinds
        }
        CHECKS.add(name, Check(name, meaning, when, parts, built_in, order), defined=item)
        return item

    return decorator


def _refuse(name: str, kinds: tuple[On, ...], item: object) -> None:
    if not _NAME.fullmatch(name) or name in ("ok", UNCHECKED.name):
        raise UserError(
            f"the trust check {name!r} needs a name of small letters, digits and '_' that is free"
        )
    for kind in kinds:
        if kind not in get_args(On):
            raise UserError(
                f"the trust check '{name}' is on {kind!r}", hint=did_you_mean(str(kind), get_args(On))
            )
        if kind == "detector" and not (isinstance(item, type) and issubclass(item, DetectorCheck)):
            raise UserError(
                f"the trust check '{name}' on a detector is not a subclass of DetectorCheck",
                hint=f"class {getattr(item, '__name__', 'Check')}(DetectorCheck), with probe and judge",
            )


def flags() -> tuple[Flag, ...]:
    """Return every flag in the order of reports: those of built-in checks, of plugins, and ``unchecked``."""
    ordered = sorted(CHECKS, key=lambda each: (not each.built_in, each.order if each.built_in else 0))
    return (*(Flag(each.name, each.meaning) for each in ordered), UNCHECKED)


def flag_names(*kinds: On) -> tuple[str, ...]:
    """Return the flags of the checks on some kinds, in the order of reports."""
    return tuple(
        flag.name
        for kind in kinds
        for flag in flags()
        if flag.name in CHECKS and kind in CHECKS[flag.name].parts
    )


@dataclass(frozen=True)
class Checks:
    """The trust checks of one run. A plugin's check that fails is noted and not asked again.

    Parameters
    ----------
    failed
        Why checks failed, by their names.
    """

    failed: dict[str, str] = field(default_factory=dict)

    def on(self, kind: On) -> list[Check]:
        """Return the checks on a kind of thing that have not failed."""
        return [each for each in CHECKS if kind in each.parts and each.name not in self.failed]

    def ask(self, asked: Check, call: Callable[[], T], kind: type | tuple[type, ...]) -> T | None:
        """Return what a part of a check answers, which has to be of some type; None where a plugin's fails."""
        if asked.built_in:
            return call()
        try:
            answer = call()
            if not isinstance(answer, kind):
                raise TypeError(f"the check returned {answer!r}")  # noqa: TRY301
        except Exception as error:  # noqa: BLE001  Whatever a plugin raises, the numbers of the run are kept.
            said = first_line(error)
            self.failed[asked.name] = (
                said if isinstance(error, UserError) else f"{type(error).__name__}: {said}"
            )
            return None
        return answer

    def notices(self) -> Iterator[Notice]:
        """Yield a line for each check that failed."""
        for name, said in self.failed.items():
            yield warning(f"the trust check '{name}' fails: {said} (correct {CHECKS.place(name)})")

    def added(self) -> dict[str, str]:
        """Return the meanings of the flags of plugins' checks by their names."""
        return {each.name: each.meaning for each in CHECKS if not each.built_in}
