"""Formats of detectors, and the registry of all formats: built-in formats and those of plugins."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from robustbench_aigen.errors import UserError, shortened
from robustbench_aigen.imports import users_code
from robustbench_aigen.registry import Registry
from robustbench_aigen.scenario.detector_spec import library_prefix

if TYPE_CHECKING:
    from robustbench_aigen.detectors.contract import Detector
    from robustbench_aigen.detectors.formats.request import Loaded, Request

Function = TypeVar("Function", bound=Callable[..., Any])
_SUFFIX = re.compile(r"(\.[a-z]\w*)+", re.ASCII)


@dataclass(frozen=True)
class Format:
    """A kind of file or library that detectors are loaded from.

    Parameters
    ----------
    name
        The name of its function, without ``load_``.
    function
        ``(request) -> Loaded``.
    suffixes
        Endings of its file names, in lower case.
    prefixes
        Prefixes of the ids of its detectors, without the colon; empty if the format has only files.
    gradients
        Whether attacks can differentiate the detector, in words.
    trust
        When ``--trust-code`` is needed, in words; empty if never.
    written, what
        How a user writes such a detector, and a description of the format.
    built_in
        Whether the format is part of this package.
    """

    name: str
    function: Callable[..., Any]
    suffixes: tuple[str, ...]
    prefixes: tuple[str, ...]
    gradients: str
    trust: str
    written: str
    what: str
    built_in: bool = False

    def load(self, request: "Request") -> "Loaded | Detector":
        """Load a detector of this format.

        Raises
        ------
        UserError
            If the detector cannot be loaded; if a plugin's function fails or does not return ``Loaded``.
        """
        from robustbench_aigen.detectors.contract import (
            Detector,  # This import loads torch, which a list of formats does not need.
        )
        from robustbench_aigen.detectors.formats.request import Loaded

        if self.built_in:
            loaded: Loaded | Detector = self.function(request)
            return loaded
        with users_code(f"the detector format '{self.name}'"):
            made: object = self.function(request)
        if not isinstance(made, Loaded | Detector):
            raise UserError(
                f"the detector format '{self.name}' returns {shortened(repr(made))}",
                hint="return Loaded(network, architecture), both from robustbench_aigen.plugins",
            )
        return made


DETECTOR_FORMATS: Registry[Format] = Registry(
    "detector format", "robustbench_aigen.detectors.formats.builtin"
)


def detector_format(
    *,
    suffixes: Sequence[str] = (),
    prefix: str | Sequence[str] = (),
    gradients: str = "yes",
    trust: str = "",
    written: str = "",
    what: str = "",
    order: float = 0,
) -> Callable[[Function], Function]:
    """Register a function ``(request) -> Loaded`` as a format of detectors; see :class:`Format`.

    ``written`` follows from suffixes and prefix, and ``what`` is the first line of the function's docstring, unless
    they are given.

    Raises
    ------
    UserError
        If a suffix, the prefix or the function's name is taken or malformed.
    """

    def decorator(function: Function) -> Function:
        built_in = function.__module__.startswith(f"{DETECTOR_FORMATS.folder}.")
        prefixes = (prefix,) if isinstance(prefix, str) else tuple(prefix or ())
        text = written or ", ".join([f"FILE{each}" for each in suffixes] + [f"{each}:…" for each in prefixes])
        about = what or (function.__doc__ or "").strip().partition("\n")[0].rstrip(".")
        name = function.__name__.removeprefix("load_")
        made = Format(name, function, tuple(suffixes), prefixes, gradients, trust, text, about, built_in)
        if not built_in:
            _check(made)
        DETECTOR_FORMATS.add(name, made, defined=function, order=order)
        return function

    return decorator


def _check(made: Format) -> None:
    if not made.suffixes and not made.prefixes:
        raise UserError(
            f"the detector format '{made.name}' has neither suffixes nor a prefix",
            hint="give suffixes=['.mlpackage'] or prefix='coreml'",
        )
    for suffix in made.suffixes:
        if not isinstance(suffix, str) or not _SUFFIX.fullmatch(suffix):
            raise UserError(f"the suffix {suffix!r} is not a dot, a small letter, and letters or digits")
    for prefix in made.prefixes:
        if library_prefix(f"{prefix}:") != f"{prefix}:":
            raise UserError(f"the prefix {prefix!r} is not a word of two or more letters or digits")
    for other in DETECTOR_FORMATS:
        taken = [suffix for suffix in made.suffixes if suffix in other.suffixes]
        taken += [f"{prefix}:" for prefix in made.prefixes if prefix in other.prefixes]
        if taken and other.name != made.name:
            raise UserError(
                f"'{taken[0]}' already belongs to the detector format '{other.name}'",
                hint="choose another suffix or prefix",
            )
