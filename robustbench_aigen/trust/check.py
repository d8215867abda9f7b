"""Trust checks, and the registry of all checks: built-in checks and those of plugins."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args

from robustbench_aigen.errors import UserError, did_you_mean, first_line
from robustbench_aigen.notices import Notice, warning
from robustbench_aigen.registry import Registry
from robustbench_aigen.stages.stage import Attack
from robustbench_aigen.trust.flags import UNCHECKED, Flag, Measurement

if TYPE_CHECKING:  # A report names all checks without torch.
    import pandas as pd
    from torch import Tensor, nn

    from robustbench_aigen.trust.probe_images import ProbeImages

On = Literal["cell", "pair", "detector", "survivors", "repeats"]
Item = TypeVar("Item")
T = TypeVar("T")
_NAME = re.compile(r"[a-z][a-z0-9_]*")


class DetectorCheck:
    """A check on a detector: a small experiment on images that the detector judges right.

    A subclass writes ``probe`` and ``judge``.

    Attributes
    ----------
    attacks
        The attacks that ``probe`` runs.
    stepwise
        Whether quick checks probe the first eight images, and the others only if ``is_clear`` is false.
    on_survivors
        Whether a flag means that an attack was too weak. Such a flag concerns only cells in which an attacked image is
        still judged right: an accuracy of zero cannot be too high.
    """

    attacks: tuple[Attack, ...] = ()
    stepwise: bool = False
    on_survivors: bool = False

    def applies(self, detector: "nn.Module") -> bool:
        """Whether the check is about this detector."""
        del detector
        return True

    def probe(self, images: "ProbeImages") -> "Tensor":
        """Return N numbers or booleans on the CPU, an answer for each image. Answers are cached."""
        raise NotImplementedError

    def judge(self, answers: "Tensor") -> Measurement:
        """Return the measurement from the answers for all images, which are in no particular order."""
        raise NotImplementedError

    def is_clear(self, answers: "Tensor") -> bool:
        """Whether the answers for the first images decide."""
        del answers
        return False

    def known(self, records: "pd.DataFrame") -> Mapping[str, float]:
        """Return the answers that follow from the detector's records, by sample id; these images are not probed."""
        del records
        return {}


@dataclass(frozen=True)
class Check:
    """A check and the flag that it raises.

    Parameters
    ----------
    name, meaning
        The flag in the ``trust`` column and in ``run.json``, and its meaning in reports, a clause without a full stop.
    when
        The condition of the flag, with the thresholds.
    parts
        The functions, by the checked object. ``cell``: ``(CellRecords) -> str | None``, the evidence if the flag is
        raised. ``pair``: ``(AttackCell, AttackCell) -> bool``, whether the second attack may not leave a clearly lower
        accuracy than the first. ``detector``: a :class:`DetectorCheck`. ``survivors``: ``(Withstood) -> NextAttack |
        None``, a second attack for images that withstood the attack of a cell. ``repeats``: ``(Repeated) ->
        Measurement``, from repeated calls on the same images.
    built_in
        Whether the check is part of this package.
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
        """The part of the check on a detector."""
        part: DetectorCheck = self.parts["detector"]
        return part


CHECKS: Registry[Check] = Registry("trust check", "robustbench_aigen.trust.checks")
"""All checks in the order of modules and of lines; checks of one kind run in this order."""


def check(
    name: str, *, meaning: str, on: On | tuple[On, ...], when: str = "", order: float = 0
) -> Callable[[Item], Item]:
    """Register a function or class as a trust check; see :class:`Check`.

    For ``detector``, register a subclass of :class:`DetectorCheck`. If ``on`` names several objects, register a class
    whose methods have these names.

    Parameters
    ----------
    name
        The flag that the check raises.
    meaning
        The meaning of a raised flag, a clause.
    when
        The condition of the flag with the thresholds, a clause for the table of flags.
    on
        The checked object: ``cell``, ``pair``, ``detector``, ``survivors``, ``repeats``, or several of these.
    order
        Place among the built-in flags of a report; flags of plugins follow.

    Raises
    ------
    UserError
        If the name is taken or malformed, or the registered object does not fit.
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
        raise UserError(f"the trust check {name!r} needs an unused name of small letters, digits and '_'")
    for kind in kinds:
        if kind not in get_args(On):
            raise UserError(
                f"the trust check '{name}' has an unknown on={kind!r}",
                hint=did_you_mean(str(kind), get_args(On)),
            )
        if kind == "detector" and not (isinstance(item, type) and issubclass(item, DetectorCheck)):
            raise UserError(
                f"the trust check '{name}' on a detector is not a subclass of DetectorCheck",
                hint=f"write class {getattr(item, '__name__', 'Check')}(DetectorCheck), with probe and judge",
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
    """The trust checks of one run. A plugin's check that fails is noted and not called again.

    Parameters
    ----------
    failed
        The reasons of failed checks, by their names.
    """

    failed: dict[str, str] = field(default_factory=dict)

    def on(self, kind: On) -> list[Check]:
        """Return the checks on a kind of object that have not failed."""
        return [each for each in CHECKS if kind in each.parts and each.name not in self.failed]

    def ask(self, asked: Check, call: Callable[[], T], kind: type | tuple[type, ...]) -> T | None:
        """Return the result of a part of a check, with its type verified; None if the part of a plugin fails."""
        if asked.built_in:
            return call()
        try:
            answer = call()
            if not isinstance(answer, kind):
                raise TypeError(f"the check returned {answer!r}")  # noqa: TRY301
        except Exception as error:  # noqa: BLE001  For any error of a plugin, the numbers of the run are kept.
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
